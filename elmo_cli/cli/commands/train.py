"""`elmo train`: training of a biLM on text."""

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.headings import HeadedCommand
from elmo_cli.cli.options import quiet_option
from elmo_cli.cli.parameter_types import FILE
from elmo_cli.cli.training_groups import (
    ArchitectureOptions,
    CheckpointOptions,
    LengthOptions,
    TextOptions,
    TrainingOptions,
    WeightsOptions,
)
from elmo_cli.cli.training_options import (
    architecture_options,
    checkpoint_options,
    length_options,
    text_options,
    training_options,
    weights_options,
)
from elmo_cli.errors import DiskError, ModelError
from elmo_cli.training.settings import Run, Settings

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.training.job import TrainJob

# These may differ when a run is resumed
CHANGEABLE_SETTINGS = {"learning_rate", "gradient_clip", "steps", "tokens", "epochs", "minutes"}
# Fields of Run and Settings whose options have another name
FIELDS = {
    "reset": "reset_share",
    "sentences": "reset_share",
    "preset": "options",
    "float16": "storage",
}
EPILOG = """\b
Examples:
  elmo train corpus.txt my_model/ --held-out dev.txt
  elmo train a.txt.zst b.txt.zst my_model/ --preset small --epochs 3
  elmo train --resume my_model/
  elmo train medline.txt adapted/ --from my_model/ --vocabulary old --epochs 1
\b
Four GPUs:
  torchrun --nproc-per-node 4 -m elmo_cli train corpus.txt my_model/
"""


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("paths", metavar="[CORPUS]... MODEL_DIR", nargs=-1, required=True, type=FILE)
@architecture_options
@text_options
@length_options
@training_options
@weights_options
@checkpoint_options
@quiet_option
def command(
    architecture: ArchitectureOptions,
    text: TextOptions,
    length: LengthOptions,
    training: TrainingOptions,
    weights: WeightsOptions,
    checkpoints: CheckpointOptions,
    quiet: bool,
) -> None:
    """Train a bidirectional language model on CORPUS, and write it to the new folder MODEL_DIR.

    A CORPUS is text with one tokenized sentence per line (.gz, .bz2, .xz and .zst are decompressed;
    - is standard input). The files of MODEL_DIR are options.json and weights.hdf5 (the published
    format), vocab.txt, softmax.hdf5, log.jsonl and a model card, README.md. Ctrl-C saves a
    checkpoint.
    """
    if not text.corpora and not checkpoints.resume:
        raise click.UsageError(
            "Missing argument 'CORPUS': pass the text, then the folder of the model."
        )
    explicit = _explicit_options()
    if {"vocabulary_size", "min_count"} & explicit and architecture.vocabulary == "old":
        raise click.UsageError(
            "--vocabulary old has its own words; leave out --vocabulary-size and --min-count."
        )
    run = Run(
        corpora=text.corpora,
        options=architecture.read(),
        start=architecture.start,
        vocabulary=architecture.vocabulary,
        vocabulary_size=text.vocabulary_size,
        min_count=text.min_count,
        held_out=tuple(map(str, text.held_out)),
        separator=text.separator,
        encoding_errors=text.encoding_errors,
        storage="float16" if weights.float16 else "float32",
        licence=weights.licence,
        command=command_line(),
        settings=Settings(**length.settings(), **training.settings()),
    )

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.training.job import TrainJob, read_run  # imports torch

    if checkpoints.resume:
        run = _resumed(
            read_run(text.folder),
            run,
            explicit | ({"corpora"} if text.corpora else set()),
            text.folder,
        )
    # Only the first of several processes prints messages
    console = UserConsole(quiet=quiet or os.environ.get("RANK", "0") != "0")
    with _stop_on_signal() as stop_requested:
        job = TrainJob(
            run,
            text.folder,
            checkpoints.resume,
            checkpoints.device,
            checkpoints.threads,
            checkpoints.checkpoint_minutes,
            stop_requested,
            console.info,
        )
        _show_progress(job, console)


def _explicit_options() -> set[str]:
    """Return the names of the options on the command line that describe the run."""
    context = click.get_current_context()
    others = {"paths", "quiet", *(field.name for field in fields(CheckpointOptions))}
    return {
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    } - others


def _resumed(old: Run, new: Run, explicit: set[str], folder: Path) -> Run:
    """Return the run to resume, with changes of its length and pace.

    Raises:
        ModelError: Another option differs from that of the run.
    """
    changed: dict[str, Any] = {}
    for name in sorted(explicit):
        field = FIELDS.get(name, name)
        before, now = _setting(old, field), _setting(new, field)
        if field in CHANGEABLE_SETTINGS:
            changed[field] = now
        elif before != now and not (name == "precision" and now == "auto"):
            option = (
                "CORPUS"
                if name == "corpora"
                else "--from"
                if name == "start"
                else f"--{name.replace('_', '-')}"
            )
            shown = "another architecture" if field == "options" else f"{before!r}"
            raise ModelError(
                f"{folder}: {option} does not match the checkpoint, whose run has {shown}; leave "
                "it out, or start a new run"
            )
    if changed.keys() & {"steps", "tokens", "epochs"}:
        changed = {"steps": None, "tokens": None, "epochs": None, **changed}
    return replace(
        old,
        settings=replace(old.settings, **changed),
        command=f"{old.command} && {new.command}" if changed else old.command,
    )


def _setting(run: Run, name: str) -> Any:  # noqa: ANN401  # fields have several types
    return getattr(run, name) if hasattr(run, name) else getattr(run.settings, name)


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Stop with a checkpoint at the first Ctrl-C or SIGTERM, and interrupt at the second."""
    requests: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        requests.append(number)
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*requests[:1]) from None  # the number determines the exit code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _continue_remedy(job: "TrainJob") -> str:
    again = f"continue with: elmo train --resume {shlex.quote(str(job.folder))}"
    return again if job.can_resume else "run the same command again (there is no checkpoint yet)"


def _show_progress(job: "TrainJob", console: "UserConsole") -> None:
    from contextlib import closing

    from elmo_cli.cli.console import count

    try:
        with closing(job.train()) as progress:
            done = console.track_training(
                progress, "starting" if job.resume else "reading the corpus"
            )
    except KeyboardInterrupt:
        if job.can_resume:
            console.info(f"checkpoint saved; {_continue_remedy(job)}")
        raise
    except DiskError as error:
        message, *details = error.args
        raise DiskError(f"{message}, then {_continue_remedy(job)}", *details) from None
    if done:
        held_out = f", held-out perplexity {done.held_out:.1f}" if done.held_out else ""
        console.info(
            f"{count(done.step, 'step')}, {count(done.words, 'word')} per direction in "
            f"{done.seconds / 60:.1f} min{held_out}: {job.folder}"
        )
