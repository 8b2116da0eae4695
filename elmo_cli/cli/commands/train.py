"""Command `elmo train`: training of a biLM on text."""

import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from elmo_cli.cli.options import (
    FILE,
    encoding_option,
    machine_options,
    options,
    quiet_option,
    separator_option,
)
from elmo_cli.errors import DiskError, ModelError
from elmo_cli.io.remote import redact_url
from elmo_cli.nn.presets import PRESETS
from elmo_cli.training.settings import GRADIENT_CLIPS, LEARNING_RATES, Run, Settings

if TYPE_CHECKING:
    from elmo_cli.training.job import TrainJob

# May differ when a run is resumed
CHANGEABLE_SETTINGS = {"learning_rate", "gradient_clip", "steps", "tokens", "epochs", "minutes"}
DEFAULT, DEFAULT_EPOCHS = Settings(), 10.0


class FiniteRange(click.FloatRange):
    """Range of finite numbers: click's range accepts infinity and NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  # click's signature
        """Return the number, or fail if it is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


POSITIVE, WHOLE = FiniteRange(min=0, min_open=True), click.IntRange(min=1)
LARGEST_SEED = 2**31 - 1
EPILOG = """\b
Examples:
  elmo train corpus.txt my_model/ --held-out dev.txt
  elmo train a.txt.zst b.txt.zst my_model/ --preset small --epochs 3 --vocabulary-size 100000
  elmo train --resume my_model/
  elmo train medline.txt adapted/ --from my_model/ --vocabulary old --epochs 1
  torchrun --nproc-per-node 4 -m elmo_cli train corpus.txt my_model/ --preset original
"""


_architecture_options = options(
    click.option(
        "--preset", type=click.Choice(list(PRESETS)), help="Named architecture.  [default: tiny]"
    ),
    click.option(
        "--options",
        type=FILE,
        help="Architecture as a JSON file, such as the options.json of a model.",
    ),
    click.option("--from", "start", metavar="MODEL", help="Start from the weights of this model."),
    click.option(
        "--vocabulary",
        type=click.Choice(["new", "old"]),
        default="new",
        show_default=True,
        help="Vocabulary of the softmax with --from: that of CORPUS or of MODEL.",
    ),
)

_text_options = options(
    click.option(
        "--vocabulary-size",
        type=click.IntRange(min=5),
        default=30_000,
        show_default=True,
        help="Largest number of words of the softmax.",
    ),
    click.option(
        "--min-count",
        type=WHOLE,
        default=1,
        show_default=True,
        help="Smallest number of occurrences of a word of the softmax; others are <UNK>.",
    ),
    click.option(
        "--held-out",
        type=FILE,
        multiple=True,
        help="Held-out text for the perplexity at every checkpoint; may be repeated.",
    ),
    separator_option,
    encoding_option,
)

