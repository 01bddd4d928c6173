"""What sslyze and testssl.sh say of a listener's TLS: everything they hold against it, less what is no fault here."""

import json
import subprocess
import sys
from pathlib import Path

# Severities of testssl.sh that are no finding. WARN tells what its own OpenSSL could not try; sslyze, which brings an OpenSSL that
# can, tries it.
FINE = {"OK", "INFO", "WARN", "DEBUG"}
# By testssl's id, with the reason.
EXPECTED = {
    "BREACH": "answers that hold a secret beside what an attacker chose are not compressed: nothing reflects both",
    "LUCKY13": "no CBC suite is offered; the test is an experimental guess",
}
OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
# All but the certificate, which is the development authority's.
SSLYZE = [
    "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--early_data", "--compression", "--reneg", "--heartbleed",
    "--openssl_ccs", "--robot",
]
SECONDS_MAX = 300


def findings(port, folder):
    """Pairs of a tool and what it found."""
    yield "sslyze", sslyze(port, folder)
    yield "testssl.sh", testssl(port, folder)


def sslyze(port, folder):
    report = folder / "sslyze.json"
    tool = Path(sys.executable).with_name("sslyze")
    command = [tool, *SSLYZE, f"--json_out={report}", "--quiet", f"localhost:{port}"]
    subprocess.run(command, check=False, timeout=SECONDS_MAX, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = json.loads(report.read_text())["server_scan_results"][0]
    if result["scan_status"] != "COMPLETED":
        return [f"scan {result['scan_status']}"]
    scan = {name: attempt["result"] for name, attempt in result["scan_result"].items() if attempt["status"] == "COMPLETED"}
    wrong = [f"{name} was not tried" for name, attempt in result["scan_result"].items() if attempt["status"] == "ERROR"]
    for version in OLD:
        if scan[f"{version}_cipher_suites"]["accepted_cipher_suites"]:
            wrong.append(f"{version} is spoken")
    for suite in scan["tls_1_2_cipher_suites"]["accepted_cipher_suites"]:
        name = suite["cipher_suite"]["name"]
        if "ECDHE" not in name or not ("GCM" in name or "CHACHA20" in name):
            wrong.append(f"{name} is spoken")
    if not scan["tls_1_3_cipher_suites"]["accepted_cipher_suites"]:
        wrong.append("TLS 1.3 is not spoken")
    if scan["heartbleed"]["is_vulnerable_to_heartbleed"]:
        wrong.append("Heartbleed")
    if scan["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]:
        wrong.append("CCS injection")
    if scan["robot"]["robot_result"].startswith("VULNERABLE"):
        wrong.append("ROBOT")
    if scan["tls_compression"]["supports_compression"]:
        wrong.append("compression")
    if scan["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]:
        wrong.append("a client may renegotiate")
    if scan["tls_1_3_early_data"]["supports_early_data"]:
        wrong.append("early data")
    return wrong


def testssl(port, folder):
    report = folder / "testssl.json"
    command = [
        "testssl", "--quiet", "--warnings", "off", "--color", "0", "--ip", "127.0.0.1", "-p", "-s", "-f", "-U",
        "--jsonfile", report, f"localhost:{port}",
    ]
    subprocess.run(command, check=False, timeout=SECONDS_MAX, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = json.loads(report.read_text())
    assert len(rows) > 20, f"testssl.sh said too little: {rows}"
    return [
        f"{row['id']}: {row['severity']} {row['finding']}"
        for row in rows if row["severity"] not in FINE and row["id"] not in EXPECTED
    ]
