"""A model is recognised by the files of a folder or an archive; only the needed files are read."""

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from elmo_cli.errors import ModelError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.models.cache import Cache
from elmo_cli.models.resolve import find_model
from tests.conftest import make_model, make_options
from tests.helpers.allennlp_archive import EMBEDDER, archive, make_serialization, module_tensors
from tests.helpers.reference import ReferenceElmo
from tests.helpers.reference_efml import ReferenceEfml, make_efml

TOKENS = ["the", "cat", "naïve", "日本"]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", offline=True)


@pytest.fixture
def expected(reference: ReferenceElmo) -> np.ndarray:
    return reference.embed(TOKENS)


def embed(path: Path, cache: Cache) -> np.ndarray:
    return Embedder(find_model(str(path), cache=cache).load()).embed_batch([TOKENS])[0]


def zipped(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def tarred(path: Path, content: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            file.addfile(entry)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


LAYOUTS = {  # of options.json and weights.hdf5, and what lies beside them
    "AllenNLP": (
        "elmo_2x4096_512_2048cnn_2xhighway_options.json",
        "elmo_2x4096_512_2048cnn_2xhighway_weights.hdf5",
        {},
    ),
    "NLPL": (
        "options.json",
        "model.hdf5",
        {"vocab.txt": b"a", "meta.json": b"{}", "model.ckpt.index": b"", "README": b""},
    ),
    "German": ("options.json", "weights.hdf5", {"vocab-train.txt": b"a"}),
    "clinical": ("elmo/options.json", "elmo/mimic_wiki.hdf5", {}),
    "SeqVec": ("uniref50_v2/options.json", "uniref50_v2/weights.hdf5", {"readme.txt": b""}),
    "bio_embeddings": ("options_file", "weights_file", {}),
    "elmo train": (
        "options.json",
        "weights.hdf5",
        {"softmax.hdf5": b"", "vocab.txt": b"", "README.md": b"", "log.jsonl": b""},
    ),
}


@pytest.mark.parametrize(("options", "weights", "others"), LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("form", ["folder", "zip", "tar.gz"])
def test_every_layout_in_use_is_found_in_every_form(
    tmp_path: Path,
    model: Path,
    cache: Cache,
    expected: np.ndarray,
    form: str,
    options: str,
    weights: str,
    others: dict[str, bytes],
):
    content = {
        options: (model / "options.json").read_bytes(),
        weights: (model / "weights.hdf5").read_bytes(),
        **others,
    }
    path = tmp_path / f"a.{form}"
    if form == "folder":
        for name, data in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    else:
        {"zip": zipped, "tar.gz": tarred}[form](path, content)
    np.testing.assert_allclose(embed(path, cache), expected, atol=1e-5)


@pytest.mark.parametrize("below", ["", "zht.model/"])
def test_a_zip_of_elmoformanylangs_is_loaded(tmp_path: Path, cache: Cache, below: str):
    folder = make_efml(tmp_path / "efml")
    path = zipped(
        tmp_path / "179.zip", {below + name: data for name, data in contents(folder).items()}
    )
    np.testing.assert_allclose(embed(path, cache), ReferenceEfml(folder).embed(TOKENS), atol=1e-5)


@pytest.mark.parametrize("fta", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_the_elmo_in_an_allennlp_archive_is_loaded(
    tmp_path: Path, model: Path, cache: Cache, expected: np.ndarray, fta: bool, packed: bool
):
    path = make_serialization(tmp_path / "serialization", model, fta=fta)
    if packed:
        path = archive(path, tmp_path / "model.tar.gz")
    options = None if fta else model / "options.json"
    found = find_model(str(path), options, cache=cache)
    assert found.format == "allennlp-archive"
    np.testing.assert_allclose(Embedder(found.load()).embed_batch([TOKENS])[0], expected, atol=1e-5)


def test_trained_weights_go_before_those_that_training_began_with(
    tmp_path: Path, model: Path, cache: Cache
):
    folder = make_serialization(tmp_path / "a", model)
    other = make_model(tmp_path / "other", seed=7)
    torch.save(module_tensors(other / "weights.hdf5"), folder / "weights.th")
    expected = ReferenceElmo(other / "options.json", other / "weights.hdf5").embed(TOKENS)
    np.testing.assert_allclose(embed(folder, cache), expected, atol=1e-5)


def test_an_archive_without_trained_elmo_uses_what_training_began_with(
    tmp_path: Path, model: Path, cache: Cache, expected: np.ndarray
):
    path = archive(make_serialization(tmp_path / "a", model, elmo=False), tmp_path / "model.tar.gz")
    np.testing.assert_allclose(embed(path, cache), expected, atol=1e-5)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("fta", [True, False])
def test_the_hash_is_of_the_file_that_is_loaded(
    tmp_path: Path, model: Path, cache: Cache, fta: bool, trained: bool
):
    folder = make_serialization(tmp_path / "a", model, fta=fta, elmo=trained)
    loaded = model / "weights.hdf5" if fta and not trained else folder / "weights.th"
    assert (
        find_model(str(folder), cache=cache).sha256
        == hashlib.sha256(loaded.read_bytes()).hexdigest()
    )


def test_a_published_name_of_options_says_the_architecture(
    tmp_path: Path, model: Path, cache: Cache
):
    url = "https://allennlp.s3.amazonaws.com/models/elmo/2x2048_256_2048cnn_1xhighway/elmo_2x2048_256_2048cnn_1xhighway_options.json"
    config = find_model(
        str(make_serialization(tmp_path / "a", model, fta=False, options_file=url)), cache=cache
    ).config()
    assert (
        config.n_layers,
        config.lstm_dim,
        config.projection_dim,
        config.n_highway,
        config.n_filters,
    ) == (2, 2048, 256, 1, 2048)


BAD_ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no options": (
        lambda f: shutil.rmtree(f / "fta"),
        "refers to the options file elmo/options.json, which is not in the archive; pass it",
    ),
    "no ELMo": (lambda f: (f / "config.json").write_text("{}"), "describes no ELMo token embedder"),
    "no ELMo at all": (
        lambda f: (
            (
                shutil.rmtree(f / "fta"),
                torch.save({"a": torch.ones(1)}, f / "weights.th"),
                (f / "fta").mkdir(),
            )
            and (
                f / "fta" / "model.text_field_embedder.token_embedders.elmo.options_file"
            ).write_text(json.dumps(make_options()))
        ),
        "has no tensors of ELMo",
    ),
    "two ELMos": (
        lambda f: torch.save(
            {f"{p}.{EMBEDDER}_token_embedder._char_embedding_weights": torch.ones(1) for p in "ab"},
            f / "weights.th",
        ),
        "contains 2 ELMo modules",
    ),
    "a tensor missing": (
        lambda f: change_weights(
            f, lambda t: t.pop(f"{EMBEDDER}_elmo_lstm.forward_layer_0.state_linearity.bias")
        ),
        "lacks the tensor forward_layer_0.state_linearity.bias",
    ),
    "a tensor left over": (
        lambda f: change_weights(
            f, lambda t: t.update({f"{EMBEDDER}_token_embedder.char_conv_9.bias": torch.ones(1)})
        ),
        "has a tensor _token_embedder.char_conv_9.bias",
    ),
}


def change_weights(folder: Path, change: Callable[[dict], object]) -> None:
    tensors = torch.load(folder / "weights.th", weights_only=True)
    change(tensors)
    torch.save(tensors, folder / "weights.th")


@pytest.mark.parametrize(("change", "words"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
def test_an_archive_that_cannot_be_used_is_one_error(
    tmp_path: Path, model: Path, cache: Cache, change: Callable, words: str
):
    folder = make_serialization(tmp_path / "a", model)
    change(folder)
    with pytest.raises(ModelError) as caught:
        find_model(str(folder), cache=cache).load()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_what_the_model_needs_is_unpacked_and_only_once(
    tmp_path: Path, model: Path, cache: Cache
):
    content = {**contents(model), "model.ckpt.data-00000-of-00001": b"x" * 1000, "vocab.txt": b"a"}
    path = zipped(tmp_path / "212.zip", content)
    first = find_model(str(path), cache=cache)
    assert first.name == "212"
    assert {p.name for p in cache.folder.rglob("*") if p.is_file()} == {
        "options.json",
        "weights.hdf5",
    }
    first.files["weights"].write_bytes(b"marked")
    assert find_model(str(path), cache=cache).files["weights"].read_bytes() == b"marked"
    zipped(path, {**content, "more": b""})
    assert find_model(str(path), cache=cache).files["weights"].read_bytes() != b"marked"


def test_what_is_unpacked_can_be_read_by_whoever_shares_the_cache(
    tmp_path: Path, model: Path, cache: Cache
):
    before = os.umask(0o022)
    try:
        found = find_model(
            str(
                zipped(
                    tmp_path / "a.zip",
                    {f"elmo/{name}": data for name, data in contents(model).items()},
                )
            ),
            cache=cache,
        )
    finally:
        os.umask(before)
    for path in (found.files["weights"], *found.files["weights"].parents[:3]):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_permissions_in_a_tar_are_not_kept(tmp_path: Path, model: Path, cache: Cache):
    before = os.umask(0o022)
    try:
        with tarfile.open(tmp_path / "a.tar", "w") as file:
            for mode, (name, data) in zip((0o600, 0o4777), contents(model).items(), strict=True):
                entry = tarfile.TarInfo(f"./{name}")
                entry.size, entry.mode = len(data), mode
                file.addfile(entry, io.BytesIO(data))
        found = find_model(str(tmp_path / "a.tar"), cache=cache)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in found.files.values()] == [0o644] * 2


def test_a_zip_may_separate_folders_by_backslashes(
    tmp_path: Path, model: Path, cache: Cache, expected: np.ndarray
):
    path = zipped(
        tmp_path / "a.zip", {f"elmo\\{name}": data for name, data in contents(model).items()}
    )
    np.testing.assert_allclose(embed(path, cache), expected, atol=1e-5)
    assert [place.parent.name for place in find_model(str(path), cache=cache).files.values()] == [
        "elmo"
    ] * 2


def test_nothing_outside_the_cache_is_written_and_no_link_followed(
    tmp_path: Path, model: Path, cache: Cache
):
    content = contents(model)
    evil = {"../escaped.json": b"{}", str(tmp_path / "absolute.json"): b"{}", **content}
    for path in (
        zipped(tmp_path / "a.zip", evil),
        tarred(tmp_path / "a.tar.gz", evil, {"link.json": "/etc/passwd"}),
    ):
        assert find_model(str(path), cache=cache).config().lstm_dim == 10
    assert not (tmp_path / "escaped.json").exists()
    assert not (tmp_path / "absolute.json").exists()
    assert not any(path.is_symlink() for path in cache.folder.rglob("*"))
    linked = tarred(
        tmp_path / "b.tar.gz",
        {"weights.hdf5": content["weights.hdf5"]},
        {"options.json": str(model / "options.json")},
    )
    with pytest.raises(ModelError, match="no model found"):
        find_model(str(linked), cache=cache)


def test_a_member_larger_than_any_model_is_refused_before_it_is_written(
    tmp_path: Path, model: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("elmo_cli.io.archives.MAX_BYTES", 5000)
    with pytest.raises(ModelError, match="larger than the free disk space or the limit"):
        find_model(str(zipped(tmp_path / "a.zip", contents(model))), cache=cache)
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_damaged_archive_is_one_error_and_leaves_nothing(
    tmp_path: Path, model: Path, cache: Cache, suffix: str
):
    path = {"zip": zipped, "tar.gz": tarred}[suffix](tmp_path / f"a.{suffix}", contents(model))
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 40)
    damaged = [
        whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :] for place in places
    ]
    failed = 0
    for data in [*damaged, whole[: len(whole) // 2], whole[:30]]:
        path.write_bytes(data)
        with suppress(ModelError):
            find_model(str(path), cache=cache).load()
            continue
        failed += 1
    assert failed > 5
    assert not list(cache.folder.rglob(".*.partial"))


def test_a_model_in_a_folder_below_is_named_with_that_folder(tmp_path: Path, cache: Cache):
    make_model(tmp_path / "all" / "english")
    assert find_model(str(tmp_path / "all"), cache=cache).name == "all/english"
    assert find_model(str(tmp_path / "all" / "english"), cache=cache).name == "english"


def test_a_folder_without_a_model_says_what_was_looked_for_and_found(tmp_path: Path, cache: Cache):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(ModelError) as caught:
        find_model(str(tmp_path), cache=cache)
    for word in (
        "options.json and one *.hdf5",
        "config.json and weights.th",
        "encoder.pkl",
        "found a.txt, b.txt",
    ):
        assert word in str(caught.value)


def test_several_models_are_not_chosen_between(tmp_path: Path, cache: Cache):
    make_model(tmp_path / "a")
    make_model(tmp_path / "b")
    with pytest.raises(ModelError, match=r"contains several models \(a, b\)"):
        find_model(str(tmp_path), cache=cache)


def test_a_file_that_is_no_archive_says_what_to_pass(model: Path, cache: Cache):
    with pytest.raises(ModelError, match="is not a zip or tar archive; pass the folder"):
        find_model(str(model / "weights.hdf5"), cache=cache)


def test_options_stand_beside_a_model_only_where_it_lacks_them(
    tmp_path: Path, model: Path, cache: Cache
):
    with pytest.raises(ModelError, match="has its own"):
        find_model(str(model), model / "options.json", cache=cache)
    with pytest.raises(ModelError, match="no such options file"):
        find_model(
            str(make_serialization(tmp_path / "a", model, fta=False)),
            tmp_path / "none.json",
            cache=cache,
        )


def test_elmo_model_is_the_default(
    tmp_path: Path,
    model: Path,
    elmo: Callable[..., Result],
    corpus: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ELMO_MODEL", str(zipped(tmp_path / "mine.zip", contents(model))))
    monkeypatch.setenv("ELMO_CACHE", str(tmp_path / "cache"))
    result = elmo("embed", corpus("a\n"), tmp_path / "out.h5")
    assert result.exit_code == 0, result.output
    assert "by mine, sha256 " in result.stderr


def test_a_model_that_has_changed_since_it_was_hashed_is_not_used(tmp_path: Path):
    folder = make_model(tmp_path / "model")
    found = find_model(str(folder))
    assert found.load() is not None
    assert len(found.sha256) == 64
    make_model(tmp_path / "other", seed=2)
    (tmp_path / "other" / "weights.hdf5").replace(folder / "weights.hdf5")
    with pytest.raises(
        ModelError, match="have changed while this run read them; run the command again"
    ):
        found.load()
