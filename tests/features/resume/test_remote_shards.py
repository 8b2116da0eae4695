"""Outputs at URIs: when files are uploaded, and what remains after an error."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from pyarrow import fs

from elmo_cli import open_features
from elmo_cli.errors import FeaturesError
from elmo_cli.features.resume.remote_shards import RemoteShards
from elmo_cli.io import remote_path
from elmo_cli.io.remote_path import RemotePath
from tests.conftest import SAMPLE, make_model
from tests.helpers.runs import Elmo
from tests.helpers.s3_server import S3Server, serve_s3

OPTIONS = ("--output-format", "parquet", "--window-tokens", 50, "--shard-tokens", 120)
SHARDS = [f"part-{number:05d}.parquet" for number in range(5)]
MANIFEST, PLAN = "_elmo_manifest.json", "_elmo_plan.json"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with serve_s3() as running:
        yield running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    widths = {"projection_dim": 8, "dim": 16, "filters": [[1, 8], [2, 8], [3, 16]]}
    return make_model(tmp_path_factory.mktemp("models") / "eights", **widths)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:35]))
    return path


@pytest.fixture(scope="module")
def expected(
    small: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The shards of a run that writes to this machine."""
    from click.testing import CliRunner

    from elmo_cli.cli.main import main

    out = tmp_path_factory.mktemp("local") / "features"
    arguments = ["embed", small, out, "--model", model, *OPTIONS]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


