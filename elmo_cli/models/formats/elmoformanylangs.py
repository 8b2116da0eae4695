"""Format of ELMoForManyLangs (Che et al. 2018): two files of weights, dictionaries and a config.

Its network differs from the published ELMo: the vector of a word is concatenated with that of its
characters; dictionaries.py makes the ids of both. Sources: the project's frontend.py, elmo.py and
modules/.
"""

import posixpath
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elmo_cli.errors import ModelError
from elmo_cli.models.formats.dictionaries import WordCharacterMapper, read_dictionary
from elmo_cli.models.formats.options_json import MAX_DEPTH, MAX_SIZE, Section, read_options
from elmo_cli.models.formats.state_dict import (
    StateDict,
    char_cnn_parameters,
    load_parameters,
    lstm_parameters,
    projection_parameters,
    read_tensors,
)
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.token_encoders import WordCharacterEncoder

LOOKED_FOR = "config.json, token_embedder.pkl and encoder.pkl"
# Files that the sha256 of a model covers
WEIGHTS = ("token_embedder.pkl", "encoder.pkl", "char.dic", "word.dic")
# Architecture of every published model, for those without the file: the project's
# cnn_50_100_512_4096_sample.json.
PUBLISHED = {
    "encoder": {
        "name": "elmo",
        "projection_dim": 512,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 4096,
        "n_layers": 2,
    },
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]],
        "n_highway": 2,
        "word_dim": 100,
        "char_dim": 50,
        "max_characters_per_token": 50,
    },
}
PUBLISHED_NAMES = ("cnn_50_100_512_4096_sample.json", "cnn_0_100_512_4096_sample.json")


def find(names: Collection[str]) -> dict[str, str] | None:
    """Return the files of a model of ELMoForManyLangs among file names, or None.

    Args:
        names: Paths relative to the folder or archive, with /.

    Returns:
        Path of each file by its role in the format, or None if a required file is missing.
    """
    if not {"config.json", "token_embedder.pkl", "encoder.pkl"} <= set(names):
        return None
    wanted = (
        name
        for name in names
        if name in WEIGHTS or (name.endswith(".json") and name.count("/") <= 1)
    )
    return {name: name for name in wanted}


def read_architecture(files: Mapping[str, Path]) -> Mapping[str, Any]:
    """Read the architecture that config.json refers to.

    It is the file of that path or name in the model's folder, or the published architecture of that
    name. A path outside the model's folder is not followed: it is of the machine that made the
    model.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The architecture, in the notation of the project.

    Raises:
        ModelError: The file is not found.
    """
    config = files["config.json"]
    named = read_options(config).get("config_path")
    if not isinstance(named, str):
        raise ModelError(f"{config}: lacks 'config_path', the name of the model's architecture")
    base = posixpath.basename(named.replace("\\", "/"))
    for found in (files.get(posixpath.normpath(named)), files.get(base)):
        if found is not None:
            return read_options(found)
    if base in PUBLISHED_NAMES:
        return PUBLISHED
    raise ModelError(
        f"{config}: refers to the architecture {named}, which is missing; put {base} beside "
        "config.json"
    )


