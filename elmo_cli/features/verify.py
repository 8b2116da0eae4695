"""Verification of a feature file against its checksums, its corpus and its model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elmo_cli.errors import FeaturesError
from elmo_cli.features.checksums import Summed, find_wrong
from elmo_cli.features.formats.detection import find_problems
from elmo_cli.features.protocols import NO_CHECKS, Checks
from elmo_cli.features.reader import Features, open_features
from elmo_cli.features.spec import EQUAL_SENTENCES
from elmo_cli.types import Sentence

if TYPE_CHECKING:
    from elmo_cli.readers.corpus import Corpus

SHOWN = 10  # problems that are listed one by one
SAMPLE = 20  # sentences that are recomputed
METADATA = ("elmo_version", "model", "model_sha256", "options", "start_state")


@dataclass
class VerifyReport:
    """Result of a verification.

    Attributes:
        checked: One line for each check.
        problems: Descriptions of the first problems, at most SHOWN.
        n_problems: Number of all problems.
        sentences: Number of sentences that were read.
        tokens: Number of tokens that were read.
    """

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    n_problems: int = 0
    sentences: int = 0
    tokens: int = 0

    def add(self, problem: str) -> None:
        """Add a problem."""
        self.n_problems += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)


CheckVectors = Callable[[Features, VerifyReport, dict[int, list[str]]], None]


def verify(
    path: Path, corpus: "Corpus | None" = None, check_vectors: CheckVectors | None = None
) -> VerifyReport:
    """Check a features file: structure, finite numbers, checksums and metadata.

    Args:
        path: A features file, or a folder of Parquet shards.
        corpus: The corpus whose tokens, numbers and ids the file should contain.
        check_vectors: Recomputes a sample of the sentences (index to tokens) and adds what differs
            to the report; `inference.recompute.check_vectors` does so with a model.

    Returns:
        The checks that were made and the problems that were found.

    Raises:
        ElmoError: The file cannot be opened, or the corpus or the model cannot be read.
    """
    verdict = VerifyReport()
    with open_features(path) as features:
        try:
            _check_arrays(features, verdict)
            _check_metadata(features, verdict)
            sample = _tokens_of_sample(features) if check_vectors else {}
            if corpus:
                _check_tokens(features, corpus, verdict, sample)
            if check_vectors:
                check_vectors(features, verdict, sample)
        except FeaturesError as damage:
            verdict.add(str(damage).removeprefix(f"{path}: "))
    return verdict


def _check_arrays(features: Features, verdict: VerifyReport) -> None:
    checks = features.checks()
    wrong = list(find_wrong(_read(features, checks, verdict), checks.expected or ()))
    verdict.checked.append(
        f"structure  {features.layout}, {verdict.sentences:,} sentences, {verdict.tokens:,} "
        "tokens, all read"
    )
    if verdict.sentences != len(features):
        verdict.add(f"contains {verdict.sentences:,} sentences, and declares {len(features):,}")
    verdict.checked.append(
        "numbers    no NaN, nothing infinite" if not verdict.n_problems else "numbers    see below"
    )
    for missing in find_problems(features.layout, features.path):
        verdict.add(missing)
    for first, end in wrong if checks.expected is not None else ():
        verdict.add(
            f"sentences {first} to {end - 1}, counted in the file's order: their content does not "
            "match its checksum"
        )
    if checks is NO_CHECKS and "elmo_version" in features.metadata:
        verdict.add("its checksums are missing")
    verdict.checked.append(f"checksums  {checks.words}")


def _read(features: Features, checks: Checks, verdict: VerifyReport) -> Iterator[Summed]:
    last = -1
    for sentences, arrays in features.windows():
        for sentence, array in zip(sentences, arrays, strict=True):
            if not np.isfinite(array).all():
                verdict.add(f"sentence {sentence.key}: contains NaN or infinite values")
            if checks is not NO_CHECKS and int(sentence.key) <= last:
                verdict.add(f"sentence {sentence.key}: stands after sentence {last}")
            last = int(sentence.key)
            yield checks.told(verdict.sentences, sentence), array
            verdict.sentences += 1
            verdict.tokens += len(sentence.tokens)


def _check_metadata(features: Features, verdict: VerifyReport) -> None:
    told = features.metadata
    if missing := [name for name in METADATA if name not in told]:
        verdict.checked.append(
            f"metadata   lacks {', '.join(missing)}: made by another program, or a layout without "
            "any"
        )
    else:
        verdict.checked.append(
            f"metadata   made by elmo {told['elmo_version']} with {told['model']}, sha256 "
            f"{told['model_sha256'][:16]}..."
        )
    if features.description.intact is False or (
        features.description.intact is None and "elmo_version" in told
    ):
        verdict.add("its metadata do not match their checksum, or have none")


def _tokens_of_sample(features: Features) -> dict[int, list[str]]:
    """Return the tokens of a sample of sentences by index; empty strings if the file has none."""
    chosen = np.linspace(0, len(features) - 1, min(SAMPLE, len(features))).astype(int)
    return {index: features.sentence(index).tokens for index in chosen.tolist()}


def _check_tokens(
    features: Features, corpus: "Corpus", verdict: VerifyReport, sample: dict[int, list[str]]
) -> None:
    """Compare the sentences with those of the corpus.

    Blank lines may have been skipped, and of equal sentences all but the first.

    Tokens that a sentence of the sample lacks are added to it.
    """
    before, theirs = verdict.n_problems, corpus.read()
    told, numbered = features.metadata, features.description.numbered
    by_text = told.get(EQUAL_SENTENCES) == "first"
    # Otherwise its numbers and ids may be assigned when it is read
    is_ours = "elmo_version" in told and "converted" not in told
    seen: set[int] = set()
    for index, ours in enumerate(
        sentence for sentences, _ in features.windows() for sentence in sentences
    ):
        for line in theirs:
            skipped = not line.tokens and ours.tokens != []
            repeated = by_text and hash(line.text) in seen
            seen.update([hash(line.text)] if by_text else [])
            if not skipped and not repeated:
                break
        else:
            verdict.add(f"{corpus.name}: ends before sentence {ours.key}")
            return
        if not _agree(ours, line, pooled=features.description.pooled):
            verdict.add(
                f"sentence {ours.key}: has other tokens than {corpus.name}, sentence "
                f"{int(line.key) + 1}"
            )
            continue
        if index in sample and not any(sample[index]):
            sample[index] = line.tokens
        if is_ours and (name := _other_name(ours, line, numbered=numbered)):
            verdict.add(
                f"sentence {ours.key}: has another {name} than {corpus.name}, sentence "
                f"{int(line.key) + 1}"
            )
    if more := sum(1 for line in theirs if line.tokens and hash(line.text) not in seen):
        verdict.add(f"{corpus.name}: has {more:,} more sentences than the file")
    verdict.checked.append(
        f"tokens     {'those of' if verdict.n_problems == before else 'not those of'} {corpus.name}"
    )


def _other_name(ours: Sentence, theirs: Sentence, *, numbered: bool) -> str | None:
    """Return which name differs, "number" or "id"; some layouts store NUL escaped."""
    if numbered and ours.key != theirs.key:
        return "number"
    ids = [
        sentence.id.replace("\0", "\\0") for sentence in (ours, theirs) if sentence.id is not None
    ]
    return "id" if len(set(ids)) > 1 else None


def _agree(ours: Sentence, theirs: Sentence, *, pooled: bool) -> bool:
    if ours.tokens and any(ours.tokens):
        return ours.tokens == theirs.tokens
    return pooled or len(ours.tokens) == len(theirs.tokens)  # the file contains only their number
