"""A run that may be stopped and gone on with: what makes two runs the same job, and how one takes up where the other ended."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from elmo_cli.corpus import Sentence
from elmo_cli.embedder import Embedder
from elmo_cli.errors import ElmoError, FeaturesError, ResumeError
from elmo_cli.features import open_features
from elmo_cli.journal.plan import Plan
from elmo_cli.journal.store import JournaledStore
from elmo_cli.journal.work_folder import WorkFolder
from elmo_cli.pipeline import NOTHING, Progress, batches

FINGERPRINT = "job_sha256"  # in the metadata: by it a finished job is known again
_MADE = {"model_sha256": "the model", "options": "its options", "start_state": "where sentences start", "precision": "--precision"}


def make_plan(source: Mapping[str, str], options: Mapping[str, Any], metadata: Mapping[str, str], *, is_known: bool) -> Plan:
    """The plan of a job: its input, the model by its metadata, and the options that decide what is written; others decide the speed.

    Where all of the input `is_known`, the metadata tell the job's fingerprint.
    """
    made = {words: metadata[name] for name, words in _MADE.items()}
    given = {name if name.startswith("--") else f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}
    plan = Plan({**source, **made, **given}, metadata)
    return replace(plan, metadata={**metadata, FINGERPRINT: plan.fingerprint}) if is_known else plan


def made_by(path: Path) -> str | None:
    """The fingerprint of the job that made a file of features, if it tells."""
    try:
        with open_features(path) as features:
            return None if "converted" in features.metadata else features.metadata.get(FINGERPRINT)
    except FeaturesError:
        return None


def replay(
    journal: JournaledStore, sentences: Iterator[Sentence], embedder: Embedder, batch_tokens: int
) -> Generator[Progress, None, Progress]:
    """Take over what an earlier run has done, and be where it was then, to the last bit and count."""
    done = NOTHING
    for window in journal.replay(sentences):
        for batch in batches(window, embedder, batch_tokens):
            embedder.recall([window[i].tokens for i in batch])
        done = done.plus(window)
        yield done
    return done


def no_replay() -> Generator[Progress, None, Progress]:
    """Nothing was done before."""
    yield from ()
    return NOTHING


def how_to_go_on(work: WorkFolder) -> str:
    """What is kept, in words; nothing if nothing is."""
    kept = work.kept_sentences()
    return f"{kept:,} sentence{'s are' if kept > 1 else ' is'} kept: pass --resume to go on" if kept else ""


@contextmanager
def saying_how_to_go_on(words: Callable[[], str]) -> Iterator[None]:
    """Add the words, if there are any, to the message of what goes wrong."""
    try:
        yield
    except ResumeError:
        raise
    except ElmoError as error:
        message, *details = error.args
        raise type(error)("; ".join(filter(None, [message, words()])), *details) from None
