"""bilm-tf's and AllenNLP's `options.json`: the architecture of a biLM, every value checked as it is taken."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elmo_cli.errors import ModelError
from elmo_cli.nn.bilm import ACTIVATIONS, BiLMConfig
from elmo_cli.nn.characters import DEFAULT_MAX_CHARACTERS

MAX_BYTES = 1 << 20  # of the file; this and the others: above, it is nonsense, or hostile
MAX_SIZE, MAX_DEPTH, MAX_WIDTHS, MAX_CLIP = 1 << 20, 64, 1 << 10, 1e30


def load_config(options: Path) -> BiLMConfig:
    """Read the architecture from an options file.

    Raises:
        ModelError: The file is missing, is no JSON, lacks a key, or describes a network that cannot be built.
    """
    return parse_options(read_options(options), options)


def read_options(path: Path) -> Mapping[str, Any]:
    """The JSON object in an options file.

    Raises:
        ModelError: The file is missing, unreadable, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ModelError(f"{path}: is larger than {MAX_BYTES:,} bytes, which is no file of options; name the model's own")
        options = json.loads(text)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such options file; check its path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a JSON file of options ({error})") from None
    if not isinstance(options, dict):
        raise ModelError(f"{path}: holds a JSON {type(options).__name__}; an options file is an object with 'lstm' and 'char_cnn'")
    return options


def parse_options(options: Mapping[str, Any], path: Path) -> BiLMConfig:
    """The architecture that bilm-tf's options describe; what concerns training alone is passed over.

    Raises:
        ModelError: A key is missing or its value makes no network; the message names `path`.
    """
    if "char_cnn" not in options:
        raise ModelError(f"{path}: lacks 'char_cnn'; a model without a character CNN (word inputs) cannot be used")
    lstm, characters = Section(options, "lstm", path), Section(options, "char_cnn", path)
    if characters.optional_whole("n_characters", 262) not in (261, 262):  # 261 in training, 262 with the masking row
        raise ModelError(f"{path}: char_cnn.n_characters is {characters.values['n_characters']}; the format's table has 261 or 262 rows")
    activation = characters.required("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ModelError(f"{path}: char_cnn.activation is {activation!r}; known are {' and '.join(ACTIVATIONS)}")
    projection_dim, lstm_dim = lstm.whole("projection_dim"), lstm.whole("dim")
    filters = characters.filters()
    if sum(number for _, number in filters) > MAX_SIZE:
        raise ModelError(f"{path}: char_cnn.filters has more than {MAX_SIZE} filters in all")
    max_characters = characters.optional_whole("max_characters_per_token", DEFAULT_MAX_CHARACTERS, at_least=3)
    if max_characters < max(width for width, _ in filters):
        raise ModelError(f"{path}: a filter of char_cnn.filters is wider than max_characters_per_token, {max_characters}")
    return BiLMConfig(
        filters=filters,
        character_dim=Section(characters.values, "embedding", path, "char_cnn.").whole("dim"),
        n_highway=characters.optional_whole("n_highway", 0, at_least=0, at_most=MAX_DEPTH),
        activation=activation,
        max_characters=max_characters,
        projection_dim=projection_dim,
        lstm_dim=lstm_dim,
        n_layers=lstm.whole("n_layers", at_most=MAX_DEPTH),
        cell_clip=lstm.clip("cell_clip"),
        projection_clip=lstm.clip("proj_clip"),
        use_skip_connections=lstm.flag("use_skip_connections"),
        project_characters=sum(number for _, number in filters) != projection_dim,
        project_cell=projection_dim != lstm_dim,
    )


def to_options(config: BiLMConfig) -> dict[str, Any]:
    """The options that describe this architecture: what `parse_options` reads, and no more."""
    return {
        "lstm": {
            "use_skip_connections": config.use_skip_connections,
            "projection_dim": config.projection_dim,
            "cell_clip": config.cell_clip,
            "proj_clip": config.projection_clip,
            "dim": config.lstm_dim,
            "n_layers": config.n_layers,
        },
        "char_cnn": {
            "activation": config.activation,
            "filters": [list(filter_) for filter_ in config.filters],
            "n_highway": config.n_highway,
            "embedding": {"dim": config.character_dim},
            "n_characters": 262,
            "max_characters_per_token": config.max_characters,
        },
    }


class Section:
    """One object of an options file, whose values are checked as they are taken: a ModelError names the file and the key."""

    def __init__(self, options: Mapping[str, Any], name: str, path: Path, prefix: str = "") -> None:
        self.path = path
        self.name = prefix + name
        values = options.get(name)
        if not isinstance(values, dict):
            raise ModelError(f"{path}: lacks the object '{self.name}'")
        self.values: dict[str, Any] = values

    def required(self, key: str) -> Any:  # noqa: ANN401  # a JSON value
        """A value that must be there."""
        if key not in self.values:
            raise ModelError(f"{self.path}: lacks '{self.name}.{key}'")
        return self.values[key]

    def whole(self, key: str, at_least: int = 1, at_most: int = MAX_SIZE) -> int:
        """A whole number within these limits."""
        value = self.required(key)
        if not _is_whole(value) or not at_least <= value <= at_most:
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes a whole number from {at_least} to {at_most}")
        return int(value)

    def optional_whole(self, key: str, default: int, at_least: int = 1, at_most: int = MAX_SIZE) -> int:
        """The same; `default` where it is absent or null."""
        return default if self.values.get(key) is None else self.whole(key, at_least, at_most)

    def flag(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes true or false")
        return value

    def clip(self, key: str) -> float | None:
        """A limit of absolute values, or None for no limit."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_CLIP:
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes a positive number, or null for no clipping")
        return float(value) or None  # AllenNLP does not clip at 0 either

    def filters(self) -> tuple[tuple[int, int], ...]:
        """The convolutions: (width, number of filters) each."""
        value = self.required("filters")
        pairs = value if isinstance(value, list) else []
        if not pairs or not all(
            isinstance(pair, list) and len(pair) == 2 and all(_is_whole(n) and 0 < n <= MAX_SIZE for n in pair) for pair in pairs
        ):
            raise ModelError(
                f"{self.path}: {self.name}.filters is not a list of [width, number] pairs of whole numbers from 1 to {MAX_SIZE}"
            )
        if len(pairs) > MAX_WIDTHS:
            raise ModelError(f"{self.path}: {self.name}.filters lists {len(pairs):,} convolutions; it takes {MAX_WIDTHS:,} at most")
        return tuple((width, number) for width, number in pairs)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
