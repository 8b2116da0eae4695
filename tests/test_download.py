"""A download ends in the whole, right file or in one line; on bad days of the server too."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from elmo_cli import download, models
from elmo_cli.cache import Cache
from elmo_cli.catalogue import KnownModel, RemoteFile, load_catalogue
from elmo_cli.download import fetch
from elmo_cli.errors import DownloadError, ModelError
from elmo_cli.models import find_model
from tests.conftest import make_model
from tests.flaky_server import FlakyServer, cut, other_part, redirect, serve, stall, status, whole

CONTENT = os.urandom(700_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (2.0, 0.3))
    monkeypatch.setattr(download, "BACK_OFF", 0.0)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def get(folder: Path, *urls: str, hash_: str | None = None, n_bytes: int | None = None) -> bytes:
    return fetch(RemoteFile("file.bin", urls, n_bytes, hash_), folder, lambda *_: None).read_bytes()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "file.bin")


def test_a_file_arrives_whole_and_alone(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", whole(CONTENT)), hash_=SHA256) == CONTENT
    assert leftovers(tmp_path) == []


def test_an_empty_file_is_a_file(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", whole(b""))) == b""


@pytest.mark.parametrize("break_", [cut(CONTENT, 300_000), stall(CONTENT, 300_000)])
def test_a_broken_download_goes_on_where_it_was(server: FlakyServer, tmp_path: Path, break_: Callable):
    assert get(tmp_path, server.url("/a", break_, whole(CONTENT))) == CONTENT
    first, second = server.requests["/a"]
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 300_000


def test_a_later_run_goes_on_too(server: FlakyServer, tmp_path: Path):
    url = server.url("/a", cut(CONTENT, 300_000), status(404))
    with pytest.raises(DownloadError, match="answers 404"):
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
    assert get(tmp_path, server.url("/a", cut(CONTENT, 300_000, tag=None), whole(other, tag=None))) == other
    assert server.requests["/a"] == ["", ""]


def test_a_server_that_ignores_ranges_starts_over(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", cut(CONTENT, 300_000), whole(CONTENT, ranges=False))) == CONTENT


def test_a_part_that_was_not_asked_for_is_not_taken(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", cut(CONTENT, 300_000), other_part(CONTENT), whole(CONTENT))) == CONTENT


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


def test_where_the_half_that_was_there_is_wrong_it_is_fetched_again(server: FlakyServer, tmp_path: Path):
    assert get(tmp_path, server.url("/a", cut(bytes(700_000), 300_000), whole(CONTENT)), hash_=SHA256) == CONTENT
    assert len(server.requests["/a"]) == 3


BAD = {
    "404": ([status(404)], "answers 404 Not Found"),
    "500 for ever": ([status(500)], "answers 500"),
    "wrong bytes": ([whole(CONTENT[::-1])], "is another file than the published one"),
    "a login page": ([whole(b"<html>")], "is another file than the published one"),
    "cut for ever": ([cut(CONTENT, 1000, tag=None)], "broke off"),
    "silent for ever": ([stall(CONTENT, 0)], "timed out"),
    "says more than it has": ([cut(CONTENT, len(CONTENT), len(CONTENT) + 5)], "broke off"),
    "says less than it has": ([cut(CONTENT, len(CONTENT), 1000)], "is another file than the published one"),
    "to a file": ([redirect("file:///etc/passwd")], "leads to file:///etc/passwd, which is not http or https"),
    "to nowhere": ([redirect("http://[")], "cannot be read"),
    "in circles": ([redirect("/a")], "leads round in circles"),
}


@pytest.mark.parametrize(("acts", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_fetched_is_one_line_and_no_file(server: FlakyServer, tmp_path: Path, acts: list, words: str):
    with pytest.raises(DownloadError) as caught:
        get(tmp_path, server.url("/a", *acts), hash_=SHA256)
    assert words in str(caught.value)
    assert server.base in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()


def test_another_size_than_the_published_one_is_not_even_read(server: FlakyServer, tmp_path: Path):
    with pytest.raises(DownloadError, match="has 700,000 bytes, not the 700,001 that were published"):
        get(tmp_path, server.url("/a", whole(CONTENT)), n_bytes=700_001)


def test_a_file_too_large_for_the_disk_is_refused_before_it_is_read(server: FlakyServer, tmp_path: Path):
    with pytest.raises(DownloadError, match="has no room for"):
        get(tmp_path, server.url("/a", cut(CONTENT, 10, length=10**15)))


def test_redirects_are_followed(server: FlakyServer, tmp_path: Path):
    server.url("/b", whole(CONTENT))
    assert get(tmp_path, server.url("/a", redirect("/b"))) == CONTENT


def test_a_redirect_never_leads_from_https_to_less():
    answer = SimpleNamespace(is_redirect=True, headers={"Location": "http://example.org/x"}, close=lambda: None)
    session = SimpleNamespace(get=lambda *_, **__: answer)
    with pytest.raises(download._Failure, match=r"leads to http://example\.org/x, which is not https"):
        download._get(session, "https://example.org/x", {})


def test_a_proxy_is_asked(server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", server.base)
    server.acts["http://models.invalid/a"] = [whole(CONTENT)]
    assert get(tmp_path, "http://models.invalid/a") == CONTENT


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", offline=False)


@pytest.fixture
def known(server: FlakyServer, model: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A model of the catalogue whose weights' hash is not published."""
    files = tuple(
        RemoteFile(f"elmo_{name}", (server.url(f"/{name}", whole((model / name).read_bytes())),))
        for name in ("options.json", "weights.hdf5")
    )
    entry = KnownModel("mine", "English", "", "", "", "", "allennlp", files)
    monkeypatch.setattr(models, "load_catalogue", lambda: {"mine": entry})
    monkeypatch.setattr("elmo_cli.commands.models.load_catalogue", lambda: {"mine": entry})
    return entry


