"""A download gives the complete, correct file or one line of error, also when the server fails."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from elmo_cli.errors import DownloadError
from elmo_cli.models import download
from elmo_cli.models.catalogue import WebFile
from elmo_cli.models.download import fetch
from tests.helpers.flaky_server import FlakyServer, cut, other_part, redirect, stall, status, whole

CONTENT = os.urandom(700_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def get(folder: Path, *urls: str, hash_: str | None = None, n_bytes: int | None = None) -> bytes:
    return fetch(WebFile("file.bin", urls, n_bytes, hash_), folder, lambda *_: None).read_bytes()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "file.bin")


def test_a_file_arrives_whole_and_alone(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", whole(CONTENT)), hash_=SHA256) == CONTENT
    assert leftovers(tmp_path) == []


def test_an_empty_file_is_a_file(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", whole(b""))) == b""


@pytest.mark.parametrize("break_", [cut(CONTENT, 300_000), stall(CONTENT, 300_000)])
def test_a_broken_download_goes_on_where_it_was(
    server: FlakyServer, tmp_path: Path, break_: Callable
):
    assert get(tmp_path, server.url("/a", break_, whole(CONTENT))) == CONTENT
    first, second = server.requests["/a"]
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 300_000


def test_a_later_run_goes_on_too(server: FlakyServer, tmp_path: Path):
    url = server.url("/a", cut(CONTENT, 300_000), status(404))
    with pytest.raises(DownloadError, match="returned 404"):
        get(tmp_path, url)
    server.url("/a", whole(CONTENT))
    assert get(tmp_path, url) == CONTENT
    assert server.requests["/a"][-1].startswith("bytes=")


def test_many_breaks_that_each_gain_something_are_borne(server: FlakyServer, tmp_path: Path):
    def some(request) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        request.send_response(206 if start else 200)
        request.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.send_header("Content-Length", str(len(CONTENT) - start))
        request.send_header("ETag", '"1"')
        request.end_headers()
        request.wfile.write(CONTENT[start : start + 100_000])

    assert get(tmp_path, server.url("/a", some)) == CONTENT


def test_a_file_that_changed_meanwhile_is_begun_anew(server: FlakyServer, tmp_path: Path):
    other = os.urandom(700_000)
    assert get(tmp_path, server.url("/a", cut(CONTENT, 300_000), whole(other, tag='"2"'))) == other


def test_without_a_way_to_tell_versions_apart_it_is_begun_anew(server: FlakyServer, tmp_path: Path):
    other = os.urandom(700_000)
    assert (
        get(tmp_path, server.url("/a", cut(CONTENT, 300_000, tag=None), whole(other, tag=None)))
        == other
    )
    assert server.requests["/a"] == ["", ""]


def test_a_server_that_ignores_ranges_starts_over(server: FlakyServer, tmp_path: Path):
    assert (
        get(tmp_path, server.url("/a", cut(CONTENT, 300_000), whole(CONTENT, ranges=False)))
        == CONTENT
    )


def test_a_part_that_was_not_asked_for_is_not_taken(server: FlakyServer, tmp_path: Path):
    assert (
        get(tmp_path, server.url("/a", cut(CONTENT, 300_000), other_part(CONTENT), whole(CONTENT)))
        == CONTENT
    )


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_s_bad_moment_is_waited_out(server: FlakyServer, tmp_path: Path, code: int):
    assert get(tmp_path, server.url("/a", status(code), whole(CONTENT))) == CONTENT


def test_the_next_mirror_is_asked_where_one_fails(server: FlakyServer, tmp_path: Path):
    bad = [
        server.url("/none", status(404)),
        server.url("/wrong", whole(b"wrong")),
        server.url("/broken", status(500)),
        "http://127.0.0.1:9/nobody",
    ]
    assert get(tmp_path, *bad, server.url("/good", whole(CONTENT)), hash_=SHA256) == CONTENT
    assert len(server.requests["/wrong"]) == 1


def test_where_the_half_that_was_there_is_wrong_it_is_fetched_again(
    server: FlakyServer, tmp_path: Path
):
    assert (
        get(tmp_path, server.url("/a", cut(bytes(700_000), 300_000), whole(CONTENT)), hash_=SHA256)
        == CONTENT
    )
    assert len(server.requests["/a"]) == 3


@pytest.mark.parametrize("told", [True, False])
def test_what_came_whole_and_was_not_put_in_place_is_not_fetched_again(
    server: FlakyServer, tmp_path: Path, told: bool
):
    def nothing_left(request) -> None:
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(CONTENT)}" if told else "bytes */*")
        request.send_header("Content-Length", "0")
        request.end_headers()

    file = WebFile(
        "file.bin",
        (server.url("/a", nothing_left, whole(CONTENT)),),
        None if told else len(CONTENT),
        SHA256,
    )
    partial = download._partial_path(tmp_path / ".incoming", file, file.urls[0])
    for left, requests in [(CONTENT, 1), (bytes(len(CONTENT)), 3)]:  # right, and wrong
        partial.parent.mkdir()
        partial.write_bytes(left)
        server.url("/a", nothing_left, whole(CONTENT))
        assert fetch(file, tmp_path, lambda *_: None).read_bytes() == CONTENT
        assert len(server.requests["/a"]) == requests
        assert leftovers(tmp_path) == []


BAD = {
    "404": ([status(404)], "returned 404 Not Found"),
    "500 for ever": ([status(500)], "returned 500"),
    "wrong bytes": ([whole(CONTENT[::-1])], "provides another file than the published one"),
    "a login page": ([whole(b"<html>")], "provides another file than the published one"),
    "cut for ever": ([cut(CONTENT, 1000, tag=None)], "closed the connection"),
    "silent for ever": ([stall(CONTENT, 0)], "timed out"),
    "says more than it has": (
        [cut(CONTENT, len(CONTENT), len(CONTENT) + 5)],
        "closed the connection",
    ),
    "says less than it has": (
        [cut(CONTENT, len(CONTENT), 1000)],
        "provides another file than the published one",
    ),
    "to a file": (
        [redirect("file:///etc/passwd")],
        "redirects to file:///etc/passwd, which is not http or https",
    ),
    "to nowhere": ([redirect("http://[")], "cannot be read"),
    "in circles": ([redirect("/a")], "redirects too many times"),
}


@pytest.mark.parametrize(("acts", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_fetched_is_one_line_and_no_file(
    server: FlakyServer, tmp_path: Path, acts: list, words: str
):
    with pytest.raises(DownloadError) as caught:
        get(tmp_path, server.url("/a", *acts), hash_=SHA256)
    assert words in str(caught.value)
    assert server.base in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()


def test_secrets_of_a_url_are_not_shown(server: FlakyServer, tmp_path: Path):
    urls = [
        server.url(f"/a{number}?token=SECRET", act).replace("://", "://me:SECRET@")
        for number, act in enumerate(HIDDEN)
    ]
    with pytest.raises(DownloadError, match=r"/a0\?\.\.\. returned 404") as caught:
        get(
            tmp_path,
            *urls,
            "http://me:SECRET@127.0.0.1:9/a?token=SECRET",
            "http://me:SECRET@[/a?token=SECRET",
        )
    assert "SECRET" not in str(caught.value)


HIDDEN = [
    status(404),
    redirect("file:///etc/passwd?token=SECRET"),
    redirect("http://me:SECRET@[/a?token=SECRET"),
]


def test_another_size_than_the_published_one_is_not_even_read(server: FlakyServer, tmp_path: Path):
    with pytest.raises(DownloadError, match="provides 700,000 bytes, not the published 700,001"):
        get(tmp_path, server.url("/a", whole(CONTENT)), n_bytes=700_001)


def test_a_file_too_large_for_the_disk_is_refused_before_it_is_read(
    server: FlakyServer, tmp_path: Path
):
    with pytest.raises(DownloadError, match="no space for"):
        get(tmp_path, server.url("/a", cut(CONTENT, 10, length=10**15)))


def test_redirects_are_followed(server: FlakyServer, tmp_path: Path):
    server.url("/b", whole(CONTENT))
    assert get(tmp_path, server.url("/a", redirect("/b"))) == CONTENT


def test_a_redirect_never_leads_from_https_to_less():
    answer = SimpleNamespace(
        is_redirect=True, headers={"Location": "http://example.org/x"}, close=lambda: None
    )
    session = SimpleNamespace(get=lambda *_, **__: answer)
    with pytest.raises(
        download._Failure, match=r"redirects to http://example\.org/x, which is not https"
    ):
        download._get(session, "https://example.org/x", {})


def test_a_proxy_is_asked(server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", server.base)
    server.acts["http://models.invalid/a"] = [whole(CONTENT)]
    assert get(tmp_path, "http://models.invalid/a") == CONTENT