def load_config(files: Mapping[str, Path]) -> BiLMConfig:
    """Load the architecture of the network.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The architecture.

    Raises:
        ModelError: The architecture is missing, lacks a key, or is of a kind that no published
            model has.
    """
    options, path = read_architecture(files), files["config.json"]
    encoder, tokens = Section(options, "encoder", path), Section(options, "token_embedder", path)
    for section, known in [(encoder, "elmo"), (tokens, "cnn")]:
        if str(section.required("name")).lower() != known:
            raise ModelError(
                f"{path}: {section.name}.name is {section.values['name']!r}; only {known!r} is "
                "supported"
            )
    activation = tokens.values.get("activation", "relu")
    if activation not in ("relu", "tanh"):
        raise ModelError(
            f"{path}: token_embedder.activation is {activation!r}; it takes relu or tanh"
        )
    character_dim = tokens.integer("char_dim", at_least=0)
    config = BiLMConfig(
        filters=tokens.filters() if character_dim else (),
        character_dim=character_dim,
        n_highway=tokens.integer("n_highway", at_least=0, at_most=MAX_DEPTH)
        if character_dim
        else 0,
        activation=activation,
        max_characters=tokens.integer("max_characters_per_token", at_least=3),
        projection_dim=encoder.integer("projection_dim"),
        lstm_dim=encoder.integer("dim"),
        n_layers=encoder.integer("n_layers", at_most=MAX_DEPTH),
        cell_clip=encoder.clip("cell_clip"),
        projection_clip=encoder.clip("proj_clip"),
        use_skip_connections=True,  # in every model of the project
    )
    if config.n_filters > MAX_SIZE:
        raise ModelError(
            f"{path}: token_embedder.filters has more than {MAX_SIZE} filters in total"
        )
    if config.filters and config.max_characters < max(width for width, _ in config.filters):
        raise ModelError(
            f"{path}: a filter of token_embedder.filters is wider than max_characters_per_token, "
            f"{config.max_characters}"
        )
    if not character_dim and not tokens.integer("word_dim", at_least=0):
        raise ModelError(f"{path}: word_dim and char_dim are both 0; a token has no vector")
    return config


def load_bilm(files: Mapping[str, Path]) -> BiLM:
    """Load the network.

    Args:
        files: Path of each file by its role in the format.

    Returns:
        The network, in evaluation mode, without gradients.

    Raises:
        ModelError: A file cannot be read, or a tensor is missing, unexpected or of another shape
            than the architecture requires.
    """
    config = load_config(files)
    word_dim = Section(read_architecture(files), "token_embedder", files["config.json"]).integer(
        "word_dim", at_least=0
    )
    tensors = read_tensors(files["token_embedder.pkl"])
    tables = {
        "words": ("word_emb_layer.embedding.weight", word_dim),
        "characters": ("char_emb_layer.embedding.weight", config.character_dim),
    }
    sizes = {kind: tensors.shape(name)[0] if dim else 0 for kind, (name, dim) in tables.items()}
    words = (
        read_dictionary(files, "word.dic", sizes["words"], ("<oov>", "<pad>")) if word_dim else {}
    )
    characters = (
        read_dictionary(
            files,
            "char.dic",
            sizes["characters"],
            ("<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>"),
        )
        if config.character_dim
        else {}
    )
    mapper = WordCharacterMapper(words, characters, config.max_characters)
    with torch.device("meta"):
        encoder = WordCharacterEncoder(
            config,
            n_words=sizes["words"],
            word_dim=word_dim,
            n_characters=sizes["characters"],
            padding=characters.get("<pad>", 0),
        )
        bilm = BiLM(config, encoder, mapper)
    parameters = _token_parameters(tensors, config, word_dim, sizes)
    tensors.check_all_used()
    return load_parameters(
        bilm, parameters | lstm_parameters(read_tensors(files["encoder.pkl"]), config)
    )


def _token_parameters(
    tensors: StateDict, config: BiLMConfig, word_dim: int, sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    parameters: dict[str, Tensor] = {}
    if word_dim:
        parameters["character_encoder.words.weight"] = tensors.take(
            "word_emb_layer.embedding.weight", sizes["words"], word_dim
        )
    if config.character_dim:
        table = tensors.take(
            "char_emb_layer.embedding.weight", sizes["characters"], config.character_dim
        )
        parameters["character_encoder.spelling.characters.weight"] = table
        parameters |= char_cnn_parameters(
            tensors, config, "character_encoder.spelling", "convolutions.", "highways._layers."
        )
    return parameters | projection_parameters(
        tensors, config, "projection", word_dim + config.n_filters
    )
