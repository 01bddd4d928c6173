#!/usr/bin/env python3
"""Attacks a running mesh with public tools and raw frames, while a well-behaved client goes on asking, and prints what became of
both. Starts a mesh with demo data for itself and stops it. Fails on an error of the well-behaved client, on memory beyond a bound,
and on a finding of a tool; how much slower an attack makes others is told, not judged: on a machine that the attacker shares with
the edge it is as much about the one as about the other.

    run.py <folder with the binaries> [seconds for each attack]
"""

import contextlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import h2_attacks
import tls_tools

HERE = Path(__file__).resolve().parent
PORT = 8443
BASE = f"https://localhost:{PORT}"
ISSUER = "http://127.0.0.1:7080/token"
START_SECONDS_MAX = 120
# What an attack may add to the edge's memory: the buffers of its connections, not what it sends.
GROWTH_MIB_MAX = 64
# The honest client begins before the attack and ends after it.
MARGIN_SECONDS = 0.5
SLOW = {
    # Headers that never end, bodies that never end, and answers that nobody reads. Few enough connections that the machine has
    # ports and the edge has seats left; many enough that one thread each would show.
    "slow headers": ["-H", "-i", "2", "-x", "24", "-t", "GET", "-u", f"{BASE}/openapi.json"],
    "slow bodies": ["-B", "-i", "2", "-s", "8192", "-x", "10", "-t", "POST", "-u", f"{BASE}/v1/transfers"],
    "slow readers": ["-X", "-w", "10", "-y", "20", "-z", "32", "-k", "1", "-n", "2", "-t", "GET", "-u", f"{BASE}/openapi.json"],
}
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SLOW_CONNECTIONS = ["-c", "200", "-r", "100", "-p", "3"]


@contextlib.contextmanager
def running_mesh(binaries, folder):
    state, log = Path(folder, "state"), Path(folder, "log").open("w+")
    command = [binaries / "dev", "run", "--state", state]
    mesh = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "Causeway is up" not in Path(log.name).read_text():
            if mesh.poll() is not None or time.monotonic() > deadline:
                sys.exit("the mesh did not start:\n" + Path(log.name).read_text())
            time.sleep(0.2)
        yield Target(mesh.pid, state / "pki" / "server-ca.pem")
    finally:
        mesh.send_signal(signal.SIGINT)
        mesh.wait(timeout=60)


