"""The REST interface of a Flink JobManager, as far as Kitelift asks it."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any, Self


class FakeFlink:
    """Answers on loopback with what it was given, by path; everything else is not found."""

    def __init__(self, *, version: str = "1.19.3", managers: list[tuple[str, int, int]]) -> None:
        """`managers` are TaskManagers: host, slots, and how many of them are free."""
        self.asked: list[str] = []
        self.sent: list[bytes] = []
        self.answers: dict[str, Any] = {
            "/v1/config": {"flink-version": version},
            "/v1/jars/upload": {"filename": "/tmp/flink-web/7f_beam.jar"},
            "/v1/jars/7f_beam.jar/run": {"jobid": "b7"},
            "/v1/jars/7f_beam.jar": {},
            "/v1/overview": {
                "slots-total": sum(slots for _, slots, _ in managers),
                "slots-available": sum(free for _, _, free in managers),
            },
            "/v1/taskmanagers": {
                "taskmanagers": [
                    {
                        "path": f"pekko.tcp://flink@{host}:4121{number}/user/rpc/taskmanager_0",
                        "slotsNumber": slots,
                        "freeSlots": free,
                    }
                    for number, (host, slots, free) in enumerate(managers)
                ]
            },
        }

    def says(self, path: str, answer: Any) -> None:
        self.answers[f"/v1/{path}"] = answer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(f"{self.command} {self.path}")
                answer = fake.answers.get(self.path)
                self.send_response(404 if answer is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                fake.sent.append(self.rfile.read(size))
                self.do_GET()

            do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
