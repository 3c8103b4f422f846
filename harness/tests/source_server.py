"""A web server for tests of downloads: it drops connections, refuses ranges, lies about lengths, and counts."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Behaviour:
    """What the server does; changed by tests while it runs."""

    contents: bytes = b""
    drops: list[int] = field(default_factory=list)  # the next answers end after so many bytes; then they are whole
    ranges: bool = True
    seconds_per_piece: float = 0.0  # of 64 KiB
    declare_length: bool = True
    status: int = 200
    seen: list[int] = field(default_factory=list)  # where each request wanted to begin
    sent: int = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    behaviour: Behaviour

    def do_GET(self) -> None:
        how = self.behaviour
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted else 0
        how.seen.append(begin)
        if how.status != 200:
            self.send_error(how.status)
            return
        if not how.ranges:
            begin = 0
        if begin and begin >= len(how.contents):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(how.contents) - 1}/{len(how.contents)}")
        body = how.contents[begin:]
        if how.declare_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how.drops:
            body = body[: how.drops.pop(0)]
        try:
            for at in range(0, len(body), 65536):
                self.wfile.write(body[at : at + 65536])
                how.sent += len(body[at : at + 65536])
                if how.seconds_per_piece:
                    time.sleep(how.seconds_per_piece)
        except OSError:
            pass  # the other side was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(contents: bytes) -> Iterator[tuple[str, Behaviour]]:
    """Yields the address of the server, without a path, and what it does."""
    behaviour = Behaviour(contents)
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
