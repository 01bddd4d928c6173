#!/usr/bin/env python3
"""Calls a running mesh with requests made up from its own /openapi.json: no answer may be a failure of the server's, none may
differ from what the document promises, and what the document forbids must be refused. Starts a mesh with demo data for itself
and stops it.

    run.py <folder with the binaries> [seconds for each caller]
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

BASE = "https://localhost:8443"
ISSUER = "http://127.0.0.1:7080/token"
HERE = Path(__file__).resolve().parent
START_SECONDS_MAX = 120
# What a caller is and is not let see makes different answers; these two get to all of them.
CALLERS = ("alice", "staff")
# `positive_data_acceptance` would need the document to know what only the services judge: balances, owners, states.
NOT_CHECKED = "positive_data_acceptance"


def main():
    binaries = Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.TemporaryDirectory(prefix="causeway-schemathesis-") as folder:
        state = Path(folder, "state")
        log = Path(folder, "log").open("w+")
        command = [binaries / "dev", "run", "--state", state]
        mesh = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            until_up(mesh, log)
            ok = run(state / "pki" / "server-ca.pem", Path(folder), seconds)
        finally:
            mesh.send_signal(signal.SIGINT)
            mesh.wait(timeout=60)
    return 0 if ok else 1


def until_up(mesh, log):
    deadline = time.monotonic() + START_SECONDS_MAX
    while "Causeway is up" not in Path(log.name).read_text():
        if mesh.poll() is not None or time.monotonic() > deadline:
            sys.exit("the mesh did not start:\n" + Path(log.name).read_text())
        time.sleep(0.2)


def run(authority, folder, seconds):
    client = Client(authority)
    validate(client.get("/openapi.json"))
    print("openapi.json is valid OpenAPI 3.1", flush=True)
    known = json.dumps(ids(client))
    schemathesis = Path(sys.executable).with_name("schemathesis")
    # The document is described to the end even if the first caller meets a failure.
    results = []
    for caller in CALLERS:
        print(f"calling as {caller}", flush=True)
        command = [
            schemathesis, "--config-file", HERE / "schemathesis.toml", "run", BASE + "/openapi.json",
            "--tls-verify", authority,
            "--header", f"Authorization: Bearer {client.token(caller)}",
            "--checks", "all", "--exclude-checks", NOT_CHECKED,
            # Most made-up requests are refused by the services; that is no finding.
            "--warnings", "off", "--suppress-health-check", "all",
            "--max-time", str(seconds), "--max-examples", "60", "--request-timeout", "30",
        ]
        environment = os.environ | {
            "CAUSEWAY_KNOWN": known,
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(HERE),
        }
        results.append(subprocess.run(command, cwd=folder, env=environment).returncode == 0)
    return all(results)


def ids(client):
    """What the demo data holds, and values that only make sense together."""
    staff, alice = client.token("staff"), client.token("alice")
    customers = client.get("/v1/customers", staff)["customers"]
    customers = [customer["customerId"] for customer in customers]
    accounts = []
    for customer in customers:
        found = client.get(f"/v1/customers/{customer}/accounts", staff)["accounts"]
        accounts.extend(account["accountId"] for account in found)
    transfers = client.get("/v1/transfers", alice)["transfers"]
    documents = client.get("/v1/documents", alice)["documents"]
    return {
        "customerid": customers,
        "accountid": accounts,
        "debitaccountid": accounts,
        "creditaccountid": accounts + ["settlement-EUR"],
        "transferid": [transfer["transferId"] for transfer in transfers],
        "documentid": [document["documentId"] for document in documents],
        "currencycode": ["EUR", "EUR", "USD"],
        "minorunits": ["1", "250", "9223372036854775807"],
        "minseq": ["0", "1"],
        "starttime": ["2026-01-01T00:00:00Z"],
        "endtime": ["2026-02-01T00:00:00Z"],
        "$fields": ["*"],
    }


class Client:
    def __init__(self, authority):
        self.tls = ssl.create_default_context(cafile=authority)

    def get(self, path, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(BASE + path, headers=headers)
        with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
            return json.load(answer)

    def token(self, user):
        body = urllib.parse.urlencode({"grant_type": "dev", "user": user}).encode()
        request = urllib.request.Request(ISSUER, body, {"Accept": "text/plain"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode().strip()


if __name__ == "__main__":
    sys.exit(main())
