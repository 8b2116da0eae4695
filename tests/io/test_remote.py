"""Inputs at URIs, read by pyarrow's file systems: the local one, and S3 where moto is installed."""

import gzip
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import h5py
import pytest
from pyarrow import fs

from elmo_cli.errors import CorpusError
from elmo_cli.io.remote import redact_url
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from tests.conftest import read_features
from tests.helpers.corpora import write_corpus

SENTENCES = [["a", "b"], ["c"]]
FORMATS = {
    "text": "a.txt",
    "jsonl": "a.jsonl",
    "parquet": "a.parquet",
    "arrow": "a.arrow",
    "conllu": "a.conllu",
}


def texts(*uris: str, **reading: str) -> list[str]:
    return [sentence.text for sentence in Corpus(uris, reading=ReadOptions(**reading)).read()]


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[fs.FileSystem, str]]:
    """A file system on a server of this machine, and the end of a URI that leads to it."""
    pytest.importorskip("moto")
    pytest.importorskip("flask_cors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/moto-api/", server)
            address = f"?scheme=http&endpoint_override=127.0.0.1%3A{port}"
            query = f"{address}&region=us-east-1&allow_bucket_creation=true"
            system, _ = fs.FileSystem.from_uri(f"s3://me:secret@bucket{query}")
            system.create_dir("bucket")
            yield system, query
        finally:
            server.kill()


def _wait(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urlopen(url):  # noqa: S310  # our own server
            return
        time.sleep(0.1)
    pytest.skip("the server of moto does not start")


def put(system: fs.FileSystem, path: str, content: bytes) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(content)


@pytest.mark.parametrize("name", FORMATS)
def test_a_uri_of_a_file_is_read(tmp_path: Path, name: str):
    path = write_corpus(name, SENTENCES, tmp_path / FORMATS[name])
    assert texts(path.as_uri()) == ["a b", "c"]


def test_compressed_text_at_a_uri_is_unpacked(tmp_path: Path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a b\n"))
    assert texts((tmp_path / "a.txt.gz").as_uri()) == ["a b"]


def test_folders_and_globs_at_a_uri_are_read_in_the_order_of_names(tmp_path: Path):
    (tmp_path / "x").mkdir()
    for name in ("b.txt", "a.txt", "_SUCCESS", ".no.txt", "x/c.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    assert texts(tmp_path.as_uri()) == ["a.txt", "b.txt", "x/c.txt"]
    assert texts(f"{tmp_path.as_uri()}/*.txt") == ["a.txt", "b.txt"]
    assert texts(f"{tmp_path.as_uri()}/*/[cd].txt") == ["x/c.txt"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "https://host/a.txt",
            r"https://host/a\.txt: its scheme is not one of s3://, gs://, .*; download it first",
        ),
        ("file:///none/a.txt", "file:///none/a.txt: no such file"),
        ("file:///none/a.parquet", "file:///none/a.parquet: no such file"),
        ("file:///none/*.txt", r"cannot be reached|nothing matches"),
        ("s3://me:secret@bad bucket/x", r"s3://bad bucket/x: cannot be reached \("),
    ],
)
def test_a_place_that_is_not_there_is_one_line(uri: str, words: str):
    with pytest.raises(CorpusError, match=words) as caught:
        Corpus([uri]).scan()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_googles_client_gives_up_in_time():
    from elmo_cli.io.remote import patient_uri

    assert patient_uri("gs://bucket/a.txt?x=1").endswith("a.txt?x=1&retry_limit_seconds=15")
    assert (
        patient_uri("gs://bucket/a.txt?retry_limit_seconds=60")
        == "gs://bucket/a.txt?retry_limit_seconds=60"
    )
    assert patient_uri("s3://bucket/a.txt") == "s3://bucket/a.txt"


def test_secrets_of_a_uri_are_not_shown():
    assert (
        redact_url("elmo embed s3://key:secret@bucket/a.txt out.h5")
        == "elmo embed s3://bucket/a.txt out.h5"
    )
    assert (
        redact_url("--model=https://me:s@h@host/a.zip?x=1&token=secret b")
        == "--model=https://host/a.zip?... b"
    )
    assert redact_url(redact_url("https://host?a@b")) == "https://host?..."
    assert redact_url("a@b s3://bucket/a@b") == "a@b s3://bucket/a@b"


@pytest.mark.parametrize("name", FORMATS)
def test_a_bucket_is_read(s3: tuple[fs.FileSystem, str], tmp_path: Path, name: str):
    system, query = s3
    put(
        system,
        f"bucket/{name}/{FORMATS[name]}",
        write_corpus(name, SENTENCES, tmp_path / FORMATS[name]).read_bytes(),
    )
    for place in (FORMATS[name], "", "*"):
        assert texts(f"s3://me:secret@bucket/{name}/{place}{query}") == ["a b", "c"]


def test_a_missing_key_of_a_bucket_is_one_line(s3: tuple[fs.FileSystem, str]):
    for place, words in {
        "bucket/none.txt": "no such file",
        "bucket/none.parquet": "no such file",
        "nobucket/*.txt": "nobucket/",
    }.items():
        with pytest.raises(CorpusError, match=words) as caught:
            Corpus([f"s3://me:secret@{place}{s3[1]}"]).scan()
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_bucket_is_embedded_and_no_secret_is_written(
    s3: tuple[fs.FileSystem, str], model: Path, tmp_path: Path
):
    system, query = s3
    for number in range(2):
        path = write_corpus("parquet", [[f"w{number}"]] * 3, tmp_path / "shard.parquet")
        put(system, f"bucket/shards/part-{number}.parquet", path.read_bytes())
    put(system, "bucket/shards/_SUCCESS", b"")
    uri = f"s3://me:secret@bucket/shards{query}"
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        uri,
        tmp_path / "out.h5",
        "--model",
        model,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(read_features(tmp_path / "out.h5")) == [str(i) for i in range(6)]
    with h5py.File(tmp_path / "out.h5") as file:
        assert "embed 's3://bucket/shards" in file.attrs["command"]
