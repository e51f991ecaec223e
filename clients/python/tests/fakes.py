"""A service that answers as it is told, and connections to the real one that break as told."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import urlsplit

RESULT: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000000",
    "status": "completed",
    "success": True,
    "exit_code": 0,
    "signal": None,
    "stdout": "hello\n",
    "stderr": "",
    "stdout_bytes": 6,
    "stderr_bytes": 0,
    "stdout_truncated": False,
    "stderr_truncated": False,
    "execution_time": 0.001,
    "error": None,
    "image": "host",
    "image_digest": None,
    "limits_hit": [],
    "usage": {"cpu_time": 0.001, "max_memory_bytes": None, "max_pids": None},
    "timings": {"queued": 0.0, "prepared": 0.0, "ran": 0.001},
    "files": [],
}


@dataclass
class Reply:
    """One answer; `cut` breaks the connection off at its end, before the end that it announced."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def ran(**fields: Any) -> Reply:
    return Reply(200, json.dumps({**RESULT, **fields}).encode())


def problem(status: int, code: str, **headers: str) -> Reply:
    document = {"status": status, "code": code, "detail": f"it is {code}", "request_id": "r-1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(document).encode(), named)


def events(*said: tuple[str, Any], cut: bool = False) -> Reply:
    """A stream; the id of an event is its number."""
    lines = (
        f"event: {name}\nid: {number}\ndata: {json.dumps(data)}\n\n"
        for number, (name, data) in enumerate(said)
    )
    return Reply(200, "".join(lines).encode(), {"content-type": "text/event-stream"}, cut)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Fake:
    """Answers each request with the next of `replies`; with none (`None`), it hangs up instead."""

    def __init__(self) -> None:
        self.replies: list[Optional[Reply]] = []
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake.asked.append(Asked(self.command, self.path, headers, body))
                self.close_connection = True
                reply = fake.replies.pop(0)
                if reply is None:
                    return
                self.send_response(reply.status)
                length = len(reply.body) + (1 if reply.cut else 0)
                for name, value in {"content-length": str(length), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Fake:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cutter:
    """Passes connections on to the service, and breaks them off after so many bytes of answers."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = (there.hostname, there.port or 80)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        #: Of each connection in turn; those that follow are left alone.
        self.after: list[int] = []
        self.connections = 0

    def __enter__(self) -> Cutter:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake who waits in `accept`.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            most = self.after.pop(0) if self.after else None
            threading.Thread(target=self._pass, args=(client, most), daemon=True).start()

    def _pass(self, client: socket.socket, most: Optional[int]) -> None:
        with client, socket.create_connection(self._there) as service:
            threading.Thread(target=_copy, args=(client, service, None), daemon=True).start()
            _copy(service, client, most)
            for end in (client, service):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def _copy(here: socket.socket, there: socket.socket, most: Optional[int]) -> None:
    left = most
    try:
        while left is None or left > 0:
            piece = here.recv(65536 if left is None else min(left, 65536))
            if not piece:
                return
            there.sendall(piece)
            left = None if left is None else left - len(piece)
    except OSError:
        pass