_training_options = options(
    click.option(
        "--epochs",
        type=POSITIVE,
        help=f"Length of the run in passes over the corpus.  [default: {DEFAULT_EPOCHS:g}]",
    ),
    click.option("--steps", type=WHOLE, help="Length of the run in updates of the weights."),
    click.option(
        "--tokens", type=WHOLE, help="Length of the run in words to predict in each direction."
    ),
    click.option(
        "--minutes",
        type=POSITIVE,
        help="Limit of the training time; the learning rate decreases accordingly.",
    ),
    click.option(
        "--optimizer",
        type=click.Choice(list(LEARNING_RATES)),
        default="adamw",
        show_default=True,
        help="Optimizer.",
    ),
    click.option(
        "--learning-rate",
        type=POSITIVE,
        help="Peak learning rate.  [default: 0.002 for adamw, 0.2 for adagrad]",
    ),
    click.option(
        "--warm-up",
        type=click.IntRange(min=0),
        default=DEFAULT.warm_up,
        show_default=True,
        help="Steps of the learning rate's warm-up (adamw).",
    ),
    click.option(
        "--gradient-clip",
        type=POSITIVE,
        help="Largest norm of the gradient.  [default: 1 for adamw, 10 for adagrad]",
    ),
    click.option(
        "--dropout",
        type=FiniteRange(0, 1, max_open=True),
        default=DEFAULT.dropout,
        show_default=True,
        help="Dropout of the LSTMs.",
    ),
    click.option(
        "--softmax",
        type=click.Choice(["sampled", "full"]),
        default="sampled",
        show_default=True,
        help="Softmax of the training.",
    ),
    click.option(
        "--softmax-first",
        type=FiniteRange(0, 1, max_open=True),
        help=(
            "Share of the run that trains only the softmax, with --from.  [default: 0.2 if MODEL "
            "has no softmax, else 0]"
        ),
    ),
    click.option(
        "--samples",
        type=WHOLE,
        default=DEFAULT.samples,
        show_default=True,
        help="Number of draws of the sampled softmax.",
    ),
    click.option(
        "--streams",
        type=WHOLE,
        default=DEFAULT.streams,
        show_default=True,
        help="Number of places of the corpus that are read in parallel.",
    ),
    click.option(
        "--unroll",
        type=WHOLE,
        default=DEFAULT.unroll,
        show_default=True,
        help="Steps of back-propagation through time.",
    ),
    click.option(
        "--sentences",
        is_flag=True,
        help="Start every sentence from the zero state; same as --reset 1.",
    ),
    click.option(
        "--reset",
        type=FiniteRange(0, 1),
        help=(
            "Share of the sentences that start from the zero state.  [default: 0, as for the "
            "published models]"
        ),
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default="auto",
        show_default=True,
        help="Precision of matrix products; auto is bf16 on hardware with bfloat16 instructions.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, LARGEST_SEED),
        default=DEFAULT.seed,
        show_default=True,
        help="Seed of all random numbers.",
    ),
)


