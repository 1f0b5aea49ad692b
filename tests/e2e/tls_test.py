#!/usr/bin/env python3
"""If this fails, nodes do not come together over TLS, somebody without a certificate of the cluster speaks
to them, or the one who runs them is not told why a node stays outside."""

import os
import socket
import ssl
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lib.bookinfo import service  # noqa: E402
from lib.case import Case, main  # noqa: E402
from lib.cluster import Cluster, wait_for  # noqa: E402
from lib.frames import FRAME_REFUSE, hello  # noqa: E402
from lib.member import dial, names  # noqa: E402


class Tls(Case):
    @classmethod
    def begin(cls):
        cls.cluster = Cluster(ws=cls.ws, tls=True).start()

    def dial(self, node, certs=None):
        """A TLS connection to a peer port; certs: whose certificate is shown."""
        return dial(node, self.ws.path("pki", "ca.crt"), certs)

    def logged(self, node, *parts):
        def look():
            return any(all(p in line for p in parts)
                       for line in node.process.log().decode("utf-8", "replace").splitlines())
        wait_for(look, 15, f"the log of {node.name} has {parts}")

    def restart_with(self, node, certs, data):
        node.kill()
        node.certs, node.data = certs, data
        node.start()

    def voters(self):
        return ",".join(f"{n.name}={n.peer_addr}" for n in self.cluster.nodes)

    def weftd(self, *flags):
        return subprocess.run([os.path.join(self.cluster.bin_dir, "weftd"), *flags], timeout=60, check=False,
                              capture_output=True, text=True)

    def test_leader_dies(self):
        c = self.cluster
        c.batch([service("before")])
        c.wait_same()
        lead = c.leader()
        lead.kill()
        c.batch([service("between")])
        self.assertIsNot(c.leader(), lead)
        lead.start()
        c.wait_ready()
        c.wait_same()
        names = {o["metadata"]["name"] for o in lead.list("/api/v1/namespaces/default/services")}
        self.assertLessEqual({"before", "between"}, names)

    def test_another_ca_is_refused(self):
        c, out = self.cluster, self.cluster.node(3)
        c.make_certs("other-pki")
        good = out.certs, out.data
        self.restart_with(out, self.ws.path("other-pki", out.name), self.ws.path("data", "n3-other"))
        for node in c.nodes[:2]:
            self.logged(node, "registry.peer.unreachable", "peer=n3", '(\\"n3\\", weft://', "it is of an unknown CA")
        self.logged(out, "registry.peer.unreachable", "peer=n1", '(\\"n1\\", weft://', "it is of an unknown CA")
        c.batch([service("without-n3")])
        # With the data that it had, it does not even start.
        got = self.weftd("--name", "n3", "--cluster", self.voters(), "--data", good[1],
                         "--peer-cert-dir", self.ws.path("other-pki", out.name))
        self.assertEqual(got.returncode, 1, got)
        self.assertIn("they belong to another cluster", got.stderr)
        self.restart_with(out, *good)
        c.wait_ready()
        c.wait_same()

    def test_another_nodes_certificate_is_refused(self):
        c, n1 = self.cluster, self.cluster.node(1)
        # The own node looks before it starts ...
        got = self.weftd("--name", "n3", "--cluster", self.voters(), "--data", self.ws.path("n3-again"),
                         "--peer-cert-dir", c.node(2).certs)
        self.assertEqual(got.returncode, 1, got)
        self.assertIn("has the certificate of node 2, this is node 3", got.stderr)
        # ... and whoever does not is told by the others.
        with self.dial(n1, c.node(2).certs) as s:
            s.sendall(hello(names(s.getpeercert())[0], 3, 1))
            answer = s.recv(4096)
        self.assertEqual(struct.unpack_from("<H", answer, 12)[0], FRAME_REFUSE)
        self.assertIn(b"node 2 says that it is node 3", answer)
        self.logged(n1, "registry.peer.guest_refused", "node 2 says that it is node 3")

    def test_no_certificate_no_word(self):
        n1 = self.cluster.node(1)
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            with self.dial(n1) as s:
                s.sendall(hello(1, 2, 1))
                if not s.recv(4096):
                    raise ConnectionError("closed")
        self.logged(n1, "registry.peer.guest_lost", "it shows no certificate")
        ip, port = n1.peer_addr.rsplit(":", 1)
        with socket.create_connection((ip, int(port)), timeout=10) as s:
            s.sendall(hello(1, 2, 1))
            self.assertNotIn(b"WFP1", s.recv(4096))

    def test_renewal_needs_no_restart(self):
        c = self.cluster
        got = self.weftd("init", "--dir", self.ws.path("pki"), "--renew", "--days", "99")
        self.assertEqual(got.returncode, 0, got)
        for node in c.nodes:
            self.logged(node, "registry.peer.certificate_new")
        c.follower().restart()  # the others know it by its new certificate
        c.wait_ready()
        c.wait_same()
        with self.dial(c.node(1), c.node(2).certs) as s:
            cert = s.getpeercert()
        days = (ssl.cert_time_to_seconds(cert["notAfter"]) - ssl.cert_time_to_seconds(cert["notBefore"])) / 86400
        self.assertEqual(round(days), 99)

    def test_other_addresses_need_certificates(self):
        c = self.cluster
        flags = ["--name", "alone", "--init", "--peer", "0.0.0.0:0", "--data", self.ws.path("alone"),
                 "--api", f"{c.host(9)}:7443", "--xds", f"{c.host(9)}:15012", "--metrics", "none"]
        got = self.weftd(*flags)
        self.assertEqual(got.returncode, 1, got)
        self.assertIn("0.0.0.0:0: without TLS peers speak on loopback addresses only", got.stderr)
        self.assertIn("weftd init", got.stderr)
        os.makedirs(self.ws.path("alone"), exist_ok=True)
        got = self.weftd("init", "--dir", self.ws.path("alone-pki"), "--name", "alone")
        self.assertEqual(got.returncode, 0, got)
        os.rename(self.ws.path("alone-pki", "alone"), self.ws.path("alone", "tls"))
        p = self.ws.spawn("alone", [os.path.join(c.bin_dir, "weftd"), *flags])
        wait_for(lambda: b"weftd.started" in p.log(), 20, "it starts with DATA/tls")
        p.stop()


if __name__ == "__main__":
    main()
