"""A web server that fails in chosen ways: a list of actions per path, the last one is repeated."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Act = Callable[[BaseHTTPRequestHandler], None]


def whole(content: bytes, tag: str | None = '"1"', ranges: bool = True) -> Act:
    """As it should be, ranges and their conditions included."""

    def act(request: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = (
            int(asked[1]) if asked and ranges and request.headers.get("If-Range", tag) == tag else 0
        )
        if start >= len(content) > 0:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        _end(request, len(content) - start, tag)
        request.wfile.write(content[start:])

    return act


def cut(content: bytes, at: int, length: int | None = None, tag: str | None = '"1"') -> Act:
    """The connection ends after `at` bytes; `length` is what was promised."""

    def act(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        _end(request, len(content) if length is None else length, tag)
        request.wfile.write(content[:at])

    return act


def stall(content: bytes, at: int) -> Act:
    """Silence after `at` bytes, until the client goes away."""

    def act(request: BaseHTTPRequestHandler) -> None:
        cut(content, at)(request)
        request.wfile.flush()
        request.connection.settimeout(20)
        request.rfile.read(1)

    return act


def status(code: int) -> Act:
    return lambda request: request.send_error(code)


def redirect(to: str) -> Act:
    def act(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        _end(request, 0, None)

    return act


def other_part(content: bytes) -> Act:
    """Answers a request for a part with another one."""

    def act(request: BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 1-{len(content) - 1}/{len(content)}")
        _end(request, len(content) - 1, '"1"')
        request.wfile.write(content[1:])

    return act


def _end(request: BaseHTTPRequestHandler, length: int, tag: str | None) -> None:
    request.send_header("Content-Length", str(length))
    if tag:
        request.send_header("ETag", tag)
    request.end_headers()


class FlakyServer:
    def __init__(self, base: str) -> None:
        self.base = base
        self.acts: dict[str, list[Act]] = {}
        # The Range headers of the requests, by path
        self.requests: dict[str, list[str]] = defaultdict(list)

    def url(self, path: str, *acts: Act) -> str:
        self.acts[path] = list(acts)
        return self.base + path


@contextmanager
def serve() -> Iterator[FlakyServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            flaky.requests[self.path].append(self.headers.get("Range", ""))
            acts = flaky.acts.get(self.path) or [status(404)]
            (acts.pop(0) if len(acts) > 1 else acts[0])(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients go away here

    server = Server(("127.0.0.1", 0), Handler)
    flaky = FlakyServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield flaky
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
