"""ELMoForManyLangs: vectors within 1e-5 of a float64 forward pass; files read as by its code."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from elmo_cli.errors import ModelError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.models.formats.elmoformanylangs import PUBLISHED, read_architecture
from elmo_cli.models.resolve import find_model
from tests.conftest import read_features, shared
from tests.helpers.reference_efml import CHARACTERS, ReferenceEfml, make_efml

SENTENCES = [
    ["the", "cat", "sat", "."],
    ["The"],
    ["naïve", "日本", "日本本", "ğ", "unknown☃"],
    ["x" * 48, "x" * 49, "x" * 47, "日" * 60],
    ["<bos>", "<eos>", "<pad>", "<S>", "</S>", "<oov>"],
    ["\u3000", "a b", ""],
]
ARCHITECTURES = {
    "as published": {},
    "tanh": {"activation": "tanh"},
    "one layer": {"n_layers": 1},
    "three layers, no highway": {"n_layers": 3, "n_highway": 0},
    "no words": {"word_dim": 0},
    "no characters": {"char_dim": 0},
    "no clips": {"cell_clip": 0, "proj_clip": None},
    "short window": {"max_characters_per_token": 6},
    "projection as wide as the cell": {"dim": 6},
}


WORD_TABLE = "word_emb_layer.embedding.weight"


def embed(folder: Path, sentences: list[list[str]]) -> list[np.ndarray]:
    return Embedder(find_model(str(folder)).load()).embed_batch(sentences)


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_vectors_are_those_of_a_float64_forward_pass(tmp_path: Path, changes: dict):
    folder = make_efml(tmp_path, **changes)
    reference = ReferenceEfml(folder)
    for tokens, layers in zip(SENTENCES, embed(folder, SENTENCES), strict=True):
        np.testing.assert_allclose(layers, reference.embed(tokens), atol=1e-5)


@given(st.lists(st.text("abc日☃\u3000<>", max_size=9), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_any_text_is_encoded_as_there(tmp_path_factory: pytest.TempPathFactory, tokens: list[str]):
    folder = make_efml(tmp_path_factory.mktemp("efml"), max_characters_per_token=8)
    np.testing.assert_allclose(
        embed(folder, [tokens])[0], ReferenceEfml(folder).embed(tokens), atol=1e-5
    )


@pytest.mark.parametrize("language", ["pt_bosque", "tr_imst", "zh_gsdsimp"])
def test_running_text_of_other_languages_has_the_reference_s_numbers(
    tmp_path: Path, elmo: Callable[..., Result], corpus: Callable[..., Path], language: str
):
    lines = (
        shared("eval", f"pos_{language}", "test.txt").read_text(encoding="utf-8").splitlines()[:30]
    )
    folder = make_efml(tmp_path / "efml")
    result = elmo("embed", corpus("\n".join(lines) + "\n"), tmp_path / "out.h5", "--model", folder)
    assert result.exit_code == 0, result.output
    features, reference = read_features(tmp_path / "out.h5"), ReferenceEfml(folder)
    for i, line in enumerate(lines):
        np.testing.assert_allclose(features[str(i)], reference.embed(line.split()), atol=1e-5)


def test_a_token_is_cut_to_code_points_and_said_so(
    tmp_path: Path, elmo: Callable[..., Result], corpus: Callable[..., Path]
):
    result = elmo(
        "embed",
        corpus("日" * 49 + "\n"),
        tmp_path / "out.h5",
        "--model",
        make_efml(tmp_path / "efml"),
    )
    assert "tokens truncated to the model's 48 characters: 1, such as" in result.stderr
    fits = elmo(
        "embed", corpus("日" * 48 + "\n"), tmp_path / "fits.h5", "--model", tmp_path / "efml"
    )
    assert "tokens truncated" not in fits.stderr


def test_the_architecture_is_found_where_the_config_names_it_or_beside_it(tmp_path: Path):
    for path in (
        "tiny_config.json",
        "./tiny_config.json",
        "/home/author/configs/tiny_config.json",
        "configs/tiny_config.json",
    ):
        folder = make_efml(tmp_path / path.replace("/", "_"), config_path=path)
        assert find_model(str(folder)).config().lstm_dim == 10
    below = make_efml(tmp_path / "below", config_path="configs/tiny_config.json")
    (below / "configs").mkdir()
    (below / "tiny_config.json").rename(below / "configs" / "tiny_config.json")
    assert find_model(str(below)).config().lstm_dim == 10


def test_no_architecture_outside_the_model_s_folder_is_read(tmp_path: Path):
    elsewhere = make_efml(tmp_path / "elsewhere", dim=20) / "tiny_config.json"
    for number, path in enumerate(
        [str(elsewhere), "../elsewhere/tiny_config.json", "a/../../elsewhere/tiny_config.json"]
    ):
        folder = make_efml(tmp_path / str(number), config_path=path)
        assert find_model(str(folder)).config().lstm_dim == 10
        (folder / "tiny_config.json").unlink()
        with pytest.raises(ModelError, match=r"put tiny_config\.json beside config\.json"):
            find_model(str(folder)).config()


def test_the_published_architecture_is_built_in(tmp_path: Path):
    folder = make_efml(
        tmp_path, config_path="/users/author/elmo/configs/cnn_50_100_512_4096_sample.json"
    )
    model = find_model(str(folder))
    assert read_architecture(model.files) == PUBLISHED
    assert (model.config().lstm_dim, model.config().n_filters, model.config().output_dim) == (
        4096,
        2048,
        1024,
    )


def test_a_line_that_lost_its_token_is_the_ideographic_space(tmp_path: Path):
    folder = make_efml(tmp_path)
    lines = (folder / "char.dic").read_text(encoding="utf-8")
    assert f"\u3000\t{CHARACTERS.index(chr(0x3000))}\n" in lines
    np.testing.assert_allclose(
        embed(folder, [["\u3000"]])[0], ReferenceEfml(folder).embed(["\u3000"]), atol=1e-5
    )
    (folder / "char.dic").write_text(lines.replace("\n", "\r\n"), encoding="utf-8", newline="")
    np.testing.assert_allclose(
        embed(folder, [["\u3000"]])[0], ReferenceEfml(folder).embed(["\u3000"]), atol=1e-5
    )


def change_pickle(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    tensors = torch.load(folder / name, weights_only=True)
    change(tensors)
    torch.save(tensors, folder / name)


BAD = {
    "a tensor missing": (
        lambda f: change_pickle(
            f, "encoder.pkl", lambda t: t.pop("forward_layer_0.state_linearity.bias")
        ),
        "encoder.pkl: lacks the tensor forward_layer_0.state_linearity.bias",
    ),
    "a tensor left over": (
        lambda f: change_pickle(f, "encoder.pkl", lambda t: t.update(more=torch.ones(2))),
        "has a tensor more of shape (2,)",
    ),
    "a tensor misshapen": (
        lambda f: change_pickle(
            f, "token_embedder.pkl", lambda t: t.update({"projection.bias": torch.ones(5)})
        ),
        "projection.bias has shape (5,), but the model's options require (6,)",
    ),
    "whole numbers": (
        lambda f: change_pickle(
            f, "token_embedder.pkl", lambda t: t.update({"projection.bias": torch.ones(6).int()})
        ),
        "torch.int32",
    ),
    "no numbers": (
        lambda f: change_pickle(
            f,
            "token_embedder.pkl",
            lambda t: t.update({"projection.bias": torch.full((6,), float("nan"))}),
        ),
        "NaN",
    ),
    "more values than bytes": (
        lambda f: change_pickle(
            f,
            "token_embedder.pkl",
            lambda t: t.update({WORD_TABLE: torch.ones(1).expand(10**12, 7)}),
        ),
        "has fewer stored values than its shape requires",
    ),
    "sparse": (
        lambda f: change_pickle(
            f,
            "token_embedder.pkl",
            lambda t: t.update({"projection.bias": torch.ones(6).to_sparse()}),
        ),
        "contains more than tensors",
    ),
    "code in the pickle": (
        lambda f: (f / "encoder.pkl").write_bytes(pickle.dumps(print)),
        "not a readable PyTorch file",
    ),
    "a list": (
        lambda f: torch.save([torch.ones(1)], f / "encoder.pkl"),
        "does not contain named tensors",
    ),
    "a cut file": (
        lambda f: (f / "encoder.pkl").write_bytes((f / "encoder.pkl").read_bytes()[:900]),
        "encoder.pkl: not a readable",
    ),
    "no dictionary": (lambda f: (f / "char.dic").unlink(), "lacks char.dic"),
    "a row too high": (
        lambda f: (f / "word.dic").write_text("<oov>\t0\n<pad>\t3\nthe\t9\n"),
        "word.dic:3",
    ),
    "no row": (lambda f: (f / "word.dic").write_text("<oov>\tzero\n"), "word.dic:1"),
    "no marker": (
        lambda f: (f / "word.dic").write_text("<oov>\t0\nthe\t1\n"),
        "word.dic: lacks the entry <pad>",
    ),
    "no UTF-8": (
        lambda f: (f / "word.dic").write_bytes(b"\xff\t0\n"),
        "byte 0xff at byte offset 0 is not UTF-8",
    ),
    "no architecture": (
        lambda f: (f / "config.json").write_text('{"config_path": "other.json"}'),
        "refers to the architecture other.json",
    ),
    "no config_path": (lambda f: (f / "config.json").write_text("{}"), "lacks 'config_path'"),
    "an LSTM over characters": (
        lambda f: (f / "tiny_config.json").write_text(
            (f / "tiny_config.json").read_text().replace('"cnn"', '"lstm"')
        ),
        "token_embedder.name is 'lstm'; only 'cnn'",
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD.keys())
def test_files_that_do_not_fit_are_one_error(
    tmp_path: Path, change: Callable[[Path], object], words: str
):
    folder = make_efml(tmp_path)
    change(folder)
    with pytest.raises(ModelError) as caught:
        find_model(str(folder)).load()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_the_old_kind_are_read(tmp_path: Path):
    folder = make_efml(tmp_path)
    expected = embed(folder, SENTENCES)[0]
    # PyTorch wrote no zip files when the published models were made
    for name in ("encoder.pkl", "token_embedder.pkl"):
        torch.save(
            torch.load(folder / name, weights_only=True),
            folder / name,
            _use_new_zipfile_serialization=False,
        )
    np.testing.assert_array_equal(embed(folder, SENTENCES)[0], expected)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_are_harmless_or_one_error(tmp_path: Path, zipped: bool):
    folder = make_efml(tmp_path)
    path, random = folder / "encoder.pkl", np.random.default_rng(0)
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    failed = 0
    for place in random.integers(0, 3000, 150):
        path.write_bytes(whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :])
        with suppress(ModelError):
            find_model(str(folder)).load()
            continue
        failed += 1
    assert failed > 10


def test_the_hash_is_of_weights_and_dictionaries(tmp_path: Path):
    folder = make_efml(tmp_path)
    before = find_model(str(folder)).sha256
    with (folder / "word.dic").open("a") as file:
        file.write("sat\t4\n")
    assert find_model(str(folder)).sha256 != before


def test_training_does_not_go_on_from_it(
    tmp_path: Path, elmo: Callable[..., Result], corpus: Callable[..., Path]
):
    result = elmo(
        "train", corpus("a b\n"), tmp_path / "out", "--from", make_efml(tmp_path / "efml")
    )
    assert result.exit_code == 1
    assert "is a model of ELMoForManyLangs; --from takes" in result.stderr
