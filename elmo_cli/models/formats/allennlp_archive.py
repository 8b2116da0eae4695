"""An AllenNLP `model.tar.gz`, or the folder it unpacks to, that holds a model with an ELMo token embedder.

`weights.th` holds the whole model's parameters, ELMo's among them under the name of whatever embeds them. AllenNLP before 1.0 puts the
two files of the ELMo that the model began with under `fta/`; later ones only name the options. Facts from allennlp/models/archival.py
and modules/elmo.py.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from elmo_cli.errors import ModelError
from elmo_cli.models.formats import bilm_tf as allennlp
from elmo_cli.models.formats.options_json import MAX_DEPTH, parse_options, read_options
from elmo_cli.models.formats.state_dict import StateDict, char_cnn_parameters, lstm_parameters, read_tensors
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.characters import N_CHARACTERS

LOOKED_FOR = "config.json and weights.th"
ELMO = "_elmo_lstm."  # what the module is called inside whatever embeds it
TABLE = "_token_embedder._char_embedding_weights"
PASSED_OVER = re.compile(r"_word_embedding\.weight|_token_embedder\._(beginning|end)_of_sentence_characters")  # a cache; constants
PUBLISHED = re.compile(r"elmo_(\d)x(\d+)_(\d+)_2048cnn_(\d)xhighway[^/]*_options\.json")  # such a name says all that differs


def find(names: Collection[str]) -> dict[str, str] | None:
    """The files of such a model among these names, or None."""
    if not {"config.json", "weights.th"} <= set(names):
        return None
    return {name: name for name in names if name in ("config.json", "weights.th") or re.fullmatch(r"fta/[^/]+_file", name)}


def read_archived_options(files: Mapping[str, Path]) -> Mapping[str, Any]:
    """The ELMo's options: those passed beside the archive, in it, or of the published model that its config names.

    Raises:
        ModelError: It holds no ELMo, or more than one, or its options are nowhere.
    """
    if "options" in files:
        return read_options(files["options"])
    where, named = _embedder(files["config.json"])
    if f"fta/{where}.options_file" in files:
        return read_options(files[f"fta/{where}.options_file"])
    published = PUBLISHED.search(named)
    if published:
        return _published_options(*map(int, published.groups()))
    raise ModelError(f"{files['config.json']}: names the options file {named}, which the archive lacks; pass it with --options")


def load_config(files: Mapping[str, Path]) -> BiLMConfig:
    """The architecture of the network.

    Raises:
        ModelError: It cannot be had.
    """
    return parse_options(read_archived_options(files), files.get("options", files["config.json"]))


def load_bilm(files: Mapping[str, Path]) -> BiLM:
    """Build the network and fill it, strictly, from the trained parameters or, without any, from what training began with.

    Raises:
        ModelError: A file cannot be read, or a tensor is missing, left over or of another shape than the options ask for.
    """
    config = load_config(files)
    everything = read_tensors(files["weights.th"])
    prefix = _trained(everything)
    if prefix is None:
        return allennlp.load_bilm(*_archived_files(files))
    tensors = everything.below(prefix)
    with torch.device("meta"):
        bilm = BiLM(_with_projections(config, tensors))
    bilm.load_state_dict(bilm_parameters(tensors, bilm.config), strict=True, assign=True)
    return bilm.eval().requires_grad_(False)


def find_weights(files: Mapping[str, Path]) -> list[Path]:
    """The file that `load_bilm` takes the parameters from.

    Raises:
        ModelError: A file cannot be read, or neither holds an ELMo.
    """
    holds_others = any(name.endswith(".weight_file") for name in files)  # else there is no choice, and nothing to look for
    if holds_others and _trained(read_tensors(files["weights.th"])) is None:
        return [_archived_files(files)[1]]
    return [files["weights.th"]]


def _trained(everything: StateDict) -> str | None:
    """What the names of the trained ELMo's parameters begin with; None where there is none."""
    prefixes = [name.removesuffix(TABLE) for name in everything.names() if name.endswith(ELMO + TABLE)]
    if len(prefixes) > 1:
        raise ModelError(f"{everything.path}: holds {len(prefixes)} ELMos ({', '.join(prefixes[:3])}); one is wanted")
    return prefixes[0] if prefixes else None


def _with_projections(config: BiLMConfig, tensors: StateDict) -> BiLMConfig:
    return replace(config, project_characters="_token_embedder._projection.weight" in tensors.names(), project_cell=True)


def bilm_parameters(tensors: StateDict, config: BiLMConfig) -> dict[str, torch.Tensor]:
    """Return the parameters of `BiLM` from those of AllenNLP's `_ElmoBiLm`.

    Args:
        tensors: AllenNLP's, by their names in that module (`_token_embedder.*`, `_elmo_lstm.*`).
        config: The architecture of the network.

    Raises:
        ModelError: A tensor is missing, left over or of another shape.
    """
    tensors = tensors.without(PASSED_OVER)
    recurrent, tensors = tensors.below("_elmo_lstm."), tensors.without(re.compile(r"_elmo_lstm\..*"))
    parameters = {"character_encoder.characters.weight": tensors.take(TABLE, 1 + N_CHARACTERS, config.character_dim)}
    parameters |= char_cnn_parameters(
        tensors, config, "character_encoder", "_token_embedder.char_conv_", "_token_embedder._highways._layers."
    )
    if config.project_characters:
        projection = "_token_embedder._projection"
        parameters["character_encoder.projection.weight"] = tensors.take(f"{projection}.weight", config.projection_dim, config.n_filters)
        parameters["character_encoder.projection.bias"] = tensors.take(f"{projection}.bias", config.projection_dim)
    tensors.check_none_left()
    parameters |= lstm_parameters(recurrent, config)
    recurrent.check_none_left()
    return parameters


def _archived_files(files: Mapping[str, Path]) -> tuple[Path, Path]:
    """The options and the weights that training began with."""
    where, _ = _embedder(files["config.json"])
    options, weights = (files.get(f"fta/{where}.{kind}_file") for kind in ("options", "weight"))
    if options is None or weights is None:
        raise ModelError(f"{files['weights.th']}: holds no tensors of an ELMo, and the archive no weight file")
    return options, weights


def _embedder(config: Path) -> tuple[str, str]:
    """Where in a model's config its ELMo stands, and the options file that it names."""
    found = dict(_embedders(read_options(config), ()))
    if len(set(found.values())) != 1:
        number = f"{len(found)} ELMos" if found else "no ELMo token embedder"
        raise ModelError(f"{config}: describes {number} (objects with 'options_file' and 'weight_file'); one is wanted")
    return next(iter(found.items()))


def _embedders(node: object, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and len(place) < MAX_DEPTH:
        if isinstance(node.get("options_file"), str) and "weight_file" in node:
            yield ".".join(place), node["options_file"]
        for key, value in node.items():
            yield from _embedders(value, (*place, key))


def _published_options(n_layers: int, dim: int, projection: int, highways: int) -> dict[str, Any]:
    return {
        "lstm": {
            "use_skip_connections": True,
            "projection_dim": projection,
            "cell_clip": 3,
            "proj_clip": 3,
            "dim": dim,
            "n_layers": n_layers,
        },
        "char_cnn": {
            "activation": "relu",
            "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
            "n_highway": highways,
            "embedding": {"dim": 16},
            "n_characters": 262,
            "max_characters_per_token": 50,
        },
    }
