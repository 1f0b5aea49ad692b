"""A small HTTP/1.1 client for tests: one call, one answer, one deadline."""

import http.client
import json


class Response:
    """An answer: status, headers (lower-case names), body as bytes."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name, default=None):
        return self.headers.get(name.lower(), default)

    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.text()[:300]!r}>"


def split_addr(addr):
    host, _, port = addr.rpartition(":")
    return host.strip("[]"), int(port)


def request(addr, method, path, body=None, headers=None, timeout=10):
    """Sends one request on its own connection. A dict or list as body goes as JSON.
    Raises OSError or http.client.HTTPException when no whole answer comes."""
    sent = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    host, port = split_addr(addr)
    conn = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        conn.request(method, path, body=body, headers=sent)
        answer = conn.getresponse()
        data = answer.read()
        names = {}
        for name, value in answer.getheaders():
            key = name.lower()
            names[key] = names[key] + ", " + value if key in names else value
        return Response(answer.status, names, data)
    finally:
        conn.close()


def get(addr, path, **kw):
    return request(addr, "GET", path, **kw)


NO_ANSWER = (OSError, http.client.HTTPException)
