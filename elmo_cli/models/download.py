"""Downloads: mirrors in turn, resumed where they stopped, and renamed when complete and verified.

Partial files are kept and resumed by a later attempt or run. Redirects may not lead from https to
another scheme.
"""

import glob
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from elmo_cli.errors import DownloadError
from elmo_cli.io.remote import redact_url
from elmo_cli.models.catalogue import WebFile

if TYPE_CHECKING:
    from requests import Response, Session

TIMEOUT = (10.0, 20.0)  # seconds: to connect, and without a byte
ROUNDS = 3  # over all mirrors without progress, before the download fails
BACK_OFF = 1.0  # seconds between two rounds; doubled after each without progress
HASH_BLOCK = 1 << 20
BLOCK = 1 << 14  # bytes that an interruption may discard
MAX_REDIRECTS = 10
MAX_BYTES = 1 << 34
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[str, int, int | None], None]  # file name, bytes received, total bytes


class _Failure(Exception):  # noqa: N818  # private to this module
    """An attempt failed; `again` is True if another attempt may succeed."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def fetch(file: WebFile, folder: Path, progress: Progress) -> Path:
    """Download a file into a folder, where it appears complete and verified.

    Only one process at a time may do so.

    Args:
        file: Name, URLs, size and hash of the file.
        folder: Path of the folder.
        progress: Called after each block.

    Returns:
        Path of the file.

    Raises:
        DownloadError: No mirror provides the file; the message contains each mirror's reason.
    """
    incoming = folder / ".incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    urls, reasons, failed_rounds, most = (
        list(file.urls),
        dict.fromkeys(file.urls, "not tried"),
        0,
        0,
    )
    while urls and failed_rounds < ROUNDS:
        before = most
        for url in list(urls):
            attempt = _Attempt(file, _partial_path(incoming, file, url), progress)
            try:
                attempt.run(url)
                return _move_to(folder / file.name, attempt.partial)
            except _Failure as failure:
                reasons[url] = str(failure)
                most = max(most, attempt.reached)
                if not failure.again:
                    urls.remove(url)
        failed_rounds = 0 if most > before else failed_rounds + 1
        time.sleep(
            BACK_OFF * 2 ** max(failed_rounds - 1, 0) if urls and failed_rounds < ROUNDS else 0
        )
    raise DownloadError(
        f"{file.name}: cannot be downloaded: "
        f"{'; '.join(f'{redact_url(url)} {reason}' for url, reason in reasons.items())}"
    )


def _move_to(path: Path, complete: Path) -> Path:
    """Move a complete file to its path, and delete the partial files of other mirrors."""
    complete.replace(path)
    for partial in complete.parent.glob(f"{glob.escape(path.name[:80])}.*.partial*"):
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: it has a part of another file of the model
        complete.parent.rmdir()
    return path


def _partial_path(incoming: Path, file: WebFile, url: str) -> Path:
    """Return the path of the partial file of one URL; parts of several mirrors are not combined."""
    return incoming / f"{file.name[:80]}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.partial"


@dataclass
class _Attempt:
    """One attempt at one URL."""

    file: WebFile
    partial: Path
    progress: Progress
    reached: int = 0  # bytes
    resumed: bool = False

    def run(self, url: str) -> None:
        """Download the content of the URL to `partial`, and check its hash."""
        import requests

        try:
            with requests.Session() as session:
                self._read(session, url)
        except requests.exceptions.ConnectionError as error:
            raise _Failure(f"cannot be reached ({_innermost_reason(error)})", again=True) from None
        except requests.exceptions.Timeout:
            raise _Failure("timed out", again=True) from None
        except requests.exceptions.ChunkedEncodingError:
            raise _Failure("closed the connection", again=True) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise _Failure(f"cannot be read ({_innermost_reason(error)})", again=False) from None
        except OSError as error:
            raise DownloadError(
                f"{error.filename or self.partial}: cannot be written ({error.strerror})"
            ) from None
        self._validator.unlink(missing_ok=True)
        if self.file.hash and not _has_hash(self.partial, self.file.hash):
            self.partial.unlink()
            reason = "provides another file than the published one (its hash differs)"
            raise _Failure(reason, again=self.resumed)  # the earlier part may be wrong

    @property
    def _validator(self) -> Path:
        """File of the server's version tag, without which a partial file is not resumed."""
        return self.partial.with_name(f"{self.partial.name}.tag")

    def _read(self, session: "Session", url: str) -> None:
        received, tag = self._resumable()
        headers = {
            "Accept-Encoding": "identity",
            **({"Range": f"bytes={received}-"} if received else {}),
            **({"If-Range": tag} if tag else {}),
        }
        with closing(_get(session, url, headers)) as response:
            if response.status_code == 416:  # the received part is complete, or of another file
                if received and received in (
                    self.file.bytes,
                    _parse_size(response.headers.get("Content-Range", "").removeprefix("bytes */")),
                ):
                    self.resumed, self.reached = True, received
                    return
                self.partial.unlink(missing_ok=True)
                raise _Failure("provides fewer bytes than were received before", again=True)
            if response.status_code not in (200, 206):
                raise _Failure(
                    f"returned {response.status_code} {response.reason}".rstrip(),
                    again=response.status_code in TRANSIENT,
                )
            received, total = self._begin(response, received)
            self.resumed = received > 0
            self._append(response, received, total)

    def _resumable(self) -> tuple[int, str]:
        if not self.partial.is_file() or not self.partial.stat().st_size:
            return 0, ""
        tag = self._validator.read_text(encoding="latin-1") if self._validator.is_file() else ""
        return (self.partial.stat().st_size, tag) if tag or self.file.hash else (0, "")

    def _begin(self, response: "Response", received: int) -> tuple[int, int | None]:
        """Return the response's offset and the file's size, from the server or catalogue."""
        length = _parse_size(response.headers.get("Content-Length"))
        if response.status_code == 206:
            first, _, size = (
                response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            )
            if first.partition("-")[0] != str(received):
                self.partial.unlink(missing_ok=True)
                raise _Failure("sends another part than requested", again=True)
            total = _parse_size(size)
        else:
            received, total = 0, length
            self._validator.unlink(missing_ok=True)
            tag = response.headers.get("ETag", "")
            tag = (
                response.headers.get("Last-Modified", "")
                if tag.startswith("W/") or not tag
                else tag
            )
            if tag:
                self._validator.write_text(tag, encoding="latin-1")
        if self.file.bytes is not None and total is not None and total != self.file.bytes:
            raise _Failure(
                f"provides {total:,} bytes, not the published {self.file.bytes:,}", again=False
            )
        room = min(MAX_BYTES, shutil.disk_usage(self.partial.parent).free)
        if total is not None and total - received > room:
            fact = (
                f"no space for {self.file.name}: needs {total - received:,} bytes, {room:,} are "
                "free"
            )
            remedy = "free some space, or choose a folder on another disk with --cache-dir"
            raise DownloadError(f"{self.partial.parent}: {fact}; {remedy}")
        return received, total

    def _append(self, response: "Response", received: int, total: int | None) -> None:
        with self.partial.open("ab" if received else "wb") as out:
            for block in response.iter_content(BLOCK):
                out.write(block)
                received += len(block)
                self.reached = received
                self.progress(self.file.name, received, total)
                if received > (MAX_BYTES if total is None else total):
                    break
            out.flush()
            os.fsync(out.fileno())
        if total is not None and received > total:
            self.partial.unlink()
            raise _Failure("sends more bytes than it announced", again=True)
        if total is not None and received < total:
            raise _Failure(
                f"closed the connection after {received:,} of {total:,} bytes", again=True
            )
        if total is None and received > MAX_BYTES:
            self.partial.unlink()
            raise _Failure(f"sends more than {MAX_BYTES:,} bytes", again=False)


