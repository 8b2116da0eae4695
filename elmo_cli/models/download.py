"""A file fetched over the network: from its mirrors in turn, complete and with the published hash before it has its name.

Partial files are kept, and a later attempt or run continues them; redirects may not lead from https to anything less.
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
ROUNDS = 3  # over all mirrors, without a byte gained, before it is given up
BACK_OFF = 1.0  # seconds between two rounds; doubled after each that gained nothing
HASH_BLOCK = 1 << 20
BLOCK = 1 << 14  # what a break may lose of the bytes that have come
MAX_REDIRECTS = 10
MAX_BYTES = 1 << 34
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)

Progress = Callable[[str, int, int | None], None]  # a file's name, bytes that are there, bytes in all


class _Failure(Exception):  # noqa: N818  # never leaves this module
    """An attempt came to nothing; `again` says whether another may do better."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def fetch(file: WebFile, folder: Path, progress: Progress) -> Path:
    """Fetch a file into `folder`, where it appears whole and with the hash that is published. One run at a time may do so.

    Raises:
        DownloadError: No mirror gave it, for the reasons that the message tells.
    """
    incoming = folder / ".incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    urls, reasons, fruitless, most = list(file.urls), dict.fromkeys(file.urls, "not tried"), 0, 0
    while urls and fruitless < ROUNDS:
        before = most
        for url in list(urls):
            attempt = _Attempt(file, _partial(incoming, file, url), progress)
            try:
                attempt.bring(url)
                return _put_in_place(attempt.partial, folder / file.name)
            except _Failure as failure:
                reasons[url] = str(failure)
                most = max(most, attempt.reached)
                if not failure.again:
                    urls.remove(url)
        fruitless = 0 if most > before else fruitless + 1
        time.sleep(BACK_OFF * 2 ** max(fruitless - 1, 0) if urls and fruitless < ROUNDS else 0)
    raise DownloadError(f"{file.name}: cannot be fetched: {'; '.join(f'{redact_url(url)} {reason}' for url, reason in reasons.items())}")


def _put_in_place(partial: Path, target: Path) -> Path:
    """Move a complete file out of the folder of partial files, and remove what other mirrors have left there."""
    partial.replace(target)
    for left in partial.parent.glob(f"{glob.escape(target.name[:80])}.*.partial*"):
        left.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: another file of the model is half there
        partial.parent.rmdir()
    return target


def _partial(incoming: Path, file: WebFile, url: str) -> Path:
    """What is there so far from one place: mirrors are not mixed."""
    return incoming / f"{file.name[:80]}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.partial"


