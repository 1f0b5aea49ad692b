#!/usr/bin/env python3
"""If this fails, a machine that has a join token and the address of a member does not become one of them, or
one does whose token is used, over, revoked or of another cluster."""

import base64
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.case import Case, main, note  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402
from lib.frames import FRAME_ENROLL, FRAME_ENROLLED, FRAME_REFUSE, frame  # noqa: E402
from lib.writers import PATH, Writers  # noqa: E402

NOBODY = (1 << 64) - 1
TOKENS_MAX, JOINS_MAX = 64, 4
SECRET = slice(8, 24)  # of a token's bytes (registry/join_token.h)


def token_bytes(token):
    return base64.urlsafe_b64decode(token.split(".")[1] + "===")


class Join(Case):
    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws, tls=True, signs=True).start()
        cls.count = 3

    def setUp(self):
        self.joined = []
        self.addCleanup(self.take_out)

    def take_out(self):
        for node in self.joined:
            self.cluster.weft("operator", "raft", "remove", node.name)
            self.cluster.forget(node)

    def newcomer(self, token, *flags):
        type(self).count += 1
        return self.cluster.newcomer(self.count, *flags, token=token)

    def join(self, token, *flags):
        node = self.newcomer(token, *flags)
        self.joined.append(node)
        return node.start()

    def is_refused(self, token, *parts, node=None):
        """It ends at once and says why; nobody was added, and no certificate is there."""
        node = node or self.newcomer(token)
        self.cluster.nodes.remove(node)
        p = self.ws.spawn("refused-" + node.name, node.argv())
        p.ends_alone = True
        self.assertEqual(p.popen.wait(15), 1, p.log())
        for part in parts:
            self.assertIn(part, p.log().decode())
        self.assertFalse(os.path.exists(os.path.join(node.data, "tls", "node.crt")))
        self.assertNotIn(node.name, self.cluster.members())
        self.assertNotIn(token.split(".")[1], p.log().decode())

    def keep_key_only(self, node):
        with open(os.path.join(node.data, "tls", "node.key"), "rb") as f:
            key = f.read()
        shutil.rmtree(node.data)
        os.makedirs(os.path.join(node.data, "tls"))
        with open(os.path.join(node.data, "tls", "node.key"), "wb") as f:
            f.write(key)

    def tokens(self):
        """State by name, as operators see it."""
        got = self.cluster.weft("operator", "token", "list", "--no-headers")
        self.assertEqual(got.returncode, 0, got)
        return {line.split()[0]: line.split("   ")[1] for line in got.stdout.splitlines()}

    def make(self, *flags):
        """Returns (token, name)."""
        got = self.cluster.weft("operator", "token", "create", *flags)
        self.assertEqual(got.returncode, 0, got)
        return got.stdout.strip(), got.stderr.split()[0]

    def test_with_nothing_but_a_token(self):
        c = self.cluster
        writers = Writers(c)
        try:
            writers.more()
            token, name = self.make()
            self.assertEqual(self.tokens()[name], "good")
            node = self.join(token)
            c.wait_role(node, "voter")
            writers.more()
            member = c.members()[node.name]
            self.assertEqual(self.tokens()[name], f"used by {member['id']}")
            self.assertEqual(sorted(os.listdir(os.path.join(node.data, "tls"))), ["ca.crt", "node.crt", "node.key"])
            for name in os.listdir(os.path.join(node.data, "tls")):
                self.assertEqual(os.stat(os.path.join(node.data, "tls", name)).st_mode & 0o077, 0)
            node.joins = ["--join", "127.0.0.1:1"]    # later starts ask nobody
            node.restart()
            c.wait_ready()
            writers.more()
        finally:
            acked = writers.finish()
        c.wait_same()
        for n in c.alive():
            self.assertEqual(set(acked) - {o["metadata"]["name"] for o in n.list(PATH)}, set(), n.name)
        note(f"{len(acked)} writes, the slowest took {writers.longest * 1000:.0f} ms")

    def test_a_standby_from_a_file(self):
        c = self.cluster
        token, _ = self.make("--ttl", "5m")
        path = self.ws.path("token")
        with open(path, "w", encoding="ascii") as f:
            f.write(token + "\n")
        node = self.newcomer(token)
        self.joined.append(node)
        argv = [a for a in node.argv() if a not in ("--join", "--token", token)]
        contacts = next(a for a in argv if a.startswith(c.nodes[0].peer_addr))
        argv.remove(contacts)
        argv[1:1] = ["join", contacts, "--standby", "--token-file", path]
        node.argv = lambda: argv
        node.start()
        wait_for(lambda: node.name in c.members() and c.members()[node.name]["connected"], 20, "it is there")
        self.assertEqual(c.members()[node.name]["role"], "standby")

    def test_a_token_is_for_one_node(self):
        token, _ = self.make()
        first = self.join(token)
        self.cluster.wait_role(first, "voter")
        self.is_refused(token, "this join token was used already, by node "
                        f"{self.cluster.members()[first.name]['id']}: it is for one node")

    def test_an_answer_that_was_lost(self):
        """With its key it asks again, and is the same member; but not once it was removed."""
        c, (token, _) = self.cluster, self.make()
        node = self.join(token, "--standby")
        wait_for(lambda: node.name in c.members() and c.members()[node.name]["connected"], 20, "it is there")
        member = c.members()[node.name]
        node.kill()
        self.keep_key_only(node)
        node.start()
        wait_for(lambda: node.status()["revision"] > 0, 20, "it is there again")
        self.assertEqual(c.members()[node.name]["id"], member["id"])
        self.assertEqual(c.weft("operator", "raft", "remove", node.name).returncode, 0)
        node.kill()
        self.joined.remove(node)
        self.keep_key_only(node)
        self.is_refused(token, f"by node {member['id']}, which was removed", node=node)

    def test_two_at_once(self):
        """One of them gets in."""
        c, (token, _) = self.cluster, self.make()
        pair = [self.newcomer(token), self.newcomer(token)]
        for node in pair:
            node.start()
            node.process.ends_alone = True
        wait_for(lambda: sum(n.alive() for n in pair) == 1, 20, "one was refused")
        for node in list(pair):
            if node.alive():
                self.joined.append(node)
                c.wait_role(node, "voter")
            else:
                self.assertRegex(node.process.log().decode(), "this join token was used (already|or revoked)")
                c.nodes.remove(node)
                self.assertNotIn(node.name, c.members())

    def test_expired(self):
        token, name = self.make("--ttl", "1s")
        wait_for(lambda: self.tokens()[name] == "expired", 10, "it is over")
        self.is_refused(token, "this join token has expired: make another (weft operator token create)")

    def test_revoked(self):
        token, name = self.make()
        got = self.cluster.weft("operator", "token", "revoke", name)
        self.assertEqual((got.returncode, got.stdout), (0, f"{name} revoked\n"), got)
        self.assertNotIn(name, self.tokens())
        self.is_refused(token, "this cluster knows no such join token")

    def test_another_secret(self):
        token, name = self.make()
        raw = bytearray(token_bytes(token))
        raw[SECRET.start] ^= 1
        damaged = "weft1." + base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
        got = subprocess.run(self.newcomer(damaged).argv(), capture_output=True, text=True, timeout=15, check=False)
        self.assertEqual(got.returncode, 64, got)
        self.assertIn("--token", got.stderr)
        self.cluster.nodes.pop()
        self.assertEqual(self.tokens()[name], "good")

    def test_a_token_of_another_cluster(self):
        """Its CA is not the one that the token names: the secret does not leave."""
        with Cluster(n=1, tls=True, signs=True) as other:
            other.start()
            token = other.token()
        self.is_refused(token, "the token is not of its cluster", "it is of an unknown CA")

    def test_a_member_that_signs_nothing(self):
        c, (token, _) = self.cluster, self.make()
        plain = c.nodes[0]
        plain.signs = False
        plain.restart()
        c.wait_ready()
        node = self.newcomer(token)
        node.joins[1] = plain.peer_addr
        self.is_refused(token, "it takes no join tokens (a member with --ca-dir does)", node=node)
        again = self.newcomer(token)                  # one that signs is enough
        again.joins[1] = f"{plain.peer_addr},{c.nodes[1].peer_addr}"
        self.joined.append(again.start())
        c.wait_role(again, "voter")
        plain.signs = True
        plain.restart()
        c.wait_ready()

    def test_a_name_that_is_taken(self):
        """The token stays good."""
        c, (token, name) = self.cluster, self.make()
        node = self.newcomer(token)
        node.name, mine = c.nodes[0].name, node.name
        c.nodes.remove(node)
        p = self.ws.spawn("imposter", node.argv())
        p.ends_alone = True
        self.assertEqual(p.popen.wait(15), 1, p.log())
        self.assertIn("another member has this name or address: remove it first", p.log().decode())
        self.assertEqual(self.tokens()[name], "good")
        node.name = mine
        c.nodes.append(node)
        self.joined.append(node.start())
        c.wait_role(node, "voter")

    def stranger(self, node, cluster, kind, payload, sender=NOBODY):
        """Shows no certificate, and says this."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
        ip, port = node.peer_addr.rsplit(":", 1)
        s = ctx.wrap_socket(socket.create_connection((ip, int(port)), timeout=15))
        if kind:
            s.sendall(frame(kind, cluster, sender, payload))
        return s

    def ask(self, secret=b"x" * 16, csr=b"none"):
        text = f"n99={self.cluster.host(99)}:7444".encode()
        return (secret + struct.pack("<HHB", 3, 4, len(text)) + text + struct.pack("<H", len(csr)) + csr)

    def answer(self, s):
        """Returns (type, code, text)."""
        data = b""
        try:
            while True:
                more = s.recv(4096)
                if not more:
                    break
                data += more
        except (OSError, ssl.SSLError):
            pass
        s.close()
        if len(data) < 38:
            return None, None, data
        return (*struct.unpack_from("<H", data, 12), struct.unpack_from("<H", data, 36)[0], data[38:].decode())

    def test_strangers(self):
        c, (token, name) = self.cluster, self.make()
        raw = token_bytes(token)
        cluster, secret, node = int.from_bytes(raw[:8], "little"), raw[SECRET], c.nodes[0]
        before = node.metrics()["weft_raft_enrolls_refused_total"]
        for payload, part in ((self.ask(), "knows no such join token"),
                              (self.ask(secret), "the request to join"),        # it has no request
                              (self.ask(secret)[:-1], "cut or too long"),
                              (self.ask() + b"x", "cut or too long"),
                              (b"", "member: must be")):
            kind, _, text = self.answer(self.stranger(node, cluster, FRAME_ENROLL, payload))
            self.assertEqual(kind, FRAME_ENROLLED)
            self.assertIn(part, text)
        wait_for(lambda: node.metrics()["weft_raft_enrolls_refused_total"] == before + 5, 5, "it counts them")
        kind, _, _ = self.answer(self.stranger(node, cluster, FRAME_ENROLL, self.ask(), sender=2))
        self.assertEqual(kind, FRAME_REFUSE)
        for args in ((cluster + 1, FRAME_ENROLL, self.ask()), (cluster, FRAME_ENROLL, b"x" * 1025), (cluster, 16, b"")):
            self.assertEqual(self.answer(self.stranger(node, *args))[0], None, args)
        self.assertEqual(self.tokens()[name], "good")
        c.wait_ready()

    def ask_together(self, cluster, count):
        """While a leader has lost its majority, and does not know it yet, an ask waits. Returns the answers."""
        c = self.cluster
        node = c.leader()
        others = [n for n in c.nodes if n is not node]
        asks = [self.stranger(node, cluster, None, b"") for _ in range(count)]
        try:
            for n in others:
                os.kill(n.pid, signal.SIGSTOP)
            for s in asks:
                s.sendall(frame(FRAME_ENROLL, cluster, NOBODY, self.ask()))
            return [self.answer(s) for s in reversed(asks)]
        finally:
            for n in others:
                os.kill(n.pid, signal.SIGCONT)
            c.wait_ready()

    def test_few_join_at_a_time(self):
        """More of them are turned away at once."""
        cluster = int.from_bytes(token_bytes(self.make()[0])[:8], "little")

        def look():  # a leader that found out too early answers all of them
            answers = self.ask_together(cluster, JOINS_MAX + 1)
            self.assertEqual({kind for kind, _, _ in answers}, {FRAME_ENROLLED})
            return sum(f"{JOINS_MAX} nodes join at this moment: ask again" in text for _, _, text in answers) == 1
        wait_for(look, 30, "one too many asks at a time")

    def test_so_many_tokens(self):
        c, made = self.cluster, []
        good = sum(state == "good" for state in self.tokens().values())
        for _ in range(TOKENS_MAX - good):
            r = c.api("POST", "/weft/v1/jointokens", {})
            self.assertEqual(r.status, 201, r)
            made.append(r.json()["name"])
        r = c.api("POST", "/weft/v1/jointokens", {})
        self.assertEqual(r.status, 429, r)
        self.assertIn("64 join tokens are good at this moment", r.text())
        for name in made:
            self.assertEqual(c.weft("operator", "token", "revoke", name).returncode, 0)
        self.make()

    def test_the_key_of_the_ca_is_gone(self):
        """The token stays good, and nobody was added."""
        c, (token, name) = self.cluster, self.make()
        key = self.ws.path("pki", "ca.key")
        os.rename(key, key + ".away")
        try:
            self.is_refused(token, "ca.key")
        finally:
            os.rename(key + ".away", key)
        self.assertEqual(self.tokens()[name], "good")
        c.wait_role(self.join(token), "voter")

    def test_flags(self):
        token, _ = self.make()
        binary = os.path.join(self.cluster.bin_dir, "weftd")
        base = ["--name", "n99", "--data", self.ws.path("never"), "--peer", self.cluster.host(99) + ":7444"]
        for words, part in ((["--join", "http://127.0.0.1:7443", "--token", token], "peer addresses of members"),
                            (["--init", "--token", token], "peer addresses of members"),
                            (["--join", "127.0.0.1:1", "--token", token, "--id", "7"], "is given its id"),
                            (["--join", "127.0.0.1:1", "--token-file", "/nowhere"], "cannot be read"),
                            (["--join", "127.0.0.1:1", "--token", "weft1.x"], "--token"),
                            (["--init", "--ca-dir", self.ws.path("pki")], "this cluster has none")):
            got = subprocess.run([binary, *base, *words], capture_output=True, text=True, timeout=15, check=False)
            self.assertNotEqual(got.returncode, 0, got)
            self.assertIn(part, got.stderr)
        got = subprocess.run([binary, "join", *base], capture_output=True, text=True, timeout=15, check=False)
        self.assertIn("a token", got.stderr)

    def test_the_secret_is_kept_nowhere(self):
        token, _ = self.make()
        secret = token_bytes(token)[SECRET]
        texts = [secret, secret.hex().encode(), token.split(".")[1].encode()]
        self.cluster.wait_same()
        seen = 0
        for node in self.cluster.alive():
            for folder, _, names in os.walk(node.data):
                for name in names:
                    with open(os.path.join(folder, name), "rb") as f:
                        data = f.read()
                    seen += b"weft.dev/join-token" in data
                    self.assertFalse([t for t in texts if t in data], os.path.join(folder, name))
        self.assertGreater(seen, 0)                   # it was looked where a token is kept


if __name__ == "__main__":
    main()
