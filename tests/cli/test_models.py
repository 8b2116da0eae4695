"""Models by name: downloaded once, kept, verified, or taken from files that the user has placed."""

import errno
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from elmo_cli.errors import DownloadError, ModelError
from elmo_cli.features.reader import open_features
from elmo_cli.models import resolve as models
from elmo_cli.models.cache import Cache
from elmo_cli.models.catalogue import KnownModel, WebFile, load_catalogue
from elmo_cli.models.resolve import find_model
from tests.conftest import SAMPLE, make_model
from tests.helpers.flaky_server import FlakyServer, cut, stall, whole
from tests.helpers.reference_efml import make_efml


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", offline=False)


@pytest.fixture
def known(server: FlakyServer, model: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A model of the catalogue whose weights' hash is not published."""
    files = tuple(
        WebFile(f"elmo_{name}", (server.url(f"/{name}", whole((model / name).read_bytes())),))
        for name in ("options.json", "weights.hdf5")
    )
    entry = KnownModel("mine", "English", "", "", "", "", "allennlp", files)
    monkeypatch.setattr(models, "load_catalogue", lambda: {"mine": entry})
    monkeypatch.setattr("elmo_cli.cli.commands.models.load_catalogue", lambda: {"mine": entry})
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
    cache = Cache(tmp_path / "cache", offline=False, notify=said.append)
    found = find_model("mine", cache=cache)
    assert len([words for words in said if "is recorded and checked in later runs" in words]) == 2
    weights = found.files["weights"]
    weights.write_bytes((make_model(tmp_path / "other", seed=5) / "weights.hdf5").read_bytes())
    with pytest.raises(ModelError, match="has changed since its first use"):
        find_model("mine", cache=cache)


def test_a_published_hash_holds_for_files_put_there_by_hand(
    server: FlakyServer, model: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    for algorithm in ("sha256", "sha1"):
        digest = hashlib.new(algorithm, (model / "weights.hdf5").read_bytes()).hexdigest()
        files = (
            WebFile("o.json", ("https://x.invalid/o",)),
            WebFile("w.hdf5", ("https://x.invalid/w",), None, f"{algorithm}:{digest}"),
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
def test_files_put_there_by_hand_under_other_names_are_taken(
    model: Path, cache: Cache, server: FlakyServer
):
    cache.place("mine").mkdir(parents=True)
    for path in model.iterdir():
        (cache.place("mine") / path.name).write_bytes(path.read_bytes())
    assert find_model("mine", cache=cache).config().lstm_dim == 10
    assert not server.requests


@pytest.mark.parametrize("unpacked", [True, False])
def test_an_archive_may_be_put_there_by_hand_as_it_is_or_unpacked(tmp_path: Path, unpacked: bool):
    cache, folder = Cache(tmp_path / "cache", offline=True), make_efml(tmp_path / "efml")
    place = cache.place("efml-de")
    if unpacked:
        place.parent.mkdir()
        folder.rename(place)
    else:
        place.mkdir(parents=True)
        zipped(folder, place / "142.zip")
    found = find_model("efml-de", cache=cache)
    assert (found.name, found.format, found.load().config.lstm_dim) == (
        "efml-de",
        "elmoformanylangs",
        10,
    )


@pytest.mark.usefixtures("known")
def test_a_cache_that_may_only_be_read_is_used_as_it_is(
    model: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    cache.place("mine").mkdir(parents=True)
    for path in model.iterdir():
        (cache.place("mine") / f"elmo_{path.name}").write_bytes(path.read_bytes())

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for name in ("write_text", "replace", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    assert find_model("mine", cache=cache).config().lstm_dim == 10


@pytest.mark.usefixtures("known")
def test_what_is_no_model_is_not_kept(server: FlakyServer, model: Path, cache: Cache):
    server.url(
        "/weights.hdf5",
        cut((model / "weights.hdf5").read_bytes(), 5000, 5000),
        whole((model / "weights.hdf5").read_bytes()),
    )
    with pytest.raises(ModelError, match="not a readable HDF5 file"):
        find_model("mine", cache=cache)
    assert find_model("mine", cache=cache).load().config.lstm_dim == 10


def test_offline_nothing_is_asked_for_and_the_line_says_what_to_do(
    server: FlakyServer, known: KnownModel, tmp_path: Path
):
    with pytest.raises(DownloadError) as caught:
        find_model("mine", cache=Cache(tmp_path / "cache", offline=True))
    for file in known.files:
        assert f"{file.urls[0]} at {tmp_path / 'cache' / 'mine' / file.name}" in str(caught.value)
    assert not server.requests


@pytest.mark.usefixtures("known")
def test_without_a_network_the_line_says_what_to_do(cache: Cache, server: FlakyServer):
    server.acts.clear()
    with pytest.raises(
        DownloadError,
        match=r"returned 404 .* by hand, put .*weights\.hdf5 at .*mine/elmo_weights\.hdf5",
    ):
        find_model("mine", cache=cache)


def zipped(model: Path, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as file:
        for part in model.iterdir():
            file.write(part, part.name)
    return path.read_bytes()


def test_a_model_is_taken_from_a_url(
    server: FlakyServer, model: Path, cache: Cache, tmp_path: Path
):
    url = server.url("/x/my_elmo.zip?download=1", whole(zipped(model, tmp_path / "a.zip")))
    for _ in range(2):
        found = find_model(url, cache=cache)
        assert (found.name, found.load().config.lstm_dim) == ("my_elmo", 10)
    assert len(server.requests["/x/my_elmo.zip?download=1"]) == 1
    with pytest.raises(ModelError, match="not a zip or tar archive"):
        find_model(
            server.url("/weights.hdf5", whole((model / "weights.hdf5").read_bytes())), cache=cache
        )


def test_secrets_of_a_model_s_url_are_neither_shown_nor_written(
    server: FlakyServer,
    model: Path,
    tmp_path: Path,
    elmo: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
):
    url = server.url("/a.zip?token=SECRET", whole(zipped(model, tmp_path / "a.zip"))).replace(
        "://", "://me:SECRET@"
    )
    arguments = [
        "embed",
        SAMPLE,
        tmp_path / "out.h5",
        "--model",
        url,
        "--cache-dir",
        tmp_path / "cache",
    ]
    monkeypatch.setattr(sys, "argv", ["elmo", *map(str, arguments)])
    for options in (["--offline"], []):
        result = elmo(*arguments, *options)
        assert "SECRET" not in result.output
    with open_features(tmp_path / "out.h5") as features:
        assert features.metadata["model"] == "a"
        assert "a.zip?..." in features.metadata["command"]
        assert "SECRET" not in str(features.metadata)


def test_two_urls_are_a_model_and_published_ones_a_known_model(
    server: FlakyServer, known: KnownModel, model: Path, cache: Cache
):
    options, weights = (file.urls[0] for file in known.files)
    assert find_model(None, options, weights, cache).name == "mine"
    other = server.url("/other", whole((model / "weights.hdf5").read_bytes()))
    found = find_model(None, options, other, cache)
    assert (found.name, found.load().config.lstm_dim) == ("weights_other", 10)
    with pytest.raises(ModelError, match="not the URL of a file"):
        find_model(None, options, "ftp://x.invalid/weights", cache)


def test_one_of_options_and_weights_may_be_a_url(server: FlakyServer, model: Path, cache: Cache):
    url = server.url("/far.hdf5", whole((model / "weights.hdf5").read_bytes()))
    for _ in range(2):  # fetched once
        found = find_model(None, str(model / "options.json"), url, cache)
        assert (found.name, found.load().config.lstm_dim) == ("far", 10)
    assert len(server.requests["/far.hdf5"]) == 1
    url = server.url("/far.json", whole((model / "options.json").read_bytes()))
    assert find_model(None, url, str(model / "weights.hdf5"), cache).load().config.lstm_dim == 10


def test_a_file_that_is_fetched_beside_a_local_one_is_kept_only_if_they_load(
    server: FlakyServer, model: Path, cache: Cache
):
    url = server.url("/w.hdf5", whole(b"<html>"), whole((model / "weights.hdf5").read_bytes()))
    with pytest.raises(ModelError):
        find_model(None, str(model / "options.json"), url, cache)
    assert find_model(None, str(model / "options.json"), url, cache).load().config.lstm_dim == 10


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x.invalid/a.zip", "https://", "://a"])
def test_other_urls_are_refused(url: str, cache: Cache):
    with pytest.raises(ModelError, match="not the URL of a file"):
        find_model(url, cache=cache)


def test_two_runs_at_once_fetch_once_and_both_succeed(
    server: FlakyServer, model: Path, tmp_path: Path
):
    content = zipped(model, tmp_path / "a.zip")

    def slowly(request) -> None:
        time.sleep(0.5)
        whole(content)(request)

    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "models",
        "download",
        server.url("/a.zip", slowly),
        "--cache-dir",
        tmp_path / "cache",
    ]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert len(server.requests["/a.zip"]) == 1


def test_after_a_kill_a_download_goes_on(
    server: FlakyServer, model: Path, tmp_path: Path, cache: Cache
):
    content = zipped(model, tmp_path / "a.zip")
    url = server.url("/a.zip", stall(content, 20_000), whole(content))
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "models",
        "download",
        url,
        "--cache-dir",
        cache.folder,
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while (
            not any(path.stat().st_size for path in cache.folder.rglob("*.partial"))
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        run.kill()
    assert find_model(url, cache=cache).load().config.lstm_dim == 10
    assert server.requests["/a.zip"][1].startswith("bytes=")
    assert not list(cache.folder.rglob("tmp*"))
    assert not list(cache.folder.rglob("*.partial*"))


def test_the_catalogue_is_whole():
    catalogue = load_catalogue()
    assert {
        "tiny",
        "small",
        "medium",
        "original",
        "original-5.5b",
        "pubmed",
        "portuguese-wiki",
        "portuguese-brwac",
    } <= set(catalogue)
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


def test_the_command_line_brings_lists_shows_checks_and_removes(
    elmo: Callable[..., Result], known: KnownModel, cache: Cache
):
    here = ("--cache-dir", cache.folder)
    assert elmo("models", *here).stdout.splitlines()[1].split() == ["mine", "English", "no"]
    assert "elmo models download mine" in elmo("models", "path", "mine", *here).stderr
    brought = elmo("models", "download", "mine", *here)
    assert brought.stdout == f"{cache.place('mine')}\n"
    assert "fetching elmo_weights.hdf5" in brought.stderr
    assert elmo("models", "path", "mine", *here).stdout == brought.stdout
    assert elmo("models", *here, "path", "mine").stdout == brought.stdout
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
    assert "has changed since its first use" in wrong.stderr
    assert elmo("models", "remove", "mine", *here).exit_code == 0
    assert not cache.place("mine").exists()
    assert "nothing to remove" in elmo("models", "remove", "mine", *here).stderr
