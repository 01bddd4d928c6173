#!/usr/bin/env python3
"""A well-behaved client: asks for one thing over a kept connection, fifty times a second, and says on standard output, as JSON,
how long that took and what went wrong.

    honest.py <port> <authority.pem> <path> <token> <seconds>
"""

import http.client
import json
import ssl
import sys
import time

PER_SECOND = 50
# What a person would not wait for is no answer.
PATIENCE_SECONDS = 10


def main():
    port, authority, path, token, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])
    context = ssl.create_default_context(cafile=authority)
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=PATIENCE_SECONDS)
    connection.connect()
    latencies, errors = [], []
    begin = time.monotonic()
    for number in range(int(seconds * PER_SECOND)):
        due = begin + number / PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            sent = time.monotonic()
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            latencies.append(time.monotonic() - sent)
            if answer.status != 200:
                errors.append(f"{answer.status} {body[:200].decode(errors='replace')}")
        except (OSError, http.client.HTTPException) as error:
            errors.append(repr(error))
            connection.close()
        if time.monotonic() - begin > 2 * seconds + PATIENCE_SECONDS:
            break
    latencies.sort()
    share = lambda part: 1000 * latencies[min(len(latencies) - 1, int(len(latencies) * part))] if latencies else None
    print(json.dumps({
        "requests": len(latencies), "errors": errors[:5], "failed": len(errors),
        "p50_ms": share(0.5), "p99_ms": share(0.99), "max_ms": share(1),
    }))


if __name__ == "__main__":
    main()
