"""A proxyless gRPC client in Python, run by the interpreter of build/peers/venv.

    GRPC_XDS_BOOTSTRAP_CONFIG=… grpc_client.py TARGET…

Reads commands from its standard input, one JSON a line, answers with one JSON line each:
    {"target": 0, "count": 100, "headers": [["end-user", "jason"]]}
    -> {"tally": {"v1": 90, "v2": 10}, "codes": {"OK": 100}, "last": ""}
It asks the health service, as bytes, and counts the answers' x-version."""

import collections
import json
import os
import sys

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc  # noqa: E402


def run(call, command):
    tally, codes, last = collections.Counter(), collections.Counter(), ""
    metadata = [tuple(h) for h in command.get("headers", [])]
    for _ in range(command["count"]):
        try:
            _, done = call.with_call(b"", timeout=command.get("timeout", 10), metadata=metadata,
                                     wait_for_ready=command.get("wait", True))
            codes["OK"] += 1
            seen = dict(done.initial_metadata()).get("x-version")
            if seen:
                tally[seen] += 1
        except grpc.RpcError as e:
            codes[e.code().name] += 1
            last = e.details()
    return {"tally": tally, "codes": codes, "last": last}


def main():
    channels = [grpc.insecure_channel(target) for target in sys.argv[1:]]
    calls = [c.unary_unary("/grpc.health.v1.Health/Check", lambda b: b, lambda b: b)
             for c in channels]
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(run(calls[command["target"]], command)), flush=True)


if __name__ == "__main__":
    main()
