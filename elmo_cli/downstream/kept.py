"""Labels from columns that `elmo embed --keep` has copied to a feature file."""

from collections.abc import Callable

from elmo_cli.errors import FeaturesError
from elmo_cli.features.reader import Features
from elmo_cli.types import Sentence

Label = Callable[[Sentence, int], str | None]


def kept_columns(features: Features) -> list[str]:
    """Return the names of the input columns that a feature file contains."""
    return [] if features.description.kept is None else list(features.description.kept.names)


def label_of(features: Features, column: str | None) -> Label:
    """Return a function from a sentence and a position in it to a label.

    A value of the column that is a list has a label for each token; any other value is the label of
    the sentence.

    Args:
        features: An open feature file.
        column: Name of a kept column; without one, no token has a label.

    Raises:
        FeaturesError: The file has no such column; the function itself, for a list of another
            length than the sentence.
    """
    if column is None:
        return lambda _sentence, _position: None
    columns = kept_columns(features)
    if column not in columns:
        there = f"there are {', '.join(columns)}" if columns else "it carries none"
        remedy = (
            f"embed with --keep {column} into .parquet, .arrow or .jsonl"
            if not columns
            else "choose one of them"
        )
        raise FeaturesError(f"{features.path}: has no column {column!r}, {there}; {remedy}")
    place = columns.index(column)

    def label(sentence: Sentence, position: int) -> str | None:
        value = sentence.kept[place]
        if isinstance(value, list):
            if len(value) != len(sentence.tokens):
                raise FeaturesError(
                    f"{features.path}: sentence {sentence.key}: column {column!r} has {len(value)} "
                    "labels for "
                    f"{len(sentence.tokens)} tokens; give one for each token"
                )
            value = value[position]
        return None if value is None else str(value)

    return label


def default_label_column(features: Features) -> str | None:
    """Return the column named "label", or the only one there is, or None."""
    columns = kept_columns(features)
    return "label" if "label" in columns else columns[0] if len(columns) == 1 else None
