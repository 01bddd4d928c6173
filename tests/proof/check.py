#!/usr/bin/env python3
"""Checks the proof of a transfer: a second reader of the formats in docs/proof.md, written from that page alone.

    check.py head.pub proof.json

`head.pub` holds the ledger's public keys (PEM), `proof.json` the answer of GET /v1/transfers/{transfer_id}/proof. Ends with 0 and
prints the row if the transfer is proven, with 1 and the reason if it is not. Needs nothing but Python: Ed25519 is done here by the
formulas of RFC 8032, which is slow and good enough for one signature.
"""

import base64
import datetime
import hashlib
import json
import re
import struct
import sys
import uuid

KINDS = "Open Limits State Party Grant Transfer Hold Increment Post Void Expire Reverse ClosePeriod".split()

# -- Ed25519 (RFC 8032, section 5.1) ---------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(encoded):
    y = int.from_bytes(encoded, "little")
    x = recover_x(y & (2**255 - 1), y >> 255)
    y &= 2**255 - 1
    return None if x is None else (x, y, 1, x * y % P)


def add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, at):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, at)
        at, scalar = add(at, at), scalar >> 1
    return result


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def is_signature(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = multiply(s, BASE), add(r, multiply(h, a))
    same = lambda i: (left[i] * right[2] - right[i] * left[2]) % P == 0
    return same(0) and same(1)


# -- the formats of docs/proof.md ------------------------------------------------------------------------------------


class Broken(Exception):
    """The proof proves nothing."""


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


class Reader:
    """Bytes, read field by field."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Broken("the row cannot be read")
        self.at += count
        return piece

    def number(self, form=">q"):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self):
        return self.take(self.number(">I")).decode()

    def uuid(self):
        return str(uuid.UUID(bytes=self.take(16)))

    def optional(self, read):
        there = self.take(1)
        if there not in (b"\0", b"\1"):
            raise Broken("the row cannot be read")
        return read() if there == b"\1" else None

    def end(self):
        if self.at != len(self.data):
            raise Broken("the row cannot be read")


def read_row(data):
    r = Reader(data)
    if r.take(1) != b"\1":
        raise Broken("a row of another version")
    row = {"id": r.uuid(), "seq": r.number(), "kind": KINDS[r.number(">h") - 1]}
    row["currency"] = r.optional(lambda: r.number(">h"))
    for name in ("amount", "remaining", "debit_account", "credit_account", "link"):
        row[name] = r.optional(r.number)
    row["ref"] = r.optional(r.uuid)
    row["flags"] = r.number(">h")
    row["gl_code"] = r.optional(lambda: r.number(">i"))
    row["revision"] = r.optional(r.number)
    row["party"] = r.optional(r.text)
    row["bounds"] = r.optional(lambda: (r.optional(r.number), r.optional(r.number), r.number()))
    row["expires_at"] = r.optional(r.number)
    row["value_date"] = r.optional(lambda: datetime.date.fromordinal(r.number()).isoformat())
    row["exchange"] = r.optional(lambda: (r.text(), r.text()))
    row["detail_hash"] = r.optional(lambda: r.take(32).hex())
    row["booked_at"] = r.number()
    r.end()
    return row


def read_side(data, is_debit):
    r = Reader(data)
    r.take(16)  # the salt
    side = {"balances": r.optional(lambda: [r.number() for _ in range(4)])}
    side["floor" if is_debit else "ceiling"] = r.optional(r.number)
    side["consent"] = r.optional(lambda: (r.uuid(), r.number()))
    if is_debit:
        side["actor"] = r.take(16).hex()
    r.end()
    return side


def root_of_path(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        raise Broken("the row is not in its batch")
    at, last, root = index, size - 1, leaf
    for beside in path:
        if last == 0:
            raise Broken("the audit path is too long")
        if at & 1 or at == last:
            root = sha(b"\1", beside, root)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            root = sha(b"\1", root, beside)
        at, last = at >> 1, last >> 1
    if last:
        raise Broken("the audit path is too short")
    return root


def public_keys(pem):
    keys = {}
    for body in re.findall("-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", pem, re.S):
        key = base64.b64decode(body)[12:]
        keys[base64.urlsafe_b64encode(sha(key)[:16]).rstrip(b"=").decode()] = key
    return keys


def milliseconds(text):
    time = datetime.datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", text).replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (time - epoch) // datetime.timedelta(milliseconds=1)


def check(keys, proof):
    decode = lambda text: base64.b64decode(text or "", validate=True)
    row = read_row(decode(proof["row"]))
    hashes = []
    for name in ("debit", "credit"):
        shown = decode(proof.get(name + "Side"))
        hashes.append(sha(shown) if shown else decode(proof.get(name + "SideHash")))
        row[name + "_side"] = read_side(shown, name == "debit") if shown else "another's, not shown"
    leaf = sha(b"\0", sha(decode(proof["row"])), *hashes)
    first, index = proof["batches"][0], int(proof.get("leafIndex", 0))
    path = [decode(beside) for beside in proof.get("auditPath", [])]
    if root_of_path(leaf, index, int(first["rows"]), path) != decode(first["root"]):
        raise Broken("the audit path does not lead to the root of the batch")
    if int(first["seqFrom"]) + index != row["seq"]:
        raise Broken("the row is not at this place of the batch")
    before = None
    for batch in proof["batches"]:
        seq_from, rows, prev, root = int(batch["seqFrom"]), int(batch["rows"]), decode(batch["prev"]), decode(batch["root"])
        if before and (prev, seq_from) != before:
            raise Broken(f"the batch of row {seq_from} does not follow the one before it")
        link = sha(b"causeway.ledger.batch.v1", prev, struct.pack(">qi", seq_from, rows), root)
        before = (link, seq_from + rows)
    head = proof["head"]
    if before != (decode(head["hash"]), int(head["seq"]) + 1):
        raise Broken("the batches do not lead to the head")
    if head["keyId"] not in keys:
        raise Broken("the key of the signature is not known")
    message = b"causeway.ledger.head.v1" + struct.pack(">q", int(head["seq"])) + decode(head["hash"])
    message += struct.pack(">q", milliseconds(head["bookTime"]))
    if not is_signature(keys[head["keyId"]], message, decode(head["signature"])):
        raise Broken("the signature is not that of the head")
    return row


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as key, open(sys.argv[2], encoding="utf-8") as file:
        keys, proof = public_keys(key.read()), json.load(file)
    try:
        row = check(keys, proof)
    except (Broken, KeyError, IndexError, ValueError) as why:
        print(f"not proven: {why}", file=sys.stderr)
        sys.exit(1)
    for name, value in row.items():
        if value is not None:
            print(f"{name:<15} {value}")
    print(f"proven: in the journal that ended with row {proof['head']['seq']} at {proof['head']['bookTime']}")


if __name__ == "__main__":
    main()