@click.command(epilog=EPILOG)
@click.argument("paths", metavar="[CORPUS]... MODEL_DIR", nargs=-1, required=True, type=FILE)
@_architecture_options
@_text_options
@_training_options
@click.option(
    "--float16", is_flag=True, help="Store the weights as float16, which halves their size."
)
@click.option("--licence", metavar="TEXT", help="Licence of the weights, for the model card.")
@click.option(
    "--resume",
    is_flag=True,
    help="Continue from the checkpoint of MODEL_DIR, with the options of its run.",
)
@click.option(
    "--checkpoint-minutes",
    type=FiniteRange(min=0),
    default=10.0,
    show_default=True,
    help="Time between checkpoints.",
)
@machine_options
@quiet_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    resume: bool,
    checkpoint_minutes: float,
    device: str,
    threads: int | None,
    quiet: bool,
    **given: Any,  # noqa: ANN401  # the fields of Run and Settings, some under other names
) -> None:
    """Train a bidirectional language model on CORPUS, and write it to the new folder MODEL_DIR.

    A CORPUS is text with one tokenized sentence per line (.gz, .bz2, .xz and .zst are decompressed;
    - is standard input). The files of MODEL_DIR are options.json and weights.hdf5 (the published
    format), vocab.txt, softmax.hdf5, log.jsonl and a model card, README.md. Ctrl-C saves a
    checkpoint.
    """
    *corpora, folder = paths
    if not corpora and not resume:
        raise click.UsageError(
            "Missing argument 'CORPUS': pass the text, then the folder of the model."
        )
    explicit = {
        name for name in given if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    run = _make_run([str(path) for path in corpora], given, explicit)

    from elmo_cli.training.job import TrainJob, read_run  # imports torch

    if resume:
        run = _resumed(
            read_run(folder), run, explicit | ({"corpora"} if corpora else set()), folder
        )
    with _stop_on_signal() as stop_requested:
        job = TrainJob(run, folder, resume, device, threads, checkpoint_minutes, stop_requested)
        # Only the first of several processes prints messages
        _show_progress(job, quiet=quiet or os.environ.get("RANK", "0") != "0")


def _make_run(corpora: list[str], given: dict[str, Any], explicit: set[str]) -> Run:
    values = dict(given)
    architecture, preset = values.pop("options"), values.pop("preset")
    if architecture and preset:
        raise click.UsageError("--options and --preset set the same value; pass one of them.")
    if values.pop("sentences"):
        values["reset"] = 1.0 if values["reset"] is None else values["reset"]
    values["reset_share"] = values.pop("reset") or 0.0
    if sum(values[name] is not None for name in ("steps", "tokens", "epochs")) > 1:
        raise click.UsageError(
            "--steps, --tokens and --epochs set the same value; pass one of them."
        )
    if not any(values[name] for name in ("steps", "tokens", "epochs", "minutes")):
        values["epochs"] = DEFAULT_EPOCHS
    values["learning_rate"] = values["learning_rate"] or LEARNING_RATES[values["optimizer"]]
    values["gradient_clip"] = values["gradient_clip"] or GRADIENT_CLIPS[values["optimizer"]]
    if {"vocabulary_size", "min_count"} & explicit and values["vocabulary"] == "old":
        raise click.UsageError(
            "--vocabulary old has its own words; leave out --vocabulary-size and --min-count."
        )
    if values["vocabulary"] == "old" and not values["start"]:
        raise click.UsageError("--vocabulary old needs --from MODEL.")
    names = {field.name for field in fields(Settings)}
    settings = Settings(**{name: values.pop(name) for name in list(values) if name in names})
    return Run(
        corpora=tuple(corpora),
        options=_read_options(architecture, preset or (None if values["start"] else "tiny")),
        held_out=tuple(map(str, values.pop("held_out"))),
        storage="float16" if values.pop("float16") else "float32",
        command=shlex.join(map(redact_url, ["elmo", *sys.argv[1:]])),
        settings=settings,
        **values,
    )


def _read_options(path: Path | None, preset: str | None) -> dict[str, Any] | None:
    if path is None:
        return PRESETS[preset] if preset else None
    from elmo_cli.models.formats.options_json import parse_options, read_options

    architecture = read_options(path)
    parse_options(architecture, path)
    return json.loads(json.dumps(architecture))  # type: ignore[no-any-return]


def _resumed(old: Run, new: Run, explicit: set[str], folder: Path) -> Run:
    """Return the run to resume, with changes of its length and pace.

    Raises:
        ModelError: Another option differs from that of the run.
    """
    names = {
        "reset": "reset_share",
        "sentences": "reset_share",
        "preset": "options",
        "float16": "storage",
    }
    changed: dict[str, Any] = {}
    for name in sorted({names.get(name, name) for name in explicit}):
        before, now = _setting(old, name), _setting(new, name)
        if name in CHANGEABLE_SETTINGS:
            changed[name] = now
        elif before != now and not (name == "precision" and now == "auto"):
            option = f"--{name.replace('_', '-')}" if name != "corpora" else "CORPUS"
            shown = "another architecture" if name == "options" else f"{before!r}"
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


def _show_progress(job: "TrainJob", *, quiet: bool) -> None:
    from contextlib import closing

    from elmo_cli.cli.console import UserConsole, count

    console = UserConsole(quiet=quiet)
    try:
        with closing(job.train()) as progress:
            done = console.track_training(progress)
    except KeyboardInterrupt:
        if job.can_resume:
            console.info(f"checkpoint saved; {_continue_remedy(job)}")
        raise
    except DiskError as error:
        message, *details = error.args
        raise DiskError(f"{message}, then {_continue_remedy(job)}", *details) from None
    for note in job.notes:
        console.info(note)
    if done:
        held_out = f", held-out perplexity {done.held_out:.1f}" if done.held_out else ""
        console.info(
            f"{count(done.step, 'step')}, {count(done.words, 'word')} per direction in "
            f"{done.seconds / 60:.1f} min{held_out}: {job.folder}"
        )
