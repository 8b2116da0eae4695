"""The example of many ELMo tutorials: "bank" by a river, and "bank" with money."""

from itertools import islice
from pathlib import Path

import numpy as np

from elmo_cli.readers.text import read_text
from tests.conftest import SAMPLE
from tests.manual.figures.figure import Embed, Figure, Scores, by_layer, unit

BANKS = {"money-money": (0, 2), "money-river (1, 2)": (0, 1), "money-river (3, 2)": (2, 1)}


def measure_bank(embed: Embed, _shared: Path, _limit: int | None) -> Figure:
    """Cosines of "bank" in the sample's first three sentences: money, river, money."""
    sentences = [sentence.tokens for sentence in islice(read_text(SAMPLE), 3)]
    vectors = np.stack(
        [
            layers[:, tokens.index("bank")]
            for tokens, layers in zip(sentences, embed(sentences), strict=True)
        ],
        axis=1,
    )
    rows: dict[str, Scores] = {f'"bank", {kinds}': {} for kinds in BANKS}
    for name, banks in by_layer(vectors):
        for kinds, (one, other) in BANKS.items():
            rows[f'"bank", {kinds}'][name] = float(unit(banks[one]) @ unit(banks[other]))
    return Figure(rows, {}, {"sentences": [" ".join(tokens) for tokens in sentences]})
