"""Perplexity of n-grams on held-out text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.manual.figures.figure import Figure, say
from tests.manual.figures.ngrams import (
    EOS,
    ORDER,
    UNKNOWN,
    Text,
    add_one_unigram,
    interpolated_kneser_ney,
    perplexity,
    read_ids,
    read_vocabulary,
)

Doubles = npt.NDArray[np.float64]


def measure_perplexity(
    shared: Path, vocabulary_file: Path, train_files: Sequence[Path], limit: int | None
) -> Figure:
    """Perplexity of the held-out text, every token and </S> predicted, words outside the vocabulary
    as <UNK>.
    """
    vocabulary = read_vocabulary(vocabulary_file)
    files = sorted((shared / "corpus" / "heldout").glob("*.txt.zst"))
    train, test = (read_ids(paths, vocabulary, limit) for paths in (train_files, files))
    say(f"perplexity: {len(train.predicted()):,} predictions to count")
    unigram = add_one_unigram(train, test, len(vocabulary) - 1)
    kneser_ney, discounts = interpolated_kneser_ney(train, test, len(vocabulary) - 1)
    against = {
        "unigram (add one)": perplexity(unigram),
        f"modified Kneser-Ney {ORDER}-gram": perplexity(kneser_ney),
    }
    details = {
        "vocabulary": len(vocabulary),
        "train_predictions": len(train.predicted()),
        "heldout_predictions": len(test.predicted()),
        "heldout_unknown": float(
            np.mean(
                test.ids[(test.place > 0) & (test.ids != vocabulary[EOS])] == vocabulary[UNKNOWN]
            )
        ),
        "discounts": discounts,
        "kneser_ney_by_file": by_file(kneser_ney, test, files),
        "unigram_by_file": by_file(unigram, test, files),
    }
    return Figure({}, against, details)


def by_file(probabilities: Doubles, text: Text, files: Sequence[Path]) -> dict[str, float]:
    """Perplexity of each file alone."""
    parts = np.split(probabilities, np.searchsorted(text.predicted(), text.file_starts[1:]))
    return {
        path.name.split(".")[0]: perplexity(part) for path, part in zip(files, parts, strict=True)
    }
