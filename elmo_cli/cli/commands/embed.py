"""`elmo embed`: vectors of every token of a corpus."""

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.engine_options import check_write, engine_options, write_option
from elmo_cli.cli.headings import (
    ALLENNLP,
    COMPUTE,
    MODEL,
    OUTPUT,
    HeadedCommand,
    grouped,
    headed,
    usage_errors,
)
from elmo_cli.cli.option_groups import (
    ComputeOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    ResumeOptions,
    SelectionOptions,
)
from elmo_cli.cli.options import (
    cache_options,
    model_options,
    output_argument,
    output_options,
    precision_option,
    quiet_option,
    resuming_options,
)
from elmo_cli.cli.parameter_types import COUNT, Integer
from elmo_cli.cli.reading_options import blank_lines_option, max_tokens_option, reading_options
from elmo_cli.cli.sharding import (
    check_remote,
    check_shard_input,
    check_sharding,
    shard_option,
    without_shard,
)
from elmo_cli.errors import UsageError
from elmo_cli.features.spec import DTYPES, POOLS
from elmo_cli.nn.batching import BATCH_TOKENS, GPU_WINDOW_TOKENS, STATEFUL_BATCH
from elmo_cli.types import WINDOW_TOKENS

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.job import EmbedJob, PreparedRun

EPILOG = """\b
Examples:
  elmo embed corpus.txt out.h5
  elmo embed corpus.txt out.h5 --model original --layers top --device cuda
  elmo embed corpus.txt features/ --output-format parquet --dtype float16
  elmo embed corpus.txt sentences.parquet --layers average --pool mean
\b
A folder of Parquet files:
  elmo embed shards/ out.h5 --column words --id-column id
\b
Sentence features for classifiers:
  elmo embed corpus.txt sentences.h5 --layers concat --pool mean+max
\b
One line for each word type, the mean over its occurrences:
  elmo embed corpus.txt words.vec --layers top
\b
Standard input and output:
  zstdcat corpus.zst | elmo embed - out.h5
  cat corpus.txt | elmo embed - - --output-format jsonl --layers top | head
\b
The values of allennlp elmo:
  elmo embed --all corpus.txt out.h5 --stateful --batch-size 64
"""


_prime_option = headed(
    MODEL,
    click.option(
        "--prime",
        metavar="FILE",
        help="Start every sentence in the final state of the sentences of FILE.",
    ),
)
_selection_options = headed(
    OUTPUT,
    click.option(
        "--layers",
        metavar="CHOICE",
        help=(
            "Layers to write: all, top, average, concat (concatenated), or a list such as 0,2.  "
            "[default: all; word2vec: 0]"
        ),
    ),
    click.option(
        "--mix",
        metavar="FILE|W0,W1,...[,GAMMA]",
        help="Write the weighted sum of the layers, with weights softmax(W), times GAMMA.",
    ),
    click.option(
        "--mix-layer-norm",
        is_flag=True,
        help="Normalize each layer over the tokens of a sentence before --mix.",
    ),
    click.option(
        "--pool",
        type=click.Choice(POOLS),
        default="none",
        show_default=True,
        help="Pooling over tokens, to one vector for each sentence; mean+max concatenates both.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="Type of the stored values.",
    ),
)
_size_options = headed(
    COMPUTE,
    click.option(
        "--batch-tokens",
        type=COUNT,
        help=(
            f"Number of tokens computed together.  [default: {BATCH_TOKENS}; on a GPU, as its "
            "memory allows]"
        ),
    ),
    click.option(
        "--window-tokens",
        type=COUNT,
        help=(
            f"Number of tokens sorted and written together.  [default: {WINDOW_TOKENS}; on a GPU "
            f"{GPU_WINDOW_TOKENS}]"
        ),
    ),
)
_blank_lines_option = blank_lines_option(
    "error", "an error, empty arrays, or left out (the other lines keep their numbers)"
)
_stateful_options = headed(
    ALLENNLP,
    click.option(
        "--stateful",
        is_flag=True,
        help=(
            "Carry the state from batch to batch, as allennlp elmo does: vectors depend on "
            "preceding sentences."
        ),
    ),
    click.option(
        "--batch-size",
        type=Integer(1, 1 << 20),
        default=STATEFUL_BATCH,
        show_default=True,
        help="Number of sentences in a batch with --stateful; otherwise no effect.",
    ),
)
_layer_flags = headed(
    ALLENNLP,
    *(
        click.option(f"--{name}", f"{name}_layers", is_flag=True, help=f"Same as --layers {name}.")
        for name in ("all", "top", "average")
    ),
)
_cuda_option = headed(
    ALLENNLP,
    click.option(
        "--cuda-device",
        type=Integer(-1, 999),
        help="Same as --device cuda:N; -1 is the CPU.",
    ),
)
_key_flags = headed(
    ALLENNLP,
    click.option("--forget-sentences", is_flag=True, help="Do not write sentence_to_index."),
    click.option("--use-sentence-keys", is_flag=True, help="Same as --keys sentence."),
    # Options of `allennlp elmo` that have no effect here
    click.option("--file-friendly-logging", is_flag=True, hidden=True, expose_value=False),
    *(
        click.option(name, hidden=True, multiple=True, expose_value=False)
        for name in ("--vocab-path", "--include-package")
    ),
)


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@output_argument
@grouped("model", ModelOptions, model_options(), cache_options, _prime_option, _stateful_options)
@reading_options
@grouped("corpus", InputOptions, _blank_lines_option, max_tokens_option)
@grouped("selection", SelectionOptions, _selection_options, _layer_flags)
@grouped("written", OutputOptions, output_options, _key_flags)
@grouped(
    "compute",
    ComputeOptions,
    engine_options,
    write_option,
    precision_option,
    _size_options,
    _cuda_option,
)
@grouped(
    "resuming", ResumeOptions, resuming_options("start a new run that can be resumed"), shard_option
)
@quiet_option
def command(
    model: ModelOptions,
    corpus: InputOptions,
    selection: SelectionOptions,
    written: OutputOptions,
    compute: ComputeOptions,
    resuming: ResumeOptions,
    quiet: bool,
) -> None:
    """Write the ELMo layers of every token of INPUT to OUTPUT.

    INPUT is text, one tokenized sentence per line, or one of the formats below (.gz, .bz2, .xz and
    .zst are unpacked; - is standard input). Several inputs, folders, globs and remote files (s3://,
    gs://, hdfs://) are read in order as one corpus. The suffix of OUTPUT or --output-format chooses
    its format: HDF5 (out.h5; by default one data set for each sentence, "0", "1", ..., each (layer,
    token, dim) float32, and sentence_to_index: the layout of allennlp elmo), a Parquet file
    (out.parquet) or folder of shards, Arrow, JSON Lines, .npz, .npy (with --pool), or word2vec text
    (out.vec: one vector for each word type); - is standard output.
    """
    with usage_errors():
        _check(model, corpus, selection, written, resuming)
        check_write(
            compute.write,
            written.output,
            written.form,
            stateful=model.stateful,
            resume=resuming.resume,
        )
    engine = compute.choose_engine(stateful=model.stateful, output=written.output)

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.features.resume.shard_store import ShardTask
    from elmo_cli.inference.job import EmbedJob  # imports torch

    console = UserConsole(quiet=quiet, output=written.output)
    source = corpus.corpus()
    check_shard_input(resuming.shard, compute.write, source)
    files = model.find(console)
    job = EmbedJob(
        source=source,
        output=written.target(),
        model=files,
        selection=selection.selection(written.form, files.config().n_output_layers),
        layout=written.form.name,
        store=written.write_options(),
        start=model.start(corpus.reading),
        batch_tokens=compute.batch_tokens,
        window_tokens=compute.window_tokens,
        threads=compute.threads,
        precision=compute.precision,
        engine=engine,
        command=command_line(without_shard(sys.argv[1:])),
        resume=bool(resuming.resume),
        fresh=resuming.fresh,
        journal=resuming.resume is not False,
        shard=ShardTask(*resuming.shard) if resuming.shard else None,
    )
    _run(job, console)


