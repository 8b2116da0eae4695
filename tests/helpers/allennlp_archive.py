"""Synthetic AllenNLP archives: tensors of a published shape, named as in AllenNLP's modules."""

import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import torch

EMBEDDER = "text_field_embedder.token_embedder_elmo._elmo._elmo_lstm."


def module_tensors(weights: Path, prefix: str = EMBEDDER) -> dict[str, torch.Tensor]:
    """What AllenNLP's `_ElmoBiLm` holds after it has read an HDF5 file of weights."""
    with h5py.File(weights) as file:
        read: dict[str, np.ndarray] = {}
        file.visititems(
            lambda name, item: read.update({name: item[:]}) if hasattr(item, "shape") else None
        )
    tensors = {
        "_token_embedder._char_embedding_weights": np.vstack(
            [np.zeros_like(read["char_embed"][:1]), read["char_embed"]]
        )
    }
    for name, values in read.items():
        if name.startswith("CNN/W_cnn_"):
            tensors[f"_token_embedder.char_conv_{name[10:]}.weight"] = values[0].transpose(2, 1, 0)
        elif name.startswith("CNN/b_cnn_"):
            tensors[f"_token_embedder.char_conv_{name[10:]}.bias"] = values
        elif name.startswith("CNN_high_") and name.endswith("W_transform"):
            high, ours = name.split("/")[0], f"_token_embedder._highways._layers.{name[9]}"
            tensors[f"{ours}.weight"] = np.vstack([values.T, -read[f"{high}/W_carry"].T])
            tensors[f"{ours}.bias"] = np.concatenate(
                [read[f"{high}/b_transform"], -read[f"{high}/b_carry"]]
            )
        elif name == "CNN_proj/W_proj":
            tensors["_token_embedder._projection.weight"] = values.T
            tensors["_token_embedder._projection.bias"] = read["CNN_proj/b_proj"]
        elif name.endswith("/W_0"):
            direction, layer = ("forward", "backward")[int(name[4])], name.split("Cell")[2][0]
            ours = f"_elmo_lstm.{direction}_layer_{layer}"
            weight, (i, j, f, o) = values.T, np.split(read[name.replace("W_0", "B")], 4)
            gates = np.split(weight, 4)
            weight = np.vstack([gates[0], gates[2], gates[1], gates[3]])
            out = weight.shape[1] // 2
            tensors[f"{ours}.input_linearity.weight"], tensors[f"{ours}.state_linearity.weight"] = (
                weight[:, :out],
                weight[:, out:],
            )
            tensors[f"{ours}.state_linearity.bias"] = np.concatenate([i, f + 1, j, o])
            tensors[f"{ours}.state_projection.weight"] = read[name.replace("W_0", "W_P_0")].T
    return {
        prefix + name: torch.tensor(np.ascontiguousarray(values))
        for name, values in tensors.items()
    }


def make_serialization(
    folder: Path,
    model: Path,
    *,
    fta: bool = True,
    elmo: bool = True,
    options_file: str = "elmo/options.json",
) -> Path:
    """A folder as `allennlp train` and its archive leave it, of a tagger whose ELMo is `model`."""
    (folder / "vocabulary").mkdir(parents=True)
    (folder / "vocabulary" / "labels.txt").write_text("a\n")
    embedder = {
        "type": "elmo_token_embedder",
        "options_file": options_file,
        "weight_file": "elmo/weights.hdf5",
        "dropout": 0.5,
    }
    config = {
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {"token_embedders": {"elmo": embedder}},
        },
        "trainer": {"num_epochs": 1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    others = {
        "tag_projection_layer._module.weight": torch.ones(2, 3),
        EMBEDDER.replace("_elmo_lstm.", "scalar_mix_0.gamma"): torch.ones(1),
    }
    torch.save(
        {**(module_tensors(model / "weights.hdf5") if elmo else {}), **others},
        folder / "weights.th",
    )
    if fta:
        place = "model.text_field_embedder.token_embedders.elmo"
        (folder / "fta").mkdir()
        (folder / "fta" / f"{place}.options_file").write_bytes(
            (model / "options.json").read_bytes()
        )
        (folder / "fta" / f"{place}.weight_file").write_bytes((model / "weights.hdf5").read_bytes())
        (folder / "files_to_archive.json").write_text(
            json.dumps({f"{place}.options_file": "elmo/options.json"})
        )
    return folder


def archive(folder: Path, path: Path) -> Path:
    """The folder's content as AllenNLP archives it."""
    with tarfile.open(path, "w:gz") as tar:
        for part in sorted(folder.iterdir()):
            tar.add(part, arcname=part.name)
    return path
