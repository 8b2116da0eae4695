"""An S3 server in this process (moto's), which can be made to fail."""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

ERROR = "<Error><Code>{code}</Code><Message>told to</Message></Error>"
STATUS = {
    "AccessDenied": "403 Forbidden",
    "InternalError": "500 Internal Server Error",
    "OperationAborted": "409 Conflict",
}
Start = Callable[..., Any]


@dataclass
class S3Server:
    """`fail` returns a request's error code by method and path; None for moto's answer."""

    port: int
    fail: Callable[[str, str], str | None] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def query(self) -> str:
        """The end of a URI that leads to the server."""
        server = f"?scheme=http&endpoint_override=127.0.0.1%3A{self.port}"
        return f"{server}&region=us-east-1&allow_bucket_creation=true"

    def uri(self, path: str) -> str:
        """A URI of the server."""
        return f"s3://me:secret@{path}{self.query}"


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Run the server while the block does."""
    pytest.importorskip("moto")
    pytest.importorskip("flask_cors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of moto's imports
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            """Say nothing."""

    server = S3Server(0)
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        server.requests.append((method, path))
        code = server.fail(method, path) if server.fail else None
        if code is None:
            return moto(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(STATUS[code], [("Content-Type", "application/xml")])
        return [ERROR.format(code=code).encode()]

    running = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    running.daemon_threads = True
    server.port = running.server_port
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
