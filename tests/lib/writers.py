"""Clients of the API that write all the time, and keep what was acknowledged."""

import threading
import time

from . import web
from .bookinfo import service
from .cluster import wait_for

PATH = "/api/v1/namespaces/default/services"


class Writers:
    """Clients that write all the time, each to the next node when one does not answer. What was
    acknowledged is kept; a refusal that a client could not live with is a failure."""

    runs = 0

    def __init__(self, cluster, count=4):
        Writers.runs += 1
        self.cluster, self.acked, self.failed, self.turn = cluster, [], [], Writers.runs
        self.longest, self.over, self.lock = 0.0, False, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]
        for t in self.threads:
            t.start()

    def write(self, name):
        """Under one key: done once, however often it is sent."""
        start = time.monotonic()
        while time.monotonic() - start < 30:
            for node in self.cluster.alive():
                try:
                    r = node.api("POST", PATH, service(name), timeout=5,
                                 headers={"Idempotency-Key": name})
                except web.NO_ANSWER:
                    continue
                if r.status == 201:
                    return time.monotonic() - start
                if r.status < 500 and r.status != 429:
                    raise AssertionError(f"{name}: {r}")
            if self.over:
                return None
            time.sleep(0.02)
        raise AssertionError(f"{name}: nobody took it for 30 s")

    def run(self, i):
        k = 0
        try:
            while not self.over:
                name = f"w{self.turn}-{i}-{k}"
                took = self.write(name)
                if took is not None:
                    with self.lock:
                        self.acked.append(name)
                        self.longest = max(self.longest, took)
                k += 1
                time.sleep(0.005)
        except Exception as e:  # pylint: disable=broad-except
            self.failed.append(e)

    def more(self, count=20):
        """Until so many more are acknowledged."""
        start = len(self.acked)
        wait_for(lambda: self.failed or len(self.acked) >= start + count, 30, "writes go on")
        assert not self.failed, self.failed

    def finish(self):
        self.over = True
        for t in self.threads:
            t.join()
        assert not self.failed, self.failed
        return self.acked
