"""A program that takes commands on its standard input and answers with a JSON line an event."""

import json
import queue
import subprocess
import threading

from tests.lib.process import Process, Timeout, _die_with_parent


class Talker(Process):
    """Process whose events are read: p.command("mark x"); p.event("mark")."""

    def __init__(self, ws, name, argv):
        super().__init__(ws, name, argv)
        self.events = queue.Queue()
        ws.processes.append(self)
        self.start()

    def start(self):
        self.killed = False
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                [str(a) for a in self.argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, cwd=self.ws.dir, preexec_fn=_die_with_parent, text=True, bufsize=1)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self):
        for line in self.popen.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def command(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def event(self, name, timeout=60):
        """The next event of that name; others before it are dropped."""
        while True:
            try:
                e = self.events.get(timeout=timeout)
            except queue.Empty:
                raise Timeout(f"{self.name}: no event {name!r} within {timeout} s") from None
            assert e is not None, f"{self.name} ended before event {name!r}"
            assert e["event"] != "error", f"{self.name}: {e}"
            if e["event"] == name:
                return e

    def quit(self, timeout=20):
        """Says quit and waits for the end."""
        self.killed = True
        if self.alive():
            self.command("quit")
            self.popen.wait(timeout)
