"""Loopback sockets that are not a Milvus, and one that stands before a Milvus and counts.

with sockets.silent() as url: ...        # accepts, and never answers
with sockets.silent(b"220 mail ready") as url: ...   # says this, whatever it is asked
with sockets.web_server() as url: ...    # answers, in HTTP/1.1
with sockets.gateway(413) as url: ...    # answers every request so, in HTTP/2, as an ingress does
with sockets.Relay(target.port) as relay:
    relay.wait_for(1_000_000)            # so many bytes have gone to the server
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Self

_CHUNK_BYTES = 64 * 1024
_SMALL_BYTES = 4 * 1024
"""What has no rows in it."""


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def silent(greeting: bytes = b"") -> Iterator[str]:
    """The url of a host that accepts connections and never says a word but its greeting."""
    with _listening() as listener:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])
                    accepted[-1].sendall(greeting)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for connection in accepted:
            connection.close()


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """The url of a web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def gateway(status: int, content_type: str = "text/html", body: bytes = b"<html>") -> Iterator[str]:
    """The url of an ingress that passes nothing on and answers every request with a page."""
    with _listening() as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    arguments = (listener.accept()[0], status, content_type, body)
                    threading.Thread(target=_answer_in_http2, args=arguments, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_PREFACE_BYTES, _HEAD_BYTES = 24, 9
_STATUS, _CONTENT_TYPE = b"\x08", b"\x0f\x10"
"""Names of headers by their place in HPACK's static table, whose values are literals."""


def _answer_in_http2(
    connection: socket.socket, status: int, content_type: str, body: bytes
) -> None:
    """Speaks as much HTTP/2 (RFC 9113) as a gRPC client needs to take an answer."""
    headers = _STATUS + _text(str(status)) + _CONTENT_TYPE + _text(content_type)
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as sent:
        sent.read(_PREFACE_BYTES)
        connection.sendall(_frame(_SETTINGS, 0, 0, b""))
        while len(head := sent.read(_HEAD_BYTES)) == _HEAD_BYTES:
            payload = sent.read(int.from_bytes(head[:3], "big"))
            kind, is_answer, stream = head[3], head[4] & 1, int.from_bytes(head[5:], "big")
            if kind in (_SETTINGS, _PING) and not is_answer:
                connection.sendall(_frame(kind, 1, 0, payload if kind == _PING else b""))
            if kind == _HEADERS:
                connection.sendall(_frame(_HEADERS, 4, stream, headers))
                connection.sendall(_frame(_DATA, 1, stream, body))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


class Relay:
    """Hands connections on to a local port, and counts the bytes that go there.

    With `pause_s` a connection carries 64 kB there, and rests so long: rows take their time.
    """

    def __init__(self, port: int, *, pause_s: float = 0.0) -> None:
        self._port, self._pause_s = port, pause_s
        self._listener = _listening()
        self._sent = 0
        self._accepted, self._swallowed = 0, 0
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """So many were made since it began."""
        return self._accepted

    def wait_for(self, sent_bytes: int, *, timeout_s: float = 60) -> bool:
        """Waits until so many bytes more than now have gone to the server."""
        with self._changed:
            goal = self._sent + sent_bytes
            return self._changed.wait_for(lambda: self._sent >= goal, timeout_s)

    def hurry(self) -> None:
        """Pauses no more."""
        self._pause_s = 0.0

    def swallow(self) -> None:
        """Leaves the connections that there are open, and hands nothing on any more."""
        self._swallowed = self._accepted

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                self._accepted += 1
                for pump in ((client, server, True), (server, client, False)):
                    arguments = (*pump, self._accepted)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, origin: socket.socket, goal: socket.socket, counted: bool, number: int) -> None:
        with contextlib.suppress(OSError), origin, goal:
            while chunk := origin.recv(_CHUNK_BYTES):
                if number <= self._swallowed:
                    continue
                if counted and len(chunk) > _SMALL_BYTES:
                    time.sleep(self._pause_s)
                goal.sendall(chunk)
                if counted:
                    with self._changed:
                        self._sent += len(chunk)
                        self._changed.notify_all()


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