class Bucket:
    """A new folder of the bucket for each test."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.uri = server.uri(f"bucket/{name}/")
        self.shown = f"s3://bucket/{name}/"
        server.fail = None
        self.system, _ = fs.FileSystem.from_uri(self.uri)
        self.system.create_dir("bucket")
        self.folder = f"bucket/{name}"

    def content(self) -> dict[str, bytes]:
        self.server.fail = None
        found = self.system.get_file_info(fs.FileSelector(self.folder, allow_not_found=True))
        return {info.base_name: self.system.open_input_file(info.path).read() for info in found}

    def put(self, name: str, content: bytes) -> None:
        with self.system.open_output_stream(f"{self.folder}/{name}") as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        self.system.delete_file(f"{self.folder}/{name}")


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> Bucket:
    return Bucket(server, tmp_path.name)


@pytest.fixture
def run(elmo: Elmo, small: Path, model: Path, bucket: Bucket) -> Run:
    """A function that embeds the corpus into the bucket."""

    def embed(*more: object, uri: str = bucket.uri) -> Result:
        result = elmo("embed", small, uri, "--model", model, *OPTIONS, *more)
        assert "secret" not in result.stderr
        assert sum(line.startswith("Error") for line in result.stderr.splitlines()) == (
            result.exit_code == 1
        )
        return result

    return embed


def assert_complete(bucket: Bucket, expected: dict[str, bytes]) -> None:
    content = bucket.content()
    assert content.pop(MANIFEST)
    assert content == expected


def test_the_shards_are_those_of_a_local_run_and_the_manifest_comes_last(
    run: Run, bucket: Bucket, expected: dict[str, bytes]
):
    bucket.server.requests.clear()
    result = run()
    assert result.exit_code == 0, result.output
    assert f": {bucket.shown}, " in result.stderr
    uploads = [
        path.rpartition("/")[2]
        for method, path in bucket.server.requests
        if method in ("PUT", "POST")
    ]
    assert list(dict.fromkeys(filter(None, uploads))) == [PLAN, *SHARDS, MANIFEST]
    assert_complete(bucket, expected)


def test_a_remote_folder_is_read_as_a_local_one(
    elmo: Elmo, run: Run, small: Path, bucket: Bucket, tmp_path: Path
):
    assert run().exit_code == 0
    assert "secret" not in elmo("inspect", bucket.uri).output
    assert "35" in elmo("inspect", bucket.uri).stdout
    assert elmo("verify", bucket.uri, "--corpus", small).exit_code == 0
    assert elmo("convert", bucket.uri, tmp_path / "out.npz").exit_code == 0
    with open_features(bucket.uri) as remote, open_features(tmp_path / "out.npz") as local:
        assert len(remote) == 35
        assert all(np.array_equal(a, b) for a, b in zip(remote, local, strict=True))
        assert np.array_equal(remote.read(21, [2]), local.read(21, [2]))
        assert remote.tokens(34) == local.tokens(34)


def test_a_folder_without_manifest_is_refused_in_one_line(elmo: Elmo, run: Run, bucket: Bucket):
    for command in ("inspect", "verify"):
        assert (
            f"{bucket.shown}: contains no features: it has no manifest"
            in elmo(command, bucket.uri).stderr
        )
    assert run().exit_code == 0
    bucket.delete(MANIFEST)
    with pytest.raises(
        FeaturesError,
        match=(
            r"contains 5 shards and no manifest: its upload is not complete; run elmo embed with "
            r"--resume"
        ),
    ):
        open_features(bucket.uri)
    result = elmo("convert", bucket.uri, "x.h5")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("how", ["missing", "shorter", "more", "manifest"])
def test_a_folder_that_does_not_fit_its_manifest_is_refused(run: Run, bucket: Bucket, how: str):
    assert run().exit_code == 0
    if how == "missing":
        bucket.delete(SHARDS[3])
    else:
        name = {"shorter": SHARDS[3], "more": "part-00005.parquet", "manifest": MANIFEST}[how]
        bucket.put(name, b"{}")
    words = (
        "is damaged, or of another version"
        if how == "manifest"
        else "is missing; the folder"
        if how == "missing"
        else "does not match"
    )
    with pytest.raises(FeaturesError, match=words):
        open_features(bucket.uri)


STEPS = {  # the request after which the process is killed
    "before the plan": ("PUT", PLAN),
    "in the first shard": ("POST", SHARDS[0]),
    "in a later shard": ("POST", SHARDS[2]),
    "in the last shard": ("POST", SHARDS[4]),
    "in the manifest": ("PUT", MANIFEST),
    "in the cleaning": ("DELETE", PLAN),
}


@pytest.mark.parametrize(
    ("step", "code"), list(zip(STEPS, ["AccessDenied", "OperationAborted"] * 3, strict=True))
)
def test_a_run_that_fails_at_any_step_is_resumed(
    run: Run, bucket: Bucket, expected: dict[str, bytes], step: str, code: str
):
    name = STEPS[step][1]
    bucket.server.fail = lambda method, path: (
        code if method in ("PUT", "POST", "DELETE") and path.endswith(name) else None
    )
    if step == "in the cleaning":
        bucket.server.fail = lambda method, path: (
            code if method == "DELETE" and path.endswith(PLAN) else None
        )
    result = run()
    content = bucket.content()
    assert result.exit_code == 1
    assert f"{bucket.shown}: cannot be written (" in result.stderr
    assert (MANIFEST in content) == (step == "in the cleaning")
    bucket.server.requests.clear()
    resumed = run("--resume")
    assert resumed.exit_code == 0, resumed.output
    uploaded = {
        path.rpartition("/")[2]
        for method, path in bucket.server.requests
        if method in ("PUT", "POST")
    }
    assert not uploaded.intersection(name for name in content if name.startswith("part-"))
    assert_complete(bucket, expected)


def test_workers_upload_their_shards(run: Run, bucket: Bucket, expected: dict[str, bytes]):
    bucket.server.fail = lambda method, path: (
        "AccessDenied" if method == "POST" and path.endswith(SHARDS[2]) else None
    )
    result = run("--write", "workers")
    assert (
        result.exit_code,
        "; 2 complete shards kept: pass --resume to continue" in result.stderr,
    ) == (1, True), result.output
    bucket.server.fail = None
    bucket.server.requests.clear()
    result = run("--write", "workers", "--resume", "--engine", "processes", "--device", "cpu")
    assert result.exit_code == 0, result.output
    uploaded = {
        path.rpartition("/")[2]
        for method, path in bucket.server.requests
        if method in ("PUT", "POST")
    }
    assert not uploaded.intersection(SHARDS[:2])
    assert_complete(bucket, expected)


def test_a_server_that_fails_for_a_moment_is_asked_again(
    run: Run, bucket: Bucket, expected: dict[str, bytes]
):
    failures = iter(["InternalError"] * 2)
    bucket.server.fail = lambda _, path: next(failures, None) if path.endswith(SHARDS[2]) else None
    assert run().exit_code == 0
    assert_complete(bucket, expected)


@pytest.mark.parametrize("after", [0, 2])
def test_a_run_that_is_stopped_in_an_upload_leaves_no_half_shard(
    run: Run,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, bytes],
    after: int,
):
    uploads: list[RemotePath] = []
    upload, copy = RemotePath.upload, remote_path._copy

    def stopping(path: RemotePath, source: Path) -> None:
        uploads.append(path)
        upload(path, source)

    def copy_half(file: object, stream: object) -> None:
        if len(uploads) == after + 2:  # the first one is the plan
            stream.write(b"PAR1 half")
            raise KeyboardInterrupt(signal.SIGTERM)
        copy(file, stream)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "upload", stopping)
        patch.setattr(remote_path, "_copy", copy_half)
        result = run()
    assert result.exit_code == 143
    kept = f"{after} complete shards kept: pass --resume to continue"
    assert kept in result.stderr or not after
    assert sorted(bucket.content()) == [PLAN, *SHARDS[:after]]
    assert run("--resume").exit_code == 0
    assert_complete(bucket, expected)


def test_half_a_shard_that_a_kill_leaves_is_uploaded_again(
    run: Run, bucket: Bucket, expected: dict[str, bytes]
):
    """As on HDFS, or by pyarrow's destructor."""
    bucket.server.fail = lambda method, path: (
        "AccessDenied" if path.endswith(MANIFEST) and method == "PUT" else None
    )
    assert run().exit_code == 1
    bucket.server.fail = None
    bucket.put(SHARDS[1], expected[SHARDS[1]][:1000])
    bucket.put(SHARDS[2], expected[SHARDS[1]])
    bucket.put(SHARDS[3], b"")
    assert run("--resume").exit_code == 0
    assert_complete(bucket, expected)


