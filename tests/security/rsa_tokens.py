#!/usr/bin/env python3
"""Writes rsa_tokens.json: a key set of one throwaway RSA key, and tokens under it whose signatures are right, or wrong in a way that
only an exact verifier sees (PKCS#1 v1.5 and PSS, RFC 8017 sections 8.2.2 and 8.1.2; the variants are those of Wycheproof's
rsa_signature and rsa_pss tests, which come without tokens around them). Needs `cryptography`, for the key alone; the rest is
arithmetic, because no library makes a wrong signature.

    rsa_tokens.py > rsa_tokens.json
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric import rsa

BITS = 2048
BYTES = BITS // 8
# 2026 to 2100: vectors do not run out.
CLAIMS = {
    "iss": "https://rsa.example", "aud": "causeway", "sub": "somebody", "client_id": "vectors", "jti": "rsa",
    "iat": 1767225600, "exp": 4102444800,
}
SHA256 = bytes.fromhex("0609608648016503040201")
SHA512 = bytes.fromhex("0609608648016503040203")
SHA1 = bytes.fromhex("06052b0e03021a")
NULL = b"\x05\x00"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(alg):
    header = {"alg": alg, "typ": "at+jwt", "kid": "rsa"}
    return ".".join(base64url(json.dumps(part).encode()) for part in (header, CLAIMS))


def der(tag, *content):
    body = b"".join(content)
    return bytes((tag, len(body))) + body


def digest_info(digest, algorithm=SHA256, parameters=NULL):
    return der(0x30, der(0x30, algorithm, parameters), der(0x04, digest))


def pkcs1(info, kind=1, fill=0xFF, padding=None, behind=b""):
    padding = BYTES - 3 - len(info) - len(behind) if padding is None else padding
    return bytes((0, kind)) + bytes((fill,)) * padding + b"\0" + info + behind


def mgf1(seed, length, hash_of=hashlib.sha256):
    mask = b"".join(hash_of(seed + counter.to_bytes(4, "big")).digest() for counter in range(length // 20 + 1))
    return mask[:length]


def pss(message, salt=b"s" * 32, hash_of=hashlib.sha256, mgf_of=hashlib.sha256, trailer=0xBC, separator=1, fill=0, top=0x7F):
    digest = hash_of(bytes(8) + hash_of(message).digest() + salt).digest()
    length = BYTES - len(digest) - 1
    block = bytes((fill,)) * (length - len(salt) - 1) + bytes((separator,)) + salt
    masked = bytes(a ^ b for a, b in zip(block, mgf1(digest, length, mgf_of)))
    return bytes((masked[0] & top,)) + masked[1:] + digest + bytes((trailer,))


def main():
    key = rsa.generate_private_key(65537, BITS)
    secret, public = key.private_numbers(), key.public_key().public_numbers()
    power = lambda block: pow(int.from_bytes(block, "big") % public.n, secret.d, public.n)
    sign = lambda block: power(block).to_bytes(BYTES, "big")

    message = signed("RS256")
    digest = hashlib.sha256(message.encode()).digest()
    info = digest_info(digest)
    right = power(pkcs1(info))
    long_form = b"\x30\x81" + info[1:]
    stuffed = digest_info(digest, parameters=der(0x04, b"x" * 20))
    rs256 = {
        "right": sign(pkcs1(info)),
        "no parameters": sign(pkcs1(digest_info(digest, parameters=b""))),
        "garbage behind the digest": sign(pkcs1(info, padding=8, behind=b"x" * (BYTES - 3 - len(info) - 8))),
        "garbage in the parameters": sign(pkcs1(stuffed)),
        "a length in its long form": sign(pkcs1(long_form)),
        "another block type": sign(pkcs1(info, kind=2)),
        "no block type": sign(pkcs1(info, kind=0, fill=0)),
        "padding of zeros": sign(pkcs1(info, fill=0)),
        "padding of other bytes": sign(pkcs1(info, fill=0xFE)),
        "SHA-1": sign(pkcs1(digest_info(hashlib.sha1(message.encode()).digest(), SHA1))),
        "SHA-512": sign(pkcs1(digest_info(hashlib.sha512(message.encode()).digest(), SHA512))),
        "SHA-512's name on SHA-256": sign(pkcs1(digest_info(digest, SHA512))),
        "half a digest": sign(pkcs1(digest_info(digest[:16]))),
        "a digest without its name": sign(pkcs1(digest)),
        "PSS instead": sign(pss(message.encode())),
        "a zero before it": b"\0" + right.to_bytes(BYTES, "big"),
        "a zero behind it": right.to_bytes(BYTES, "big") + b"\0",
        "none": b"", "zero": bytes(BYTES), "one": (1).to_bytes(BYTES, "big"), "n - 1": (public.n - 1).to_bytes(BYTES, "big"),
        "n": public.n.to_bytes(BYTES, "big"),
        "it and n": (right + public.n).to_bytes(BYTES + 1, "big"),
        "n - it": (public.n - right).to_bytes(BYTES, "big"),
    }
    message_pss = signed("PS256").encode()
    ps256 = {
        "right": sign(pss(message_pss)),
        "no salt": sign(pss(message_pss, salt=b"")),
        "a short salt": sign(pss(message_pss, salt=b"s" * 20)),
        "a long salt": sign(pss(message_pss, salt=b"s" * 64)),
        "the longest salt": sign(pss(message_pss, salt=b"s" * (BYTES - 32 - 2))),
        "another trailer": sign(pss(message_pss, trailer=0xBB)),
        "a mask by SHA-1": sign(pss(message_pss, mgf_of=hashlib.sha1)),
        "SHA-1": sign(pss(message_pss, hash_of=hashlib.sha1, mgf_of=hashlib.sha1, salt=b"s" * 20)),
        "SHA-512": sign(pss(message_pss, hash_of=hashlib.sha512, mgf_of=hashlib.sha512, salt=b"s" * 64)),
        "no separator": sign(pss(message_pss, separator=0)),
        "padding that is not zero": sign(pss(message_pss, fill=1)),
        "PKCS#1 v1.5 instead": sign(pkcs1(digest_info(hashlib.sha256(message_pss).digest()))),
    }
    tokens = [
        {"alg": alg, "name": name, "token": f"{signed(alg)}.{base64url(signature)}"}
        for alg, variants in (("RS256", rs256), ("PS256", ps256)) for name, signature in variants.items()
    ]
    number = lambda value: base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
    jwk = {"kty": "RSA", "use": "sig", "kid": "rsa", "n": number(public.n), "e": number(public.e)}
    print(json.dumps({"jwks": {"keys": [jwk]}, "tokens": tokens}, indent=1))


if __name__ == "__main__":
    main()