def _has_hash(path: Path, published: str) -> bool:
    algorithm, _, expected = published.partition(":")
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected.lower()


def _get(session: "Session", url: str, headers: dict[str, str]) -> "Response":
    """Send a request and follow redirects to https, or to http if the user's URL is http."""
    allowed = {"https", urlsplit(url).scheme} & {"http", "https"}
    for _ in range(MAX_REDIRECTS):
        if urlsplit(url).scheme not in allowed:
            raise _Failure(
                f"redirects to {redact_url(url)}, which is not {' or '.join(sorted(allowed))}",
                again=False,
            )
        response = session.get(
            url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False
        )
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise _Failure("redirects too many times", again=False)


def _parse_size(text: str | None) -> int | None:
    return (
        int(text)
        if text is not None and text.isascii() and text.isdigit() and len(text) < 19
        else None
    )


def _innermost_reason(error: BaseException) -> str:
    """Return the innermost reason of a chain of exceptions of the network libraries, shortened."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        causes = (getattr(error, "reason", None), *error.args)
        inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    # Queries are removed here as well, since `redact_url` finds only those of complete URLs
    words = (
        re.sub(r"\?\S+", "?...", redact_url(str(getattr(error, "strerror", None) or error)))
        or type(error).__name__
    )
    return " ".join(re.sub(r"^HTTPS?Connection\(.*?\): ", "", words).split())[:120]
