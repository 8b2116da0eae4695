"""AllenNLP archives (`model.tar.gz`, or its unpacked folder) of models with an ELMo embedder.

`weights.th` contains the parameters of the complete model, with ELMo's under the name of the module
that embeds them. Archives of AllenNLP before 1.0 also contain the two files that ELMo was
initialized from, under `fta/`; later archives contain only the path of the options. Sources:
allennlp/models/archival.py and modules/elmo.py.
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
from elmo_cli.models.formats.state_dict import (
    StateDict,
    char_cnn_parameters,
    load_parameters,
    lstm_parameters,
    projection_parameters,
    read_tensors,
)
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.characters import N_CHARACTERS

LOOKED_FOR = "config.json and weights.th"
ELMO = "_elmo_lstm."  # name of the module inside its embedder
TABLE = "_token_embedder._char_embedding_weights"
# Tensors without trained values: a cache of word vectors, and constants
IGNORED = re.compile(
    r"_word_embedding\.weight|_token_embedder\._(beginning|end)_of_sentence_characters"
)
# Names of published options files, which give every value that differs between these models
PUBLISHED = re.compile(r"elmo_(\d)x(\d+)_(\d+)_2048cnn_(\d)xhighway[^/]*_options\.json")


def find(names: Collection[str]) -> dict[str, str] | None:
    """Return the files of an AllenNLP archive among file names, or None.

    Args:
        names: Paths relative to the folder or archive, with /.

    Returns:
        Path of each file by its role in the format, or None if a required file is missing.
    """
    if not {"config.json", "weights.th"} <= set(names):
        return None
    return {
        name: name
        for name in names
        if name in ("config.json", "weights.th") or re.fullmatch(r"fta/[^/]+_file", name)
    }


def read_archived_options(files: Mapping[str, Path]) -> Mapping[str, Any]:
    """Read the options of the ELMo module in an archive.

    They come from the options file that was passed beside the archive, from the archive, or from
    the name of a published model in its config.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The options, in the layout of `options.json`.

    Raises:
        ModelError: The archive has no ELMo module or several, or its options are not available.
    """
    if "options" in files:
        return read_options(files["options"])
    module, named = _elmo_module(files["config.json"])
    if f"fta/{module}.options_file" in files:
        return read_options(files[f"fta/{module}.options_file"])
    published = PUBLISHED.search(named)
    if published:
        return _published_options(*map(int, published.groups()))
    raise ModelError(
        f"{files['config.json']}: refers to the options file {named}, which is not in the archive; "
        "pass it with --options"
    )


def load_config(files: Mapping[str, Path]) -> BiLMConfig:
    """Load the architecture of the network.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The architecture.

    Raises:
        ModelError: The options cannot be found or are not valid.
    """
    return parse_options(read_archived_options(files), files.get("options", files["config.json"]))


def load_bilm(files: Mapping[str, Path]) -> BiLM:
    """Load the network from the trained parameters, or from those that ELMo was initialized from.

    The second applies to archives whose `weights.th` has no tensors of ELMo.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The network, in evaluation mode, without gradients.

    Raises:
        ModelError: A file cannot be read, or a tensor is missing, unexpected or of another shape
            than the options require.
    """
    config = load_config(files)
    state = read_tensors(files["weights.th"])
    prefix = _elmo_prefix(state)
    if prefix is None:
        return allennlp.load_bilm(*_initial_files(files))
    tensors = state.below(prefix)
    with torch.device("meta"):
        bilm = BiLM(_with_projections(config, tensors))
    return load_parameters(bilm, bilm_parameters(tensors, bilm.config))


def find_weights(files: Mapping[str, Path]) -> list[Path]:
    """Return the file that `load_bilm` reads the parameters from.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        A list of one path.

    Raises:
        ModelError: A file cannot be read, or no file contains an ELMo module.
    """
    # Without an initial weight file, weights.th is the only candidate and is not read here
    has_initial_weights = any(name.endswith(".weight_file") for name in files)
    if has_initial_weights and _elmo_prefix(read_tensors(files["weights.th"])) is None:
        return [_initial_files(files)[1]]
    return [files["weights.th"]]


def _elmo_prefix(state: StateDict) -> str | None:
    """Return the prefix of the parameters of the trained ELMo module, or None if there is none."""
    prefixes = [name.removesuffix(TABLE) for name in state.names() if name.endswith(ELMO + TABLE)]
    if len(prefixes) > 1:
        raise ModelError(
            f"{state.path}: contains {len(prefixes)} ELMo modules ({', '.join(prefixes[:3])}); "
            "pass a model with one"
        )
    return prefixes[0] if prefixes else None


def _with_projections(config: BiLMConfig, tensors: StateDict) -> BiLMConfig:
    return replace(
        config,
        project_characters="_token_embedder._projection.weight" in tensors.names(),
        project_cell=True,
    )


def bilm_parameters(tensors: StateDict, config: BiLMConfig) -> dict[str, torch.Tensor]:
    """Convert the parameters of AllenNLP's `_ElmoBiLm` to those of `BiLM`.

    Args:
        tensors: Parameters of AllenNLP's module, by their names in it (`_token_embedder.*`,
            `_elmo_lstm.*`).
        config: Architecture of the network.

    Returns:
        Parameters of `BiLM` by name, float32.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape.
    """
    tensors = tensors.without(IGNORED)
    recurrent, tensors = (
        tensors.below("_elmo_lstm."),
        tensors.without(re.compile(r"_elmo_lstm\..*")),
    )
    parameters = {
        "character_encoder.characters.weight": tensors.take(
            TABLE, 1 + N_CHARACTERS, config.character_dim
        )
    }
    parameters |= char_cnn_parameters(
        tensors,
        config,
        "character_encoder",
        "_token_embedder.char_conv_",
        "_token_embedder._highways._layers.",
    )
    if config.project_characters:
        parameters |= projection_parameters(
            tensors, config, "_token_embedder._projection", config.n_filters
        )
    tensors.check_all_used()
    return parameters | lstm_parameters(recurrent, config)


def _initial_files(files: Mapping[str, Path]) -> tuple[Path, Path]:
    """Return the options and the weights that ELMo was initialized from."""
    module, _ = _elmo_module(files["config.json"])
    options, weights = (files.get(f"fta/{module}.{kind}_file") for kind in ("options", "weight"))
    if options is None or weights is None:
        raise ModelError(
            f"{files['weights.th']}: has no tensors of ELMo, and the archive has no weight file"
        )
    return options, weights


def _elmo_module(config: Path) -> tuple[str, str]:
    """Return the path of the ELMo module in a model's config, and the options file it names."""
    found = dict(_elmo_modules(read_options(config), ()))
    if len(set(found.values())) != 1:
        number = f"{len(found)} ELMo modules" if found else "no ELMo token embedder"
        raise ModelError(
            f"{config}: describes {number} (objects with 'options_file' and 'weight_file'); pass a "
            "model with one"
        )
    return next(iter(found.items()))


def _elmo_modules(node: object, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and len(place) < MAX_DEPTH:
        if isinstance(node.get("options_file"), str) and "weight_file" in node:
            yield ".".join(place), node["options_file"]
        for key, value in node.items():
            yield from _elmo_modules(value, (*place, key))


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
