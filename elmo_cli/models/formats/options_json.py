"""Options files of bilm-tf and AllenNLP (`options.json`): the architecture of a biLM, validated."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elmo_cli.errors import ModelError
from elmo_cli.nn.bilm import BiLMConfig
from elmo_cli.nn.characters import DEFAULT_MAX_CHARACTERS
from elmo_cli.nn.token_encoders import ACTIVATIONS

# Limits above which a file is damaged or malicious
MAX_BYTES = 1 << 20  # of the file
MAX_SIZE, MAX_DEPTH, MAX_WIDTHS, MAX_CLIP = 1 << 20, 64, 1 << 10, 1e30


def load_config(options: Path) -> BiLMConfig:
    """Read the architecture from an options file.

    Args:
        options: Path of the file.

    Returns:
        The architecture.

    Raises:
        ModelError: The file is missing, is not JSON, lacks a key, or describes a network that
            cannot be built.
    """
    return parse_options(read_options(options), options)


def read_options(path: Path) -> Mapping[str, Any]:
    """Read the JSON object of an options file.

    Args:
        path: Path of the file.

    Returns:
        The object.

    Raises:
        ModelError: The file is missing or not readable, or is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ModelError(
                f"{path}: is larger than {MAX_BYTES:,} bytes, the limit of an options file; pass "
                "the options.json of the model"
            )
        options = json.loads(text)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such options file; check its path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a JSON file of options ({error})") from None
    if not isinstance(options, dict):
        raise ModelError(
            f"{path}: contains a JSON {type(options).__name__}; an options file is an object with "
            "'lstm' and 'char_cnn'"
        )
    return options


def parse_options(options: Mapping[str, Any], path: Path) -> BiLMConfig:
    """Convert options of bilm-tf to an architecture; those of training alone are ignored.

    Args:
        options: The options, in the layout of `options.json`.
        path: Path of the file, for messages.

    Returns:
        The architecture.

    Raises:
        ModelError: A key is missing, or its value is not valid.
    """
    if "char_cnn" not in options:
        raise ModelError(
            f"{path}: lacks 'char_cnn'; a model without a character CNN (word inputs) cannot be "
            "used"
        )
    lstm, characters = Section(options, "lstm", path), Section(options, "char_cnn", path)
    # 261 in training, 262 with the masking row
    if characters.optional_integer("n_characters", 262) not in (261, 262):
        raise ModelError(
            f"{path}: char_cnn.n_characters is {characters.values['n_characters']}; the format's "
            "table has 261 or 262 rows"
        )
    activation = characters.required("activation")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ModelError(
            f"{path}: char_cnn.activation is {activation!r}; it takes {' or '.join(ACTIVATIONS)}"
        )
    projection_dim, lstm_dim = lstm.integer("projection_dim"), lstm.integer("dim")
    filters = characters.filters()
    if sum(number for _, number in filters) > MAX_SIZE:
        raise ModelError(f"{path}: char_cnn.filters has more than {MAX_SIZE} filters in total")
    max_characters = characters.optional_integer(
        "max_characters_per_token", DEFAULT_MAX_CHARACTERS, at_least=3
    )
    if max_characters < max(width for width, _ in filters):
        raise ModelError(
            f"{path}: a filter of char_cnn.filters is wider than max_characters_per_token, "
            f"{max_characters}"
        )
    return BiLMConfig(
        filters=filters,
        character_dim=Section(characters.values, "embedding", path, "char_cnn.").integer("dim"),
        n_highway=characters.optional_integer("n_highway", 0, at_least=0, at_most=MAX_DEPTH),
        activation=activation,
        max_characters=max_characters,
        projection_dim=projection_dim,
        lstm_dim=lstm_dim,
        n_layers=lstm.integer("n_layers", at_most=MAX_DEPTH),
        cell_clip=lstm.clip("cell_clip"),
        projection_clip=lstm.clip("proj_clip"),
        use_skip_connections=lstm.flag("use_skip_connections"),
        project_characters=sum(number for _, number in filters) != projection_dim,
        project_cell=projection_dim != lstm_dim,
    )


def to_options(config: BiLMConfig) -> dict[str, Any]:
    """Return the options of an architecture, with the keys that `parse_options` reads.

    Args:
        config: The architecture.

    Returns:
        The options, in the layout of `options.json`.
    """
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
    """One object of an options file, whose values are validated when they are read.

    Args:
        options: Options that contain the object.
        name: Key of the object.
        path: Path of the file, for messages.
        prefix: Prefix of the key, for messages.

    Raises:
        ModelError: The object is missing.
    """

    def __init__(self, options: Mapping[str, Any], name: str, path: Path, prefix: str = "") -> None:
        self.path = path
        self.name = prefix + name
        values = options.get(name)
        if not isinstance(values, dict):
            raise ModelError(f"{path}: lacks the object '{self.name}'")
        self.values: dict[str, Any] = values

    def required(self, key: str) -> Any:  # noqa: ANN401  # a JSON value
        """Return a value that must exist.

        Raises:
            ModelError: The key is missing.
        """
        if key not in self.values:
            raise ModelError(f"{self.path}: lacks '{self.name}.{key}'")
        return self.values[key]

    def integer(self, key: str, at_least: int = 1, at_most: int = MAX_SIZE) -> int:
        """Return an integer between `at_least` and `at_most`.

        Raises:
            ModelError: The key is missing, or its value is not such an integer.
        """
        value = self.required(key)
        if not _is_integer(value) or not at_least <= value <= at_most:
            raise ModelError(
                f"{self.path}: {self.name}.{key} is {value!r}; it takes an integer from {at_least} "
                f"to {at_most}"
            )
        return int(value)

    def optional_integer(
        self, key: str, default: int, at_least: int = 1, at_most: int = MAX_SIZE
    ) -> int:
        """Return an integer as `integer` does, or `default` if the key is missing or null."""
        return default if self.values.get(key) is None else self.integer(key, at_least, at_most)

    def flag(self, key: str) -> bool:
        """Return a boolean; a missing key is False."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise ModelError(f"{self.path}: {self.name}.{key} is {value!r}; it takes true or false")
        return value

    def clip(self, key: str) -> float | None:
        """Return a limit of absolute values, or None for no limit."""
        value = self.values.get(key)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value <= MAX_CLIP
        ):
            raise ModelError(
                f"{self.path}: {self.name}.{key} is {value!r}; it takes a positive number, or null "
                "for no clipping"
            )
        return float(value) or None  # as in AllenNLP, 0 disables clipping

    def filters(self) -> tuple[tuple[int, int], ...]:
        """Return the convolutions, (width, number of filters) each."""
        value = self.required("filters")
        pairs = value if isinstance(value, list) else []
        if not pairs or not all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(_is_integer(n) and 0 < n <= MAX_SIZE for n in pair)
            for pair in pairs
        ):
            raise ModelError(
                f"{self.path}: {self.name}.filters is not a list of [width, number] pairs of "
                f"integers from 1 to {MAX_SIZE}"
            )
        if len(pairs) > MAX_WIDTHS:
            raise ModelError(
                f"{self.path}: {self.name}.filters lists {len(pairs):,} convolutions; it takes at "
                f"most {MAX_WIDTHS:,}"
            )
        return tuple((width, number) for width, number in pairs)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