@dataclass
class _Attempt:
    """One attempt at one URL."""

    file: WebFile
    partial: Path
    progress: Progress
    reached: int = 0  # bytes
    resumed: bool = False

    def bring(self, url: str) -> None:
        """Bring the URL's content to `partial`, complete and with the published hash."""
        import requests

        try:
            with requests.Session() as session:
                self._read(session, url)
        except requests.exceptions.ConnectionError as error:
            raise _Failure(f"cannot be reached ({_reason(error)})", again=True) from None
        except requests.exceptions.Timeout:
            raise _Failure("is silent (timed out)", again=True) from None
        except requests.exceptions.ChunkedEncodingError:
            raise _Failure("broke off", again=True) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise _Failure(f"cannot be read ({_reason(error)})", again=False) from None
        except OSError as error:
            raise DownloadError(f"{error.filename or self.partial}: cannot be written ({error.strerror})") from None
        self._validator.unlink(missing_ok=True)
        if self.file.hash and not _has_hash(self.partial, self.file.hash):
            self.partial.unlink()
            raise _Failure("is another file than the published one (its hash differs)", again=self.resumed)  # of the part that was there

    @property
    def _validator(self) -> Path:
        """Holds what tells the server's file from another of that name: without it a partial file is of no use."""
        return self.partial.with_name(f"{self.partial.name}.tag")

    def _read(self, session: "Session", url: str) -> None:
        there, tag = self._resumable()
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {}), **({"If-Range": tag} if tag else {})}
        with closing(_get(session, url, headers)) as response:
            if response.status_code == 416:  # what is there is all of it, or no part of it
                if there and there in (self.file.bytes, _whole_number(response.headers.get("Content-Range", "").removeprefix("bytes */"))):
                    self.resumed, self.reached = True, there
                    return
                self.partial.unlink(missing_ok=True)
                raise _Failure("has less than what is there", again=True)
            if response.status_code not in (200, 206):
                raise _Failure(f"answers {response.status_code} {response.reason}".rstrip(), again=response.status_code in TRANSIENT)
            there, total = self._begin(response, there)
            self.resumed = there > 0
            self._append(response, there, total)

    def _resumable(self) -> tuple[int, str]:
        if not self.partial.is_file() or not self.partial.stat().st_size:
            return 0, ""
        tag = self._validator.read_text(encoding="latin-1") if self._validator.is_file() else ""
        return (self.partial.stat().st_size, tag) if tag or self.file.hash else (0, "")

    def _begin(self, response: "Response", there: int) -> tuple[int, int | None]:
        """Where the answer begins, and how long the whole is: its own word for it, or the catalogue's."""
        length = _whole_number(response.headers.get("Content-Length"))
        if response.status_code == 206:
            first, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if first.partition("-")[0] != str(there):
                self.partial.unlink(missing_ok=True)
                raise _Failure("answers with another part than was asked for", again=True)
            total = _whole_number(whole)
        else:
            there, total = 0, length
            self._validator.unlink(missing_ok=True)
            tag = response.headers.get("ETag", "")
            tag = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
            if tag:
                self._validator.write_text(tag, encoding="latin-1")
        if self.file.bytes is not None and total is not None and total != self.file.bytes:
            raise _Failure(f"has {total:,} bytes, not the {self.file.bytes:,} that were published", again=False)
        room = min(MAX_BYTES, shutil.disk_usage(self.partial.parent).free)
        if total is not None and total - there > room:
            fact = f"has no room for {self.file.name}: {total - there:,} bytes are to come, {room:,} are free"
            raise DownloadError(f"{self.partial.parent}: {fact}; make room, or name a folder on another disk by --cache-dir")
        return there, total

    def _append(self, response: "Response", there: int, total: int | None) -> None:
        with self.partial.open("ab" if there else "wb") as out:
            for block in response.iter_content(BLOCK):
                out.write(block)
                there += len(block)
                self.reached = there
                self.progress(self.file.name, there, total)
                if there > (MAX_BYTES if total is None else total):
                    break
            out.flush()
            os.fsync(out.fileno())
        if total is not None and there > total:
            self.partial.unlink()
            raise _Failure("sends more than it says", again=True)
        if total is not None and there < total:
            raise _Failure(f"broke off after {there:,} of {total:,} bytes", again=True)
        if total is None and there > MAX_BYTES:
            self.partial.unlink()
            raise _Failure("does not end", again=False)


def _has_hash(path: Path, published: str) -> bool:
    algorithm, _, expected = published.partition(":")
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected.lower()


def _get(session: "Session", url: str, headers: dict[str, str]) -> "Response":
    """Ask, and follow redirects: to https, or to http where the first URL, the user's own, was that."""
    allowed = {"https", urlsplit(url).scheme} & {"http", "https"}
    for _ in range(MAX_REDIRECTS):
        if urlsplit(url).scheme not in allowed:
            raise _Failure(f"leads to {redact_url(url)}, which is not {' or '.join(sorted(allowed))}", again=False)
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False)
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["Location"])
    raise _Failure("leads round in circles", again=False)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _reason(error: BaseException) -> str:
    """The innermost reason of a chain that the network libraries have wrapped up, in a few words."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        causes = (getattr(error, "reason", None), *error.args)
        inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    words = re.sub(r"\?\S+", "?...", redact_url(str(getattr(error, "strerror", None) or error))) or type(error).__name__  # paths too
    return " ".join(re.sub(r"^HTTPS?Connection\(.*?\): ", "", words).split())[:120]
