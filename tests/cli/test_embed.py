"""`elmo embed`, `inspect` and `convert` with every format: one corpus gives equal arrays."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import Result
from torch.utils.data import DataLoader

from elmo_cli import open_features
from elmo_cli.features.reader import Features
from elmo_cli.nn.scalar_mix import FixedMix
from tests.cli.test_main import assert_one_line_error
from tests.conftest import SAMPLE, read_features, sentences_of

Elmo = Callable[..., Result]
OUTPUTS = {
    "arrow stream": ["out.arrows"],
    "allennlp": ["out.h5"],
    "gzip": ["out.h5", "--compression", "gzip"],
    "packed": ["out.hdf5", "--layout", "packed"],
    "parquet": ["out.parquet"],
    "shards": [
        "out",
        "--output-format",
        "parquet",
        "--shard-tokens",
        "1000",
        "--window-tokens",
        "300",
    ],
    "token rows": ["out.parquet", "--rows", "token", "--window-tokens", "300"],
    "npz": ["out.npz"],
    "arrow": ["out.arrow"],
    "jsonl": ["out.jsonl"],
}


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """The sample's arrays."""
    from click.testing import CliRunner

    from elmo_cli.cli.main import main

    path = tmp_path_factory.mktemp("expected") / "out.h5"
    assert (
        CliRunner().invoke(main, ["embed", str(SAMPLE), str(path), "--model", str(model)]).exit_code
        == 0
    )
    features = read_features(path)
    return [features[str(i)] for i in range(len(features))]


