import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from elmo_cli.errors import ModelError
from elmo_cli.inference.embedder import Embedder
from elmo_cli.io import sizes
from elmo_cli.models.formats.bilm_tf import load_bilm, save_bilm
from elmo_cli.models.formats.options_json import load_config
from tests.conftest import make_model, make_options


def load(folder: Path):
    return load_bilm(folder / "options.json", folder / "weights.hdf5")


def change_weights(folder: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        change(file)


def move(file: h5py.File, old: str, new: str) -> None:
    file[new] = file[old][:]
    del file[old]


def test_a_saved_model_is_the_loaded_one(tmp_path: Path, model: Path):
    bilm = load(model)
    save_bilm(bilm, tmp_path / "options.json", tmp_path / "weights.hdf5")
    again = load(tmp_path)
    assert again.config == bilm.config
    for name, parameter in bilm.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], parameter)
    with h5py.File(model / "weights.hdf5") as old, h5py.File(tmp_path / "weights.hdf5") as new:
        names: list[str] = []
        old.visit(names.append)
        for name in names:
            if isinstance(old[name], h5py.Dataset):
                np.testing.assert_allclose(new[name][:], old[name][:], atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_in_the_file_become_float32(tmp_path: Path, dtype: str):
    make_model(tmp_path / "a")
    make_model(tmp_path / "b", dtype=dtype)
    ours, theirs = (
        Embedder(load(tmp_path / name)).embed_batch([["one", "two"]])[0] for name in "ab"
    )
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_a_single_layer_may_be_named_as_tensorflow_names_it(tmp_path: Path):
    make_model(tmp_path, n_layers=1)
    before = Embedder(load(tmp_path)).embed_batch([["a", "b"]])[0]
    for direction in range(2):
        for name in ("W_0", "B", "W_P_0"):
            root = f"RNN_{direction}/RNN"
            change_weights(
                tmp_path,
                lambda file, r=root, n=name: move(
                    file, f"{r}/MultiRNNCell/Cell0/LSTMCell/{n}", f"{r}/LSTMCell/{n}"
                ),
            )
    np.testing.assert_array_equal(Embedder(load(tmp_path)).embed_batch([["a", "b"]])[0], before)


def test_an_identity_projection_may_be_in_the_file(tmp_path: Path):
    make_model(tmp_path, projection_dim=12)
    before = Embedder(load(tmp_path)).embed_batch([["a", "b"]])[0]
    change_weights(
        tmp_path,
        lambda file: file.update(
            {"CNN_proj/W_proj": np.eye(12, dtype="f4"), "CNN_proj/b_proj": np.zeros(12, "f4")}
        ),
    )
    np.testing.assert_allclose(
        Embedder(load(tmp_path)).embed_batch([["a", "b"]])[0], before, atol=1e-6
    )


def remove(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


BAD_WEIGHTS = {
    "missing": (remove("CNN/W_cnn_1"), ["lacks the tensor CNN/W_cnn_1", "(1, 2, 4, 4)"]),
    "left over": (
        lambda file: file.update({"softmax/W": np.zeros((3, 4))}),
        ["softmax/W", "(3, 4)", "does not describe"],
    ),
    "misshapen": (
        lambda file: (
            remove("char_embed")(file),
            file.update({"char_embed": np.zeros((261, 5), "f4")}),
        ),
        ["char_embed", "(261, 5)", "(261, 4)"],
    ),
    "no numbers": (
        lambda file: (
            remove("CNN/b_cnn_0")(file),
            file.update({"CNN/b_cnn_0": np.array([b"a"] * 3)}),
        ),
        ["CNN/b_cnn_0", "|S1"],
    ),
    "not a number": (
        lambda file: file["char_embed"].write_direct(np.full((261, 4), np.nan, "f4")),
        ["char_embed", "NaN"],
    ),
    "never filled": (
        lambda file: (
            remove("char_embed")(file),
            file.create_dataset("char_embed", (261, 4), "f4", chunks=(261, 4)),
        ),
        ["char_embed", "of which 0 are stored"],
    ),
    "taken from another file": (
        lambda file: (
            remove("char_embed")(file),
            file.create_dataset("char_embed", (261, 4), "f4", external=[("/dev/zero", 0, 4176)]),
        ),
        ["char_embed", "from another file"],
    ),
    "a projection that fits nowhere": (
        remove("CNN_proj/W_proj"),
        ["lacks the tensor CNN_proj/W_proj"],
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS.keys())
def test_weights_that_do_not_fit_are_one_error_that_names_the_tensor_and_both_files(
    tmp_path: Path, change: Callable, words: list[str]
):
    make_model(tmp_path)
    change_weights(tmp_path, change)
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    assert all(word in str(caught.value) for word in [*words, "weights.hdf5"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"not HDF5 at all", lambda b: b[: len(b) // 2], lambda _: b"", lambda b: b[:100]],
)
def test_a_damaged_weights_file_is_an_error(tmp_path: Path, damage: Callable[[bytes], bytes]):
    make_model(tmp_path)
    weights = tmp_path / "weights.hdf5"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ModelError, match=r"weights\.hdf5"):
        load(tmp_path)


BAD_OPTIONS = {
    "no JSON": ("{'lstm': 1}", "not a JSON file"),
    "no object": ("[1]", "contains a JSON list"),
    "no UTF-8": (b"\xff\xfe", "not a JSON file"),
    "word inputs": (json.dumps({"lstm": {}}), "lacks 'char_cnn'"),
    "no lstm": (json.dumps({"char_cnn": make_options()["char_cnn"]}), "lacks the object 'lstm'"),
    "no dim": (json.dumps(make_options(dim=None)), "lacks 'lstm.dim'"),
    "dim of text": (json.dumps(make_options(dim="10")), "lstm.dim is '10'"),
    "no layers": (json.dumps(make_options(n_layers=0)), "lstm.n_layers is 0"),
    "no filters": (json.dumps(make_options(filters=[])), "char_cnn.filters"),
    "odd filters": (json.dumps(make_options(filters=[[1, 2, 3]])), "char_cnn.filters"),
    "wide filter": (
        json.dumps(make_options(filters=[[51, 3]])),
        "wider than max_characters_per_token, 50",
    ),
    "unknown activation": (
        json.dumps(make_options(activation="gelu")),
        "'gelu'; it takes relu or tanh",
    ),
    "other table": (json.dumps(make_options(n_characters=300)), "n_characters is 300"),
    "activation of lists": (json.dumps(make_options(activation=[])), "char_cnn.activation is []"),
    "text for a flag": (
        json.dumps(make_options(use_skip_connections="false")),
        "lstm.use_skip_connections is 'false'",
    ),
    "huge clip": (json.dumps(make_options(cell_clip=10**400)), "lstm.cell_clip is 1000"),
    "negative clip": (json.dumps(make_options(cell_clip=-1)), "lstm.cell_clip is -1"),
    "no embedding": (
        json.dumps(make_options(embedding=None)),
        "lacks the object 'char_cnn.embedding'",
    ),
}


@pytest.mark.parametrize(("content", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_options_that_make_no_network_are_one_error(
    tmp_path: Path, content: str | bytes, words: str
):
    make_model(tmp_path)
    (tmp_path / "options.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    assert words in str(caught.value)
    assert "options.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [[1, 10**12]]},
        {"dim": 10**9},
        {"n_layers": 10**6},
        {"filters": [[1, 10**6]] * 5000},
    ],
)
def test_options_that_ask_for_the_impossible_are_refused_before_anything_is_allocated(
    tmp_path: Path, changes: dict
):
    make_model(tmp_path)
    (tmp_path / "options.json").write_text(json.dumps(make_options(**changes)))
    with pytest.raises(ModelError, match=r"options\.json"):
        load(tmp_path)


def test_a_damaged_byte_is_harmless_or_one_error(tmp_path: Path):
    make_model(tmp_path)
    weights, random = tmp_path / "weights.hdf5", np.random.default_rng(0)
    whole = weights.read_bytes()
    failed = 0
    for place in random.integers(0, 20_000, 150):
        weights.write_bytes(whole[:place] + bytes([random.integers(256)]) + whole[place + 1 :])
        try:
            load(tmp_path)
        except ModelError:
            failed += 1
    assert failed > 10


def test_a_small_file_that_stands_for_large_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = make_model(tmp_path / "model")
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        shape = file["char_embed"].shape
        del file["char_embed"]
        file.create_dataset(
            "char_embed", data=np.zeros(shape, np.float32), chunks=shape, compression="gzip"
        )
    load_bilm(folder / "options.json", folder / "weights.hdf5")
    monkeypatch.setattr(sizes, "FREE_BYTES", 1 << 10)
    monkeypatch.setattr(sizes, "MAX_RATIO", 2)
    with pytest.raises(
        ModelError,
        match=r"char_embed declares [0-9,]+ bytes, far more than the [0-9,]+ that are stored",
    ):
        load_bilm(folder / "options.json", folder / "weights.hdf5")


def test_options_above_any_measure_are_refused(tmp_path: Path):
    path = tmp_path / "options.json"
    path.write_bytes(b" " * (1 << 20) + b"{}")
    with pytest.raises(
        ModelError,
        match=(
            r"is larger than 1,048,576 bytes, the limit of an options file; pass the options.json "
            r"of the model"
        ),
    ):
        load_config(path)
    options = make_options()
    options["char_cnn"]["filters"] = [[1, 1]] * 1025
    path.write_text(json.dumps(options))
    with pytest.raises(
        ModelError, match=r"char_cnn.filters lists 1,025 convolutions; it takes at most 1,024"
    ):
        load_config(path)