def _check(
    model: ModelOptions,
    corpus: InputOptions,
    selection: SelectionOptions,
    written: OutputOptions,
    resuming: ResumeOptions,
) -> None:
    """Check that the option groups do not contradict one another.

    Raises:
        UsageError: Options contradict one another.
    """
    if written.rows == "token" and corpus.blank_lines == "keep":
        raise UsageError(
            "--rows token and --blank-lines keep contradict each other: a blank line has no row."
        )
    resuming.check(written.output, stateful=model.stateful)
    written.check(selection.pool)
    check_remote(written.output, written.form)
    check_sharding(
        resuming.shard,
        written.output,
        written.form,
        stateful=model.stateful,
        resume=resuming.resume,
        fresh=resuming.fresh,
    )


def _run(job: "EmbedJob", words: "UserConsole") -> None:
    from elmo_cli.cli.console import count, size
    from elmo_cli.features.resume.run import with_resume_hint

    with words.status("scanning"), usage_errors():
        prepared = job.prepare()
    with prepared:
        if prepared.is_complete:
            return words.info(
                f"{job.output.path}: is already complete, written by the same job; nothing to do"
            )
        began = time.perf_counter()
        with with_resume_hint(job.work.how_to_go_on), closing(prepared.run()) as progress:
            done = words.track(progress, prepared.expected_tokens(), lambda: _workers(prepared))
    # The clock of a virtual machine may not advance
    seconds = max(time.perf_counter() - began, 1e-9)
    for warning in prepared.warnings:
        words.warning(warning)
    place = job.state_of_output() or f"{job.output.path}, {size(job.output.size())}"
    return words.info(
        f"{count(done.sentences, 'sentence')}, {count(done.tokens, 'token')} in {seconds:.1f} s "
        f"({done.tokens / seconds:,.0f} tokens/s): "
        f"{place}, by {job.model.name}, sha256 {job.model.sha256[:12]}"
        + (
            " (the built-in model, for tests; pass --model for a published one)"
            if job.model.built_in
            else ""
        )
    )


def _workers(prepared: "PreparedRun") -> str:
    """Return what the workers do, for the progress line; empty without workers."""
    from elmo_cli.cli.console import count

    if not (now := prepared.engine.activity()) or not now.in_work:
        return ""
    unit = "shard" if prepared.job.engine.write == "workers" else "window"
    return f", {count(now.workers, 'worker')}, {count(now.in_work, unit)} in work"
