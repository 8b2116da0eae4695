"""Corpora whose labels depend on their words alone, for `elmo fit` and `elmo predict`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from elmo_cli.cli.main import main

PEOPLE, PLACES, OTHERS = ("Ada", "Alan", "Grace"), ("Rome", "Oslo"), ("x", "y", "zz", "w1", "w2")
KINDS = {"person": PEOPLE, "place": PLACES, "other": ("w1", "w2")}
Tagged = list[tuple[list[str], list[str]]]


def run(*args: object) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def make_tagged(n_sentences: int, seed: int) -> Tagged:
    """Sentences with spans of people (two words at times) and of places, in IOB2."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(n_sentences):
        tokens, tags = [], []
        for _ in range(random.integers(2, 6)):
            kind = int(random.integers(0, 4))
            words = random.choice(
                (PEOPLE, PLACES, OTHERS, OTHERS)[kind], 1 + int(kind == 0 and random.integers(2))
            )
            name = ("PER", "LOC")[kind] if kind < 2 else None
            tokens += [*map(str, words), "x"]
            tags += [f"{'BI'[i > 0]}-{name}" if name else "O" for i in range(len(words))] + ["O"]
        found.append((tokens, tags))
    return found


def make_texts(n_texts: int, seed: int) -> list[tuple[str, str]]:
    """Texts with their label."""
    random = np.random.default_rng(seed)
    kinds = [str(random.choice(list(KINDS))) for _ in range(n_texts)]
    return [
        (" ".join(map(str, ["x", *random.choice(KINDS[kind], random.integers(1, 5))])), kind)
        for kind in kinds
    ]


def write_conll(path: Path, corpus: Tagged) -> Path:
    """Write a column file."""
    blocks = (
        "".join(f"{token} {tag}\n" for token, tag in zip(*sentence, strict=True))
        for sentence in corpus
    )
    path.write_text("\n".join(blocks) + "\n")
    return path


def write_tsv(path: Path, texts: Sequence[tuple[str, str]]) -> Path:
    """Write a table."""
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in texts))
    return path