@pytest.mark.parametrize("arguments", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_every_output_holds_the_same(
    elmo: Elmo,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: list[np.ndarray],
):
    monkeypatch.chdir(tmp_path)
    result = elmo("embed", SAMPLE, *arguments, "--model", model)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == [arguments[0]]
    with open_features(arguments[0]) as features:
        assert len(features) == len(expected)
        for ours, theirs in zip(features, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert [features.tokens(i) for i in range(len(features))] == sentences_of(SAMPLE)
        if features.layout != "jsonl":
            assert (features.metadata["model"], features.metadata["pool"]) == ("tiny", "none")


def test_shards_are_whole_windows_in_a_folder(elmo: Elmo, model: Path, tmp_path: Path):
    arguments = [
        "embed",
        SAMPLE,
        tmp_path / "out",
        "--output-format",
        "parquet",
        "--model",
        model,
        "--shard-tokens",
        "1000",
    ]
    assert elmo(*arguments, "--window-tokens", "300").exit_code == 0
    shards = sorted((tmp_path / "out").iterdir())
    assert [shard.name for shard in shards[:2]] == ["part-00000.parquet", "part-00001.parquet"]
    tokens = [
        sum(map(len, pq.read_table(shard, columns=["tokens"])["tokens"].to_pylist()))
        for shard in shards
    ]
    assert all(1000 <= count < 1300 for count in tokens[:-1])
    assert_one_line_error(elmo(*arguments), "out: exists already; pass --overwrite")
    assert elmo(*arguments, "--overwrite").exit_code == 0
    assert len(list((tmp_path / "out").iterdir())) < len(shards)  # the old ones are gone
    (tmp_path / "out" / "thesis.txt").touch()
    assert_one_line_error(
        elmo(*arguments, "--overwrite"), "contains files other than shards (thesis.txt)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_schema_is_plain(elmo: Elmo, model: Path, tmp_path: Path):
    assert (
        elmo(
            "embed", SAMPLE, tmp_path / "a.parquet", "--model", model, "--dtype", "float16"
        ).exit_code
        == 0
    )
    assert (
        elmo(
            "embed",
            SAMPLE,
            tmp_path / "b.parquet",
            "--model",
            model,
            "--layers",
            "average",
            "--pool",
            "mean",
        ).exit_code
        == 0
    )
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["key", "number", "tokens", "layer_0", "layer_1", "layer_2"]
    assert table.schema.field("layer_0").type.value_type.value_type == pa.float16()
    assert table.schema.field("layer_0").type.value_type.list_size == 12
    pooled = pq.read_table(tmp_path / "b.parquet")
    assert pooled.schema.field("average").type == pa.list_(pa.float32(), 12)


def test_json_lines_go_to_standard_output(elmo: Elmo, model: Path, expected: list[np.ndarray]):
    result = elmo(
        "embed",
        SAMPLE,
        "-",
        "--model",
        model,
        "--output-format",
        "jsonl",
        "--layers",
        "top",
        "--quiet",
    )
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["tokens"] for line in lines] == sentences_of(SAMPLE)
    np.testing.assert_allclose(np.array(lines[7]["top"]), expected[7][-1], atol=1e-5)
    assert list(lines[0]) == ["key", "number", "tokens", "top", "crc32"]


def test_an_arrow_stream_goes_to_standard_output(
    elmo: Elmo, model: Path, tmp_path: Path, expected: list[np.ndarray]
):
    result = elmo("embed", SAMPLE, "-", "--model", model, "--output-format", "arrow", "--quiet")
    table = pa.ipc.open_stream(result.stdout_bytes).read_all()
    assert table["tokens"].to_pylist() == sentences_of(SAMPLE)
    (tmp_path / "saved.arrows").write_bytes(result.stdout_bytes)
    with open_features(tmp_path / "saved.arrows") as features:
        np.testing.assert_allclose(features[3], expected[3], atol=1e-5)


@pytest.mark.parametrize("output_format", ["jsonl", "arrow"])
def test_a_pipe_of_three_processes_ends_quietly_when_its_reader_has_enough(
    model: Path, output_format: str
):
    command = (
        f"{sys.executable} -m elmo_cli embed - - --output-format {output_format} --layers top "
        f"--model {model} --window-tokens 50"
    )
    bash = shutil.which("bash")
    if not (bash and shutil.which("yes")):
        pytest.skip("needs bash and yes")
    pipe = f"yes 'a b c' | {command} | head -c 20000 | wc -c; echo ${{PIPESTATUS[1]}}"
    done = subprocess.run(
        [bash, "-c", pipe], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["20000", "0"], "")


def test_windows_are_sent_when_they_are_computed(model: Path):
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        "-",
        "-",
        "--output-format",
        "jsonl",
        "--model",
        model,
        "--window-tokens",
        "2",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"a b\nc d\ne f\n")
        process.stdin.flush()
        # The input has not ended
        assert json.loads(process.stdout.readline())["tokens"] == ["a", "b"]
        process.stdin.close()
        assert len(process.stdout.readlines()) == 2


def test_a_mix_and_a_pool_are_what_they_say(
    elmo: Elmo, model: Path, tmp_path: Path, expected: list[np.ndarray]
):
    arguments = ["embed", SAMPLE, tmp_path / "out.h5", "--model", model, "--overwrite"]
    assert elmo(*arguments, "--mix", "0,1,2,0.5", "--pool", "max").exit_code == 0
    mixed = FixedMix((0, 1, 2), 0.5)(expected[4]).max(axis=0)
    with open_features(tmp_path / "out.h5") as features:
        np.testing.assert_allclose(features[4], mixed, atol=1e-5)
        assert features.metadata["mix"] == "softmax of 0.0, 1.0, 2.0, times 0.5"
    assert elmo(*arguments, "--mix", "0,1,2", "--mix-layer-norm").exit_code == 0
    with open_features(tmp_path / "out.h5") as features:
        np.testing.assert_allclose(
            features[4], FixedMix((0, 1, 2), layer_norm=True)(expected[4]), atol=1e-5
        )


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Sentences of two documents, with labels."""
    words = [["A", "cat", "."], ["A", "dog", "."], ["Why", "?"]]
    table = pa.table(
        {
            "tokens": words,
            "id": ["bc/x_0/0", "bc/x_0/1", "nw/y_0/0"],
            "label": ["pet", "pet", None],
            "score": [1, 2, 3],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_labels_stand_beside_the_features(elmo: Elmo, model: Path, labelled: Path, tmp_path: Path):
    reading = ["--id-column", "id", "--keep", "label", "--keep", "score", "--model", model]
    for name in ("out.parquet", "out.arrow"):
        assert (
            elmo(
                "embed", labelled, tmp_path / name, *reading, "--pool", "mean", "--layers", "top"
            ).exit_code
            == 0
        )
        with open_features(tmp_path / name) as features:
            assert features.keys() == ["bc/x_0/0", "bc/x_0/1", "nw/y_0/0"]
            assert [features.sentence(i).kept for i in range(3)] == [
                ("pet", 1),
                ("pet", 2),
                (None, 3),
            ]
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["key", "number", "tokens", "label", "score", "top"]
    lines = elmo(
        "embed", labelled, "-", *reading, "--output-format", "jsonl", "--quiet"
    ).stdout.splitlines()
    assert [json.loads(line)["score"] for line in lines] == [1, 2, 3]
    assert_one_line_error(
        elmo("embed", labelled, tmp_path / "a.h5", *reading),
        "allennlp does not store columns",
        code=2,
    )
    assert_one_line_error(
        elmo("embed", labelled, tmp_path / "a.parquet", "--keep", "tokens", "--model", model),
        "has a column of its own by that name",
    )
    result = elmo("convert", tmp_path / "out.parquet", tmp_path / "b.h5")
    assert "left out the columns label, score" in result.stderr


def test_ids_are_kept_in_hdf5(elmo: Elmo, model: Path, labelled: Path, tmp_path: Path):
    reading = [labelled, "--id-column", "id", "--model", model]
    assert elmo("embed", *reading[:1], tmp_path / "a.h5", *reading[1:]).exit_code == 0
    assert (
        elmo("embed", *reading[:1], tmp_path / "b.h5", *reading[1:], "--keys", "id").exit_code == 0
    )
    assert (
        elmo(
            "embed", *reading[:1], tmp_path / "c.h5", *reading[1:], "--layout", "e2e-coref"
        ).exit_code
        == 0
    )
    with (
        h5py.File(tmp_path / "a.h5") as a,
        h5py.File(tmp_path / "b.h5") as b,
        h5py.File(tmp_path / "c.h5") as c,
    ):
        assert a["2"].attrs["id"] == "nw/y_0/0"
        assert list(b) == ["bc\\sx_0\\s0", "bc\\sx_0\\s1", "nw\\sy_0\\s0", "sentence_to_index"]
        assert {document: list(group) for document, group in c.items()} == {
            "bc:x_0": ["0", "1"],
            "nw:y_0": ["0"],
        }
        np.testing.assert_array_equal(np.moveaxis(c["nw:y_0/0"][:], -1, 0), a["2"][:])
    for name in ("a.h5", "b.h5", "c.h5"):
        with open_features(tmp_path / name) as features:
            assert [features.sentence(i).id for i in range(3)] == [
                "bc/x_0/0",
                "bc/x_0/1",
                "nw/y_0/0",
            ]


UNKNOWN = ("pt", "csv", "tsv", "json", "pkl", "bin", "tgz", "H4")
USAGE = {
    "suffix against format": (["o.h5", "--output-format", "npz"], "contradict each other"),
    "layout of no HDF5": (["o.npz", "--layout", "packed"], "is one of HDF5's"),
    "layout of no npz": (["o.h5", "--layout", "arrays"], "is one of npz's"),
    **{
        f"suffix .{suffix}": ([f"o.{suffix}"], f"no output format has the suffix .{suffix}")
        for suffix in UNKNOWN
    },
    "tokens in npy": (["o.npy"], "contains one vector per sentence; pass --pool mean"),
    "words and pool": (["o.vec", "--pool", "mean"], "contradict"),
    "compression of another": (["o.h5", "--compression", "zstd"], "supports none or gzip"),
    "rows of HDF5": (["o.h5", "--rows", "token"], "--rows token is for parquet and arrow"),
    "rows and pool": (["o.parquet", "--rows", "token", "--pool", "mean"], "contradict"),
    "rows and blank lines": (
        ["o.parquet", "--rows", "token", "--blank-lines", "keep"],
        "contradict",
    ),
    "coref and pool": (["o.h5", "--layout", "e2e-coref", "--pool", "mean"], "contradict"),
    "shards of a file": (["o.parquet", "--shard-tokens", "5"], "is for a folder"),
    "npz to stdout": (["-", "--output-format", "npz"], "cannot be written to standard output"),
    "mix and layers": (["o.h5", "--mix", "1,2,3", "--layers", "top"], "pass one of them"),
    "norm without mix": (["o.h5", "--mix-layer-norm"], "requires --mix"),
    "two keys": (["o.h5", "--use-sentence-keys", "--keys", "id"], "contradict"),
}


@pytest.mark.parametrize(("arguments", "words"), USAGE.values(), ids=USAGE.keys())
def test_contradictions_are_wrong_usage(
    elmo: Elmo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
):
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(elmo("embed", SAMPLE, *arguments), words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_lists_the_formats_and_a_named_format_goes_before_it(
    elmo: Elmo, model: Path, tmp_path: Path, expected: list[np.ndarray]
):
    result = elmo("embed", SAMPLE, tmp_path / "out.pt", "--model", model)
    for words in (
        ".h5 or .hdf5 (hdf5)",
        ".vec or .txt (word2vec)",
        ".npy (npy)",
        "--output-format, which takes hdf5, parquet, npz",
    ):
        assert words in " ".join(result.stderr.split())
    assert_one_line_error(
        elmo("convert", tmp_path / "in.h5", tmp_path / "out.pkl"),
        "no output format has the suffix .pkl",
        code=2,
    )
    for name, options in (
        ("out.pt", ["--output-format", "hdf5"]),
        ("out", []),
        ("v1.0", ["--layout", "packed"]),
    ):
        assert elmo("embed", SAMPLE, tmp_path / name, "--model", model, *options).exit_code == 0
        with open_features(tmp_path / name) as features:
            np.testing.assert_allclose(features[3], expected[3], atol=1e-6)


MISTAKES = {
    "no ids": (["o.h5", "--keys", "id"], "sentence 0 has no id; pass --keys number"),
    "no documents": (["o.h5", "--layout", "e2e-coref"], "sentence 0 has no id for its document"),
    "mix of two": (["o.h5", "--mix", "1,2"], "has 2 weights, and the model 3 layers"),
    "mix missing": (["o.h5", "--mix", "none.json"], "--mix none.json: no such file"),
    "a layer twice": (["o.h5", "--layers", "0,0"], "names a layer twice"),
    "folder over a file": (
        ["file", "--output-format", "parquet"],
        "file: is a file, but shards are written to a folder",
    ),
    "folder in none": (["no/out", "--output-format", "parquet"], "no: no such folder"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_one_line_and_leave_nothing(
    elmo: Elmo,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert_one_line_error(elmo("embed", SAMPLE, *arguments, "--model", model), words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("output", ["gzip", "packed", "shards", "npz", "arrow", "jsonl"])
def test_a_full_disk_is_one_error_and_leaves_no_output(model: Path, tmp_path: Path, output: str):
    resource, room = pytest.importorskip("resource"), 300_000
    name, *options = OUTPUTS[output]
    command = [
        sys.executable,
        "-m",
        "elmo_cli",
        "embed",
        SAMPLE,
        tmp_path / name,
        *options,
        "--model",
        model,
    ]
    if name == "out":
        command[command.index("--shard-tokens") + 1] = "1000000"  # one large file

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"{name}: cannot be written (File too large)" in done.stderr.replace("[Errno 27] ", "")
    # The work folder with the computed windows may be there, nothing else
    assert {path.name for path in tmp_path.iterdir()} <= {f".{name}.elmo-work"}


CHAIN = [
    "packed.h5 --layout packed",
    "a.parquet --rows token",
    "out --output-format parquet",
    "b.npz",
    "c.arrow --compression zstd",
    "d.h5",
]


def test_conversion_through_every_layout_loses_nothing(
    elmo: Elmo, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert elmo("embed", SAMPLE, "first.h5", "--model", model).exit_code == 0
    source = "first.h5"
    for step in CHAIN:
        target, *options = step.split()
        result = elmo("convert", source, target, *options)
        assert result.exit_code == 0, result.output
        assert f"{len(sentences_of(SAMPLE))} sentences" in result.stderr
        source = target
    with h5py.File("first.h5") as first, h5py.File("d.h5") as last:
        assert list(first) == list(last)
        for name in list(first)[:-1]:
            np.testing.assert_array_equal(first[name][()], last[name][()])
        assert json.loads(first["sentence_to_index"][0]) == json.loads(last["sentence_to_index"][0])
        assert last.attrs["model_sha256"] == first.attrs["model_sha256"]
    assert elmo("convert", "first.h5", "half.npz", "--dtype", "float16").exit_code == 0
    with open_features("half.npz") as half, open_features("first.h5") as whole:
        np.testing.assert_array_equal(half[5], whole[5].astype(np.float16), strict=True)
    lines = elmo(
        "convert", "half.npz", "-", "--output-format", "jsonl", "--quiet"
    ).stdout.splitlines()
    assert json.loads(lines[2])["tokens"] == sentences_of(SAMPLE)[2]


def test_what_conversion_leaves_out_is_said(elmo: Elmo, model: Path, tmp_path: Path):
    assert (
        elmo("embed", SAMPLE, tmp_path / "a.h5", "--model", model, "--forget-sentences").exit_code
        == 0
    )
    result = elmo("convert", tmp_path / "a.h5", tmp_path / "a.jsonl")
    assert "left out the metadata" in result.stderr
    assert "does not contain the tokens" in result.stderr
    assert_one_line_error(
        elmo("convert", tmp_path / "a.h5", tmp_path / "a.h5", "--overwrite"), "is read by this run"
    )
    assert_one_line_error(
        elmo("convert", tmp_path / "none", tmp_path / "b.h5"), "none: no such file"
    )
    assert_one_line_error(
        elmo("convert", tmp_path / "a.jsonl", tmp_path / "b.h5", "--output-format", "npz"),
        "contradict",
        code=2,
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", "a.jsonl"}


def test_a_damaged_source_leaves_no_output(elmo: Elmo, model: Path, tmp_path: Path):
    assert elmo("embed", SAMPLE, tmp_path / "a.parquet", "--model", model).exit_code == 0
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[5000:60_000] = bytes(55_000)
    (tmp_path / "a.parquet").write_bytes(content)
    assert_one_line_error(
        elmo("convert", tmp_path / "a.parquet", tmp_path / "b.h5"), "a.parquet: is damaged"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_inspect_tells_what_there_is(
    elmo: Elmo, model: Path, tmp_path: Path, expected: list[np.ndarray]
):
    sentences = sentences_of(SAMPLE)
    for arguments in (
        ["out.h5"],
        ["out.h5", "--layout", "packed"],
        ["out", "--output-format", "parquet"],
        ["out.jsonl"],
    ):
        path = tmp_path / arguments[0]
        assert (
            elmo("embed", SAMPLE, path, *arguments[1:], "--model", model, "--overwrite").exit_code
            == 0
        )
        found = json.loads(elmo("inspect", path, "--json").stdout)
        assert (found["sentences"], found["tokens"], found["dim"]) == (
            len(sentences),
            sum(map(len, sentences)),
            12,
        )
        assert found["layers"] == ["layer_0", "layer_1", "layer_2"]
        assert found["rows"][1]["tokens"] == sentences[1][:12]
        norms = np.linalg.norm(np.concatenate(expected, axis=1), axis=-1).mean(axis=1)
        np.testing.assert_allclose(found["norms"], norms, rtol=1e-4)
        assert all(-1 <= cosine <= 1 for cosine in found["cosines"])
        words = elmo("inspect", path).stdout
        assert "sentences     " in words
        assert "layer_0 to layer_1" in words
    assert_one_line_error(elmo("inspect", SAMPLE), "corpus.txt: is none of hdf5, parquet")


def test_an_empty_output_is_inspected_and_converted(elmo: Elmo, model: Path, tmp_path: Path):
    (tmp_path / "empty.txt").touch()
    for name in ("a.h5", "a.parquet", "a.npz", "a.arrow", "a.jsonl"):
        assert (
            elmo("embed", tmp_path / "empty.txt", tmp_path / name, "--model", model).exit_code == 0
        )
        assert json.loads(elmo("inspect", tmp_path / name, "--json").stdout)["sentences"] == 0
        result = elmo(
            "convert", tmp_path / name, tmp_path / "b.h5", "--overwrite", "--layout", "packed"
        )
        if name == "a.jsonl":
            assert_one_line_error(result, "does not record the dimension of its vectors")
        else:
            assert result.exit_code == 0


def test_features_are_a_torch_data_set(
    elmo: Elmo, model: Path, tmp_path: Path, expected: list[np.ndarray]
):
    assert (
        elmo("embed", SAMPLE, tmp_path / "out.h5", "--model", model, "--layout", "packed").exit_code
        == 0
    )
    with open_features(tmp_path / "out.h5") as features:
        dataset = features.torch_dataset(transform=lambda tensor: tensor.mean(dim=1))
        plain = features.torch_dataset()
        assert isinstance(features, Features)
    assert torch.equal(plain[2], torch.from_numpy(features_array(tmp_path / "out.h5", 2)))
    batches = torch.cat(list(DataLoader(dataset, batch_size=50, num_workers=0)))
    np.testing.assert_allclose(
        batches, np.stack([array.mean(axis=1) for array in expected]), atol=1e-5
    )
    loaded = list(DataLoader(plain, batch_size=None, num_workers=2, multiprocessing_context="fork"))
    assert all(
        torch.allclose(a, torch.from_numpy(b), atol=1e-5)
        for a, b in zip(loaded, expected, strict=True)
    )


def features_array(path: Path, index: int) -> np.ndarray:
    with open_features(path) as features:
        return features[index]