class Target:
    """The edge: where it is, what it serves to whom, and how large it is."""

    def __init__(self, mesh_pid, authority):
        self.authority = authority
        self.pid = next(pid for pid in children(mesh_pid) if name_of(pid) == "edge")
        self.context = ssl.create_default_context(cafile=authority)
        self.token = self.issue("alice")
        transfers = self.get("/v1/transfers?page_size=1", self.token)["transfers"]
        customer = self.get("/v1/customers", self.issue("staff"))["customers"][0]["customerId"]
        accounts = self.get(f"/v1/customers/{customer}/accounts", self.issue("staff"))["accounts"]
        owned = {transfers[0]["debitAccountId"], transfers[0]["creditAccountId"]}
        mine = [account["accountId"] for account in accounts if account["accountId"] in owned]
        self.path = f"/v1/accounts/{mine[0]}/balance" if mine else "/v1/transfers?page_size=1"

    def issue(self, user):
        body = urllib.parse.urlencode({"grant_type": "dev", "user": user}).encode()
        request = urllib.request.Request(ISSUER, body, {"Accept": "text/plain"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode().strip()

    def get(self, path, token):
        request = urllib.request.Request(BASE + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
            return json.load(answer)

    def resident_mib(self):
        line = next(line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def honest(self, seconds):
        command = [sys.executable, HERE / "honest.py", str(PORT), self.authority, self.path, self.token, str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(") ", 1)[1].split()
                if int(fields[1]) == pid:
                    found.append(int(entry.name))
    return found


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def h2_attack(name, target, seconds):
    command = [sys.executable, HERE / "h2_attacks.py", name, str(PORT), target.authority, str(seconds), target.token]

    def outcome(output):
        told = json.loads(output)
        endings = ", ".join(f"{ending} x{count}" for ending, count in sorted(told["endings"].items()))
        return f"{told['frames']} frames on {told['connections']} connections: {endings}", True

    return command, seconds, outcome


def slow_attack(name, seconds):
    command = ["nice", "-n", "19", "slowhttptest", *SLOW_CONNECTIONS, "-l", str(int(seconds)), *SLOW[name]]

    def outcome(output):
        # It tells its counts again and again; the last of each is the end.
        last = {}
        for line in COLOURS.sub("", output).splitlines():
            word, _, value = line.partition(":")
            if word.strip() in ("connected", "closed", "error", "service available"):
                last[word.strip()] = value.strip()
        said = ", ".join(f"{count} {word}" for word, count in last.items() if word != "service available")
        return f"{said}; service available: {last.get('service available', '?')}", last.get("service available") != "NO"

    return command, seconds, outcome


def measure(name, attack, target):
    """Runs an attack beside the honest client; returns the row of the table."""
    command, seconds, outcome = attack
    before = target.resident_mib()
    honest = target.honest(seconds + 2 * MARGIN_SECONDS)
    time.sleep(MARGIN_SECONDS)
    with tempfile.TemporaryFile("w+") as output:
        attacker = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        most, deadline = before, time.monotonic() + seconds + 60
        while attacker.poll() is None or honest.poll() is None:
            most = max(most, target.resident_mib())
            if time.monotonic() > deadline:
                attacker.kill()
            time.sleep(0.05)
        output.seek(0)
        said, ok = outcome(output.read())
    told = json.loads(honest.stdout.read())
    return {"attack": name, "said": said, "ok": ok, "before": before, "most": most, **told}


def quiet(target, seconds):
    told = json.loads(target.honest(seconds).communicate()[0])
    print(f"quiet: {told['requests']} requests, p50 {told['p50_ms']:.1f} ms, p99 {told['p99_ms']:.1f} ms, {told['failed']} failed",
          flush=True)
    return told


def judge(row):
    """What is wrong with a row."""
    wrong = []
    if row["failed"]:
        wrong.append(f"{row['failed']} honest requests failed: {row['errors']}")
    if row["most"] - row["before"] > GROWTH_MIB_MAX:
        wrong.append(f"the edge grew by {row['most'] - row['before']:.0f} MiB")
    if not row["ok"]:
        wrong.append("the tool found the service unavailable")
    return wrong


def attacks(target, seconds):
    for name in h2_attacks.ATTACKS:
        yield name, h2_attack(name, target, seconds)
    for name in SLOW:
        yield name, slow_attack(name, max(seconds, 12))


def run(target, folder, seconds):
    problems = []
    for name, findings in tls_tools.findings(PORT, Path(folder)):
        print(f"{name}: {'; '.join(findings) if findings else 'nothing above ok'}", flush=True)
        problems.extend(f"{name}: {finding}" for finding in findings)
    base = quiet(target, 10)
    rows = []
    for name, attack in attacks(target, seconds):
        rows.append(measure(name, attack, target))
        print(f"  {name}: {rows[-1]['said']}", flush=True)
    quiet(target, 10)
    print(f"\n| attack | what the edge did | p99 quiet / attacked (ms) | ratio | RSS before / most (MiB) | failed |\n|---|---|---|---|---|---|")
    for row in rows:
        ratio = row["p99_ms"] / base["p99_ms"]
        print(f"| {row['attack'].replace('_', ' ')} | {row['said']} | {base['p99_ms']:.1f} / {row['p99_ms']:.1f} | {ratio:.1f} | "
              f"{row['before']:.0f} / {row['most']:.0f} | {row['failed']} |")
        problems.extend(f"{row['attack']}: {problem}" for problem in judge(row))
    if not Path(f"/proc/{target.pid}").exists():
        problems.append("the edge is not the process that began")
    return problems


def main():
    binaries = Path(sys.argv[1]).resolve()
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    missing = [tool for tool in ("testssl", "slowhttptest") if not shutil.which(tool)]
    if missing:
        sys.exit(f"install these Debian packages, then try again: {' '.join(missing).replace('testssl', 'testssl.sh')}")
    os.environ["PYTHONUNBUFFERED"] = "1"
    with tempfile.TemporaryDirectory(prefix="causeway-security-") as folder, running_mesh(binaries, folder) as target:
        problems = run(target, folder, seconds)
    for problem in problems:
        print(f"problem: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