def test_unfinished_and_finished_outputs_are_not_overwritten_by_mistake(
    run: Run, bucket: Bucket, expected: dict[str, bytes]
):
    bucket.server.fail = lambda method, path: (
        "AccessDenied" if path.endswith(SHARDS[2]) and method != "HEAD" else None
    )
    assert "2 complete shards kept: pass --resume to continue" in run().stderr
    bucket.server.fail = None
    stopped = run()
    assert (
        "a run was stopped after 2 complete shards; pass --resume to continue, or pass --fresh to "
        "start over" in stopped.stderr
    )
    assert "it differs in --layers (all, now top)" in run("--resume", "--layers", "top").stderr
    assert run("--fresh").exit_code == 0
    assert_complete(bucket, expected)
    assert "exists already; remove it first" in run("--overwrite").stderr
    assert "exists already" in run("--resume", "--layers", "top").stderr
    assert "nothing to do" in run("--resume").stderr
    assert_complete(bucket, expected)


def test_a_folder_of_other_files_is_refused(run: Run, bucket: Bucket):
    bucket.put("notes.txt", b"mine")
    assert "contains files that are not of an unfinished run (notes.txt)" in run("--fresh").stderr
    assert list(bucket.content()) == ["notes.txt"]


@pytest.mark.parametrize("when", ["plan", "shard", "commit"])
def test_a_second_run_at_the_same_time_is_noticed(
    run: Run, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, when: str
):
    """It uploads its plan after this one has looked for one, and before this one's plan, a shard or
    the manifest.
    """
    name = {"plan": "_check_conflict", "shard": "put", "commit": "commit"}[when]
    function = getattr(RemoteShards, name)

    def late(store: RemoteShards, *given: object) -> None:
        bucket.put(PLAN, b"{}")
        function(store, *given)

    monkeypatch.setattr(RemoteShards, name, late)
    result = run()
    assert result.exit_code == 1
    assert "another run has started to write there; stop one of them" in result.stderr
    assert MANIFEST not in bucket.content()


@pytest.mark.parametrize("place", ["nobucket/x", "bad bucket/x"])
def test_a_place_that_cannot_be_written_is_one_line(run: Run, bucket: Bucket, place: str):
    bucket.server.fail = lambda _, path: "AccessDenied" if path.startswith("/nobucket") else None
    result = run(uri=bucket.server.uri(place))
    assert result.exit_code == 1
    assert "cannot be written (" in result.stderr


REFUSED = {
    "HDF5": (
        ["s3://bucket/out.h5"],
        "s3://bucket/out.h5: only a folder of Parquet shards can be written to a URI",
    ),
    "by default": (["s3://bucket/out"], "only a folder of Parquet shards"),
    "a file": (["s3://bucket/a.parquet"], "only a folder of Parquet shards"),
    "a job array": (
        ["s3://bucket/out/", "--output-format", "parquet", "--shard", "0/2"],
        "s3://bucket/out/ is remote",
    ),
    "the web": (
        ["https://host/out/", "--output-format", "parquet"],
        "https://host/out/: its scheme is not one of s3://, gs://",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_written_to_a_uri_is_one_line(
    elmo: Elmo, small: Path, arguments: list[str], words: str
):
    result = elmo("embed", small, *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.stderr
    assert "s3:/b" not in result.stderr.replace("s3://", "")
