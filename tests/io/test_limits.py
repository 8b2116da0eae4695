"""Untrusted files that declare too much memory: one clear error before it is allocated."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from elmo_cli.errors import CorpusError, FeaturesError, ModelError, OutputError
from elmo_cli.features.formats import jsonl, npz
from elmo_cli.features.reader import open_features
from elmo_cli.features.spec import FeatureSpec
from elmo_cli.io import archives, limits, torch_files
from elmo_cli.models.formats.state_dict import read_tensors
from elmo_cli.readers import conll, delimited
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.text import read_text
from elmo_cli.types import Sentence
from tests.features.test_formats import arrays_for, corpus, write

MANY = 1 << 24


@contextmanager
def little_memory(limit: int = 1 << 24) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def header(name: str, kind: bytes, size: int = 0) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, abs(size)
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        block[124:136] = b"\xff" + (size + (1 << 88)).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def records(**told: str) -> bytes:
    lines = [f" {key.replace('__', '.')}={value}\n" for key, value in told.items()]
    return "".join(f"{len(line) + 2}{line}" for line in lines).encode().ljust(512, b"\0")


SPARSE = records(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__realsize="5")
EXTENDED = (b"00000000007\0" + b"00000000003\0") * 21 + b"\1" + bytes(7)


def begin_sparse() -> bytes:
    block = bytearray(header("weights.th", tarfile.GNUTYPE_SPARSE))
    block[482], block[483:495], block[148:156] = 1, b"00000000005\0", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


TARS = {
    "extended header": (header("x", b"x", MANY) + b"a" * MANY, "contains a header larger than"),
    "long name": (header("x", b"L", MANY) + b"a" * MANY, "contains a header larger than"),
    "extended header later on": (
        header("a", b"0") + header("x", b"x", MANY) + b"a" * MANY,
        "contains a header larger than",
    ),
    "map of holes": (
        header("x", b"x", len(SPARSE.rstrip(b"\0")))
        + SPARSE
        + header("x", b"0")
        + b"9999999\n" * (1 << 16),
        "a header larger",
    ),
    "chain of holes": (begin_sparse() + EXTENDED * (MANY >> 9), "contains a header larger than"),
    "holes": (
        header("x", b"x", len(SPARSE.rstrip(b"\0")))
        + SPARSE
        + header("x", b"0")
        + b"1\n0\n5\n".ljust(512),
        "without its holes",
    ),
    "negative name": (
        header("a", b"0") + header("x", b"L", -512) + b"a" * MANY,
        "contains a header larger than",
    ),
    "negative size": (header("a", b"0") + header("b", b"Z", -512), "points backwards"),
    "headers without end": (
        header("x", b"x") * 3000,
        "not a complete archive|contains a header larger than",
    ),
    "members without end": (header("a", b"5") * 1001, "more than 1,000 files"),
}


@pytest.mark.parametrize(("content", "words"), TARS.values(), ids=TARS.keys())
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_of_large_headers_is_one_error(
    tmp_path: Path, content: bytes, words: str, pack: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1000)
    monkeypatch.setattr(archives, "MAX_HEADER", 1 << 18)
    if pack in (bz2.compress, lzma.compress):
        content = content[: 1 << 22]  # they are slow
    (tmp_path / "a.tar").write_bytes(pack(content + bytes(1024)))
    with little_memory():
        assert archives.is_archive(tmp_path / "a.tar")
        with pytest.raises(ModelError, match=rf"a\.tar: .*{words}"):
            archives.list_names(tmp_path / "a.tar")


def test_what_a_tar_says_of_all_members_is_not_kept_for_each(tmp_path: Path):
    told = "".join(f"12 {i:07x}=\n" for i in range(20_000)).encode()
    content = header("x", b"g", len(told)) + told.ljust(-len(told) // 512 * -512, b"\0")
    (tmp_path / "a.tar").write_bytes(
        content + b"".join(header(f"f{i}", b"0") for i in range(300)) + bytes(1024)
    )
    with little_memory():
        assert len(archives.list_names(tmp_path / "a.tar")) == 300


def test_a_zip_s_list_of_members_is_read_up_to_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "MAX_DIRECTORY", 1000)
    for n, is_read in [(5, True), (50, False)]:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for i in range(n):
                archive.writestr(f"file{i}", b"")
        if is_read:
            assert len(archives.list_names(tmp_path / "a.zip")) == n
            continue
        with pytest.raises(ModelError, match=r"a\.zip: lists its members in [\d,]+ bytes"):
            archives.list_names(tmp_path / "a.zip")


def test_a_zip_packed_by_lzma_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("options.json", b"{}")
    with pytest.raises(ModelError, match=r"a\.zip: is compressed by LZMA"):
        archives.list_names(tmp_path / "a.zip")


def test_xz_may_take_so_much_memory_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text, tar = tmp_path / "a.txt.xz", tmp_path / "a.tar.xz"
    # The first stream needs 1 MiB, the second 9 MiB
    text.write_bytes(lzma.compress(b"a b\n", preset=0) + lzma.compress(b"c d\n"))
    tar.write_bytes(lzma.compress(header("a", b"0") + bytes(1024)))
    assert [s.tokens for s in read_text(text)] == [["a", "b"], ["c", "d"]]
    assert archives.list_names(tar) == ["a"]
    monkeypatch.setattr(limits, "XZ_MEMORY", 1 << 22)
    with pytest.raises(
        CorpusError,
        match=r"a\.txt\.xz: takes more than 4 MiB of memory to unpack; compress it again by xz -9",
    ):
        list(read_text(text))
    with pytest.raises(ModelError, match=r"a\.tar\.xz: takes more than 4 MiB of memory"):
        archives.list_names(tar)


@pytest.mark.parametrize("between", [0, 4, limits.BLOCK_BYTES])
@pytest.mark.parametrize("after", [b"", b"\0" * 8, b"no stream"])
def test_xz_streams_follow_one_another(between: int, after: bytes):
    first, second = b"a b\n" * 100_000, b"c\n"
    packed = lzma.compress(first) + b"\0" * between + lzma.compress(second) + after
    assert limits.open_xz(io.BytesIO(packed)).read() == first + second
    with pytest.raises(EOFError):
        limits.open_xz(io.BytesIO(lzma.compress(first)[:-9])).read()


def saved(
    path: Path,
    change: Callable[[dict[str, bytes]], object],
    method: int = zipfile.ZIP_STORED,
    *,
    twice: bool = False,
) -> Path:
    """A file by torch.save, its records changed."""
    torch.save({"a": torch.zeros(1 << 16)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {
            info.filename.partition("/")[2]: archive.read(info) for info in archive.infolist()
        }
    change(content)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(f"archive/{name}", data)
        if twice:
            archive.filelist.append(archive.getinfo("archive/data/0"))
    return path


PICKLES = {
    "an array of any size": (
        b"\x80\x02}X\1\0\0\0acbuiltins\nbytearray\n\x8a\x05\0\0\0\0\1\x85Rs.",
        "contains more than tensors",
    ),
    "lists": (b"\x80\x02}X\1\0\0\0a(" + b"]" * (3 << 20) + b"ts.", "names its tensors in 3,145,"),
    "no end": (b"\x80\x02}X\1\0\0\0a", "not a readable PyTorch file"),
}


@pytest.mark.parametrize(("pickled", "words"), PICKLES.values(), ids=PICKLES.keys())
def test_a_pickle_of_more_than_named_tensors_is_refused(tmp_path: Path, pickled: bytes, words: str):
    path = saved(tmp_path / "a.th", lambda content: content.update({"data.pkl": pickled}))
    with little_memory(), pytest.raises(ModelError, match=rf"a\.th: .*{words}"):
        read_tensors(path)


def test_records_that_are_packed_or_counted_twice_are_refused(tmp_path: Path):
    assert read_tensors(saved(tmp_path / "a.th", dict)).names() == ["a"]
    with pytest.raises(ModelError, match=r"a\.th: contains compressed tensors"):
        read_tensors(saved(tmp_path / "a.th", dict, zipfile.ZIP_DEFLATED))
    with pytest.raises(
        ModelError, match=r"a\.th: declares [\d,]+ bytes of which [\d,]+ are stored"
    ):
        read_tensors(saved(tmp_path / "a.th", dict, twice=True))


def test_a_file_of_the_old_kind_is_looked_into_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.th"
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert read_tensors(path).take("a", 4).tolist() == [0] * 4
    path.write_bytes(whole.replace(b"ccollections\nOrderedDict\n", b"cbuiltins\nbytearray\n"))
    with pytest.raises(ModelError, match=r"contains more than tensors"):
        read_tensors(path)
    path.write_bytes(whole)
    monkeypatch.setattr(torch_files, "MAX_PICKLE", 200)
    with pytest.raises(ModelError, match=r"not a readable PyTorch file of weights"):
        read_tensors(path)


def test_a_sentence_has_so_many_tokens_unless_more_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.txt").write_text("a b c\nd e\n")
    monkeypatch.setattr("elmo_cli.readers.corpus.MAX_TOKENS", 2)
    with pytest.raises(
        CorpusError,
        match=(
            r"a\.txt:1: has 3 tokens, more than 2; split it, or allow more by "
            r"--max-sentence-tokens"
        ),
    ):
        Corpus([tmp_path / "a.txt"]).scan()
    assert Corpus([tmp_path / "a.txt"], max_sentence_tokens=3).scan().tokens == 5


def test_lines_that_make_one_row_or_sentence_have_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conll, "MAX_BLOCK", 100)
    monkeypatch.setattr(delimited, "MAX_ROW", 100)
    column, table = tmp_path / "a.conll", tmp_path / "a.csv"
    line = "a" * 30 + "\n"
    column.write_text(line * 60)
    table.write_text('tokens,b\n"' + 'a","b\n' * 60)
    with pytest.raises(CorpusError, match=r"a\.conll:1: 3 lines follow without a blank line"):
        Corpus([column]).scan()
    with pytest.raises(
        CorpusError, match=r"is not valid CSV \(row larger than 100 characters\); check the quotes"
    ):
        Corpus([table]).scan()
    column.write_text(f"{line}\n" * 60)
    table.write_text("tokens,b\n" + "c,d\n" * 60)
    assert [Corpus([path]).scan().sentences for path in (column, table)] == [60, 60]


def repacked(path: Path, **changed: bytes) -> Path:
    """An .npz of two sentences, compressed, some of its members changed; __ stands for a dot."""
    description, sentences = FeatureSpec(("top",), 4), corpus("a b", "c")
    path.unlink(missing_ok=True)
    write(path, "npz", sentences, arrays_for(sentences, description), description)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {
            **members,
            **{name.replace("__", "."): content for name, content in changed.items()},
        }.items():
            archive.writestr(name, content)
    return path


def test_an_npz_takes_little_memory_whatever_it_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "JSON_MEMORY", 1 << 20)
    lists, zeros = b"[[]" + b",[]" * (MANY >> 2) + b"]", bytes(MANY)
    head = (
        b"\x93NUMPY\1\0\x76\0"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 4)}".ljust(117)
        + b"\n"
    )
    paths = [
        repacked(tmp_path / "tokens.npz", tokens__json=lists),
        repacked(tmp_path / "keys.npz", keys__json=lists),
        repacked(tmp_path / "metadata.npz", metadata__json=lists),
        repacked(tmp_path / "layers.npz", layers__npy=head + zeros),
    ]
    for path in paths:
        with (
            little_memory(),
            pytest.raises(FeaturesError, match=r"MiB of memory to parse|do not match each other"),
        ):
            open_features(path)


def test_an_npz_of_more_sentences_than_memory_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(npz, "MAX_SENTENCES", 1)
    with pytest.raises(FeaturesError, match=r"a\.npz: has 2 sentences, of which 1 fit in memory"):
        open_features(repacked(tmp_path / "a.npz"))


def test_words_of_an_npz_may_stand_in_any_json(tmp_path: Path):
    for tokens in (
        b'[["a", "b"], ["c"]]',
        b'[\n ["a",\n "b"],\n ["c"]\n]',
        b'[["a", "b"],\n["c"]]',
    ):
        with open_features(repacked(tmp_path / "a.npz", tokens__json=tokens)) as features:
            assert [features.tokens(i) for i in range(2)] == [["a", "b"], ["c"]]
            assert list(features.token_counts()) == [2, 1]


def test_an_npz_that_the_disk_has_no_room_for_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = repacked(tmp_path / "a.npz")
    monkeypatch.setattr(npz.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(
        FeaturesError,
        match=r"a\.npz: unpacks to [\d,]+ bytes, more than the free space .*; set TMPDIR",
    ):
        open_features(path)


def test_lines_that_could_not_be_read_back_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "JSON_MEMORY", 1 << 16)
    monkeypatch.setattr(jsonl, "JSON_MEMORY", 1 << 16)
    written = []
    for n_tokens in range(50, 250, 5):
        sentence, array = (
            Sentence("0", ["t"] * n_tokens, ""),
            np.zeros((1, n_tokens, 4), np.float32),
        )
        with suppress(OutputError):
            written.append(
                write(
                    tmp_path / f"{n_tokens}.jsonl",
                    "jsonl",
                    [sentence],
                    [array],
                    FeatureSpec(("layer_0",), 4),
                )
            )
    assert 10 < len(written) < 30
    for path in written:
        with open_features(path) as features:
            assert features[0].shape == (1, int(path.stem), 4)
    words = (
        r"250\.jsonl: sentence 0 of 250 tokens has more vectors than a line may have to be read "
        r"back; write fewer --layers"
    )
    with pytest.raises(OutputError, match=words):
        write(
            tmp_path / "250.jsonl",
            "jsonl",
            [Sentence("0", ["t"] * 250, "")],
            [np.zeros((1, 250, 4))],
            FeatureSpec(("layer_0",), 4),
        )
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_a_line_of_features_takes_so_much_memory_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "JSON_MEMORY", 1 << 20)
    monkeypatch.setattr(jsonl, "JSON_MEMORY", 1 << 20)
    line = b'{"key": "0", "number": 0, "tokens": ["a"], "top": [[%s]]}\n'
    (tmp_path / "good.jsonl").write_bytes(line % b"1, 2" * 3)
    with open_features(tmp_path / "good.jsonl") as features:
        assert [array.tolist() for array in features] == [[[1, 2]]] * 3
    words = r"bad\.jsonl:2: .*, more than a line may have; write such long sentences"
    (tmp_path / "bad.jsonl").write_bytes(line % b"1, 2" + line % (b"[]," * 20_000))
    with (
        little_memory(),
        open_features(tmp_path / "bad.jsonl") as features,
        pytest.raises(FeaturesError, match=words),
    ):
        features.sentence(1)
    (tmp_path / "bad.jsonl").write_bytes(line % b"1, 2" + line % (b"1," * MANY))
    with little_memory(), pytest.raises(FeaturesError, match=words):
        open_features(tmp_path / "bad.jsonl")
    (tmp_path / "short.jsonl").write_bytes(line % b"1, 2" + b"\n" * MANY)
    with (
        little_memory(1 << 26),
        pytest.raises(FeaturesError, match=r"short\.jsonl: has [\d,]+ lines in its first"),
    ):
        open_features(tmp_path / "short.jsonl")