@pytest.mark.usefixtures("known")
def test_a_known_model_is_fetched_once(server: FlakyServer, model: Path, cache: Cache):
    for _ in range(2):
        found = find_model("mine", cache=cache)
        assert found.name == "mine"
        assert found.files["weights"].read_bytes() == (model / "weights.hdf5").read_bytes()
    assert len(server.requests["/weights.hdf5"]) == 1


@pytest.mark.usefixtures("known")
def test_a_hash_that_is_not_published_is_recorded_said_and_enforced(tmp_path: Path):
    said: list[str] = []
    cache = Cache(tmp_path / "cache", offline=False, say=said.append)
    found = find_model("mine", cache=cache)
    assert len([words for words in said if "is kept, and holds from now on" in words]) == 2
    weights = found.files["weights"]
    weights.write_bytes((make_model(tmp_path / "other", seed=5) / "weights.hdf5").read_bytes())
    with pytest.raises(ModelError, match="has changed since it was first seen"):
        find_model("mine", cache=cache)


def test_a_published_hash_holds_for_files_put_there_by_hand(
    server: FlakyServer, model: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    for algorithm in ("sha256", "sha1"):
        digest = hashlib.new(algorithm, (model / "weights.hdf5").read_bytes()).hexdigest()
        files = (
            RemoteFile("o.json", ("https://x.invalid/o",)),
            RemoteFile("w.hdf5", ("https://x.invalid/w",), None, f"{algorithm}:{digest}"),
        )
        entry = KnownModel(f"by-{algorithm}", "", "", "", "", "", "allennlp", files)
        monkeypatch.setattr(models, "load_catalogue", lambda entry=entry: {entry.name: entry})
        place = cache.place(entry.name)
        place.mkdir(parents=True)
        (place / "o.json").write_bytes((model / "options.json").read_bytes())
        (place / "w.hdf5").write_bytes((model / "weights.hdf5").read_bytes())
        assert find_model(entry.name, cache=cache).config().lstm_dim == 10
        (place / "w.hdf5").write_bytes((model / "weights.hdf5").read_bytes() + b"more")
        with pytest.raises(ModelError, match=f"is not the published file \\({algorithm}"):
            find_model(entry.name, cache=cache)
    assert not server.requests


@pytest.mark.usefixtures("known")
def test_files_put_there_by_hand_under_other_names_are_taken(model: Path, cache: Cache, server: FlakyServer):
    cache.place("mine").mkdir(parents=True)
    for path in model.iterdir():
        (cache.place("mine") / path.name).write_bytes(path.read_bytes())
    assert find_model("mine", cache=cache).config().lstm_dim == 10
    assert not server.requests


@pytest.mark.usefixtures("known")
def test_what_is_no_model_is_not_kept(server: FlakyServer, model: Path, cache: Cache):
    server.url("/weights.hdf5", cut((model / "weights.hdf5").read_bytes(), 5000, 5000), whole((model / "weights.hdf5").read_bytes()))
    with pytest.raises(ModelError, match="not a readable HDF5 file"):
        find_model("mine", cache=cache)
    assert find_model("mine", cache=cache).load().config.lstm_dim == 10


def test_offline_nothing_is_asked_for_and_the_line_says_what_to_do(server: FlakyServer, known: KnownModel, tmp_path: Path):
    with pytest.raises(DownloadError) as caught:
        find_model("mine", cache=Cache(tmp_path / "cache", offline=True))
    for file in known.files:
        assert f"{file.urls[0]} at {tmp_path / 'cache' / 'mine' / file.name}" in str(caught.value)
    assert not server.requests


@pytest.mark.usefixtures("known")
def test_without_a_network_the_line_says_what_to_do(cache: Cache, server: FlakyServer):
    server.acts.clear()
    with pytest.raises(DownloadError, match=r"answers 404 .* by hand, put .*weights\.hdf5 at .*mine/elmo_weights\.hdf5"):
        find_model("mine", cache=cache)


def zipped(model: Path, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        for part in model.iterdir():
            file.write(part, part.name)
    return path.read_bytes()


def test_a_model_is_taken_from_a_url(server: FlakyServer, model: Path, cache: Cache, tmp_path: Path):
    url = server.url("/x/my_elmo.zip?download=1", whole(zipped(model, tmp_path / "a.zip")))
    for _ in range(2):
        found = find_model(url, cache=cache)
        assert (found.name, found.load().config.lstm_dim) == ("my_elmo", 10)
    assert len(server.requests["/x/my_elmo.zip?download=1"]) == 1
    with pytest.raises(ModelError, match="no zip or tar archive"):
        find_model(server.url("/weights.hdf5", whole((model / "weights.hdf5").read_bytes())), cache=cache)


def test_two_urls_are_a_model_and_published_ones_a_known_model(server: FlakyServer, known: KnownModel, model: Path, cache: Cache):
    options, weights = (file.urls[0] for file in known.files)
    assert find_model(None, options, weights, cache).name == "mine"
    other = server.url("/other", whole((model / "weights.hdf5").read_bytes()))
    found = find_model(None, options, other, cache)
    assert (found.name, found.load().config.lstm_dim) == ("weights_other", 10)
    with pytest.raises(ModelError, match="not the URL of a file"):
        find_model(None, str(model / "options.json"), other, cache)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x.invalid/a.zip", "https://", "://a"])
def test_other_urls_are_refused(url: str, cache: Cache):
    with pytest.raises(ModelError, match="not the URL of a file"):
        find_model(url, cache=cache)


def test_two_runs_at_once_fetch_once_and_both_succeed(server: FlakyServer, model: Path, tmp_path: Path):
    content = zipped(model, tmp_path / "a.zip")

    def slowly(request) -> None:
        import time

        time.sleep(0.5)
        whole(content)(request)

    command = [sys.executable, "-m", "elmo_cli", "models", "download", server.url("/a.zip", slowly), "--cache-dir", tmp_path / "cache"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert len(server.requests["/a.zip"]) == 1


def test_the_catalogue_is_whole():
    catalogue = load_catalogue()
    assert {"tiny", "small", "medium", "original", "original-5.5b", "pubmed", "portuguese-wiki", "portuguese-brwac"} <= set(catalogue)
    assert {"japanese", "german", "basque", "tamil", "seqvec"} <= set(catalogue)
    assert len([name for name in catalogue if name.startswith("efml-")]) == 44
    for known in catalogue.values():
        assert known.language
        assert known.licence
        assert known.format in ("allennlp", "elmoformanylangs")
        assert bool(known.files) == (known.name != "tiny")
        for file in known.files:
            assert all(url.startswith("https://") for url in file.urls)
            assert "/" not in file.name
    urls = [url for known in catalogue.values() for file in known.files for url in file.urls]
    assert len(urls) == len(set(urls))


def test_the_command_line_brings_lists_shows_checks_and_removes(elmo: Callable[..., Result], known: KnownModel, cache: Cache):
    here = ("--cache-dir", cache.folder)
    assert elmo("models", *here).stdout.splitlines()[1].split() == ["mine", "English", "no"]
    assert "elmo models download mine" in elmo("models", "path", "mine", *here).stderr
    brought = elmo("models", "download", "mine", *here)
    assert brought.stdout == f"{cache.place('mine')}\n"
    assert "fetching elmo_weights.hdf5" in brought.stderr
    assert elmo("models", "path", "mine", *here).stdout == brought.stdout
    assert elmo("models", *here).stdout.splitlines()[1].endswith("yes")
    shown = elmo("models", "show", "mine", *here).stdout
    assert "(recorded here)" in shown
    assert known.files[0].urls[0] in shown
    verified = elmo("models", "verify", *here)
    assert verified.exit_code == 0
    assert len(verified.stdout.splitlines()) == 2
    weights = cache.place("mine") / "elmo_weights.hdf5"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    state = weights.stat()
    weights.write_bytes(damaged)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a bad disk would
    wrong = elmo("models", "verify", *here)
    assert wrong.exit_code == 1
    assert "has changed since it was first seen" in wrong.stderr
    assert elmo("models", "remove", "mine", *here).exit_code == 0
    assert not cache.place("mine").exists()
    assert "nothing to remove" in elmo("models", "remove", "mine", *here).stderr
