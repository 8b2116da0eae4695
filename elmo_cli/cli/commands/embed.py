"""`elmo embed`: the vectors of every token of a corpus, written to a file."""

import shlex
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.engine_options import choose_engine, engine_options
from elmo_cli.cli.options import (
    COUNT,
    PRECISIONS,
    blank_lines_option,
    cache_options,
    check_resuming,
    model_options,
    options,
    output_options,
    quiet_option,
    reading_options,
    resuming_options,
    usage_errors,
)
from elmo_cli.cli.sharding import check_remote, check_shard_input, check_sharding, shard_option, without_shard
from elmo_cli.features.layouts import COMPRESSIONS, DEFAULT_LAYERS, DTYPES, KEYS, POOLS, check_options, choose_layout
from elmo_cli.io.remote import redact_url
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.io.stdout import output_path
from elmo_cli.nn.batching import BATCH_TOKENS, GPU_WINDOW_TOKENS, STATEFUL_BATCH
from elmo_cli.readers.options import ReadOptions
from elmo_cli.types import WINDOW_TOKENS

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.job import EmbedJob
    from elmo_cli.readers.corpus import Corpus

EPILOG = """\b
Examples:
  elmo embed corpus.txt out.h5
  elmo embed shards/ out.h5 --column words --id-column id   (a folder of Parquet files)
  zstdcat corpus.zst | elmo embed - out.h5 --options options.json --weights weights.hdf5
  elmo embed corpus.txt out.h5 --model original --layers top --device cuda
  elmo embed corpus.txt features/ --output-format parquet --dtype float16
  elmo embed corpus.txt sentences.parquet --layers average --pool mean
  elmo embed corpus.txt words.vec --layers top   (a word type a line, the mean over its occurrences)
  elmo embed corpus.txt sentences.h5 --layers concat --pool mean+max   (the best features of sentences for classifiers)
  cat corpus.txt | elmo embed - - --output-format jsonl --layers top | head
  elmo embed --all corpus.txt out.h5 --stateful --batch-size 64   (the numbers of allennlp elmo)
"""


_start_options = options(
    click.option("--stateful", is_flag=True, help="Carry state from batch to batch, as allennlp elmo does: vectors depend on history."),
    click.option(
        *("--batch-size", "batch_size"),
        type=click.IntRange(1, 1 << 20),
        default=STATEFUL_BATCH,
        show_default=True,
        help="Sentences a batch with --stateful; without, no effect.",
    ),
    click.option("--prime", metavar="FILE", help="InitialState every sentence from the state that FILE's sentences leave."),
)

_selection_options = options(
    click.option(
        "--layers",
        metavar="CHOICE",
        help="all, top, average, concat (side by side), or a list such as 0,2.  [default: all; word2vec: 0]",
    ),
    click.option("--mix", metavar="FILE|W0,W1,...[,GAMMA]", help="The layers' sum, weighted by softmax(W), times GAMMA."),
    click.option("--mix-layer-norm", is_flag=True, help="With --mix: normalise each layer first, over a sentence's tokens."),
    click.option(
        "--pool",
        type=click.Choice(POOLS),
        default="none",
        show_default=True,
        help="One vector a sentence; mean+max puts both side by side.",
    ),
    click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Type of the values."),
)

_allennlp_options = options(  # the spellings of `allennlp elmo`; hidden are those that mean nothing here
    *(
        click.option(f"--{name}", f"{name}_layers", is_flag=True, help=f"The same as --layers {name}.")
        for name in ("all", "top", "average")
    ),
    click.option("--cuda-device", type=click.IntRange(-1, 999), metavar="N", help="The same as --device cuda:N; -1 is the CPU."),
    click.option("--forget-sentences", is_flag=True, help="Leave out sentence_to_index."),
    click.option("--use-sentence-keys", is_flag=True, help="The same as --keys sentence."),
    click.option("--file-friendly-logging", is_flag=True, hidden=True, expose_value=False),
    *(click.option(name, hidden=True, multiple=True, expose_value=False) for name in ("--vocab-path", "--include-package")),
)


@click.command(epilog=EPILOG, short_help="Write the vectors of every token of a corpus.")
@click.argument("inputs", metavar="INPUT...", nargs=-1)
@click.argument("output", metavar="OUTPUT", callback=lambda _context, _parameter, given: output_path(given))
@model_options
@cache_options
@_selection_options
@output_options
@click.option("--keys", type=click.Choice(KEYS), help="What sentences are called.  [default: number; flat layouts: id, where there is one]")
@click.option("--batch-tokens", type=COUNT, help=f"Tokens computed together.  [default: {BATCH_TOKENS}; on a GPU, what its memory holds]")
@click.option(
    "--window-tokens", type=COUNT, help=f"Tokens sorted and written together.  [default: {WINDOW_TOKENS}; on a GPU {GPU_WINDOW_TOKENS}]"
)
@engine_options
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Of matrix products. bf16 is faster where the processor has it; tf32 and fp16 are for GPUs.",
)
@reading_options
@blank_lines_option
@_start_options
@_allennlp_options
@click.option("--max-sentence-tokens", type=COUNT, metavar="N", help="Refuse longer sentences.  [default: any length]")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@resuming_options("begin, and keep what is done")
@shard_option
@quiet_option
def command(
    inputs: tuple[str, ...],
    output: Path,
    model: str | None,
    options: str | None,
    weights: str | None,
    cache_dir: Path | None,
    offline: bool,
    layers: str | None,
    mix: str | None,
    mix_layer_norm: bool,
    pool: str,
    dtype: str,
    output_format: str | None,
    layout: str | None,
    compression: str | None,
    rows: str,
    shard_tokens: int | None,
    keys: str | None,
    all_layers: bool,
    top_layers: bool,
    average_layers: bool,
    batch_tokens: int | None,
    window_tokens: int | None,
    device: str,
    cuda_device: int | None,
    threads: int | None,
    engine: str | None,
    address: str | None,
    workers: int | None,
    precision: str,
    reading: ReadOptions,
    blank_lines: str,
    stateful: bool,
    batch_size: int,
    prime: str | None,
    forget_sentences: bool,
    use_sentence_keys: bool,
    max_sentence_tokens: int | None,
    overwrite: bool,
    resume: bool | None,
    fresh: bool,
    shard: tuple[int, int] | None,
    quiet: bool,
) -> None:
    """Write the ELMo layers of every token of INPUT to OUTPUT.

    INPUT is text, one tokenized sentence a line, or one of the formats below (.gz, .bz2, .xz and .zst are unpacked; - is standard input).
    Several inputs, folders, globs and remote files (s3://, gs://, hdfs://) are read one after the other as one corpus. OUTPUT is, by its
    suffix or --output-format: HDF5 (out.h5; without more it has a data set a sentence, "0", "1", ..., each (layer, token, dim) float32, and
    sentence_to_index: the layout of allennlp elmo), a Parquet file (out.parquet) or folder of shards, Arrow, JSON Lines, .npz,
    .npy (with --pool), or word2vec's text (out.vec: a vector a word type); - is standard output.
    """
    if not inputs:
        raise click.UsageError("Missing argument 'OUTPUT': name the input, then the file to write.")
    flags = [name for name, given in [("all", all_layers), ("top", top_layers), ("average", average_layers)] if given]
    if len(flags) + (layers is not None) + (mix is not None) > 1:
        raise click.UsageError("--layers, --mix, --all, --top and --average say what is written; pass one of them.")
    if mix_layer_norm and not mix:
        raise click.UsageError("--mix-layer-norm is for --mix; pass both.")
    if use_sentence_keys and keys not in (None, "sentence"):
        raise click.UsageError("--use-sentence-keys and --keys contradict each other; pass one of them.")
    if rows == "token" and blank_lines == "keep":
        raise click.UsageError("--rows token and --blank-lines keep contradict each other: a blank line has no row.")
    if stateful and prime:
        raise click.UsageError("--stateful and --prime are two ways to start a sentence; pass one of them.")
    if resume and stateful:
        raise click.UsageError("--stateful cannot be resumed: its vectors depend on all that was read before; leave out --resume.")
    check_resuming(resume, fresh=fresh, output=output)
    with usage_errors():
        chosen = choose_layout(output, output_format, layout)
        check_options(output, chosen, compression=compression, rows=rows, shard_tokens=shard_tokens, pool=pool, keys=keys)
    check_remote(output, chosen)
    check_sharding(shard, output, chosen, stateful=stateful, resume=resume, fresh=fresh)
    chosen_engine = choose_engine(engine, device, cuda_device, address, workers, stateful=stateful, output=output)

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.features.formats import output_target
    from elmo_cli.features.resume.remote_shards import RemoteShards
    from elmo_cli.features.resume.shards import ShardTask
    from elmo_cli.features.spec import WriteOptions
    from elmo_cli.inference.embedder_spec import InitialState
    from elmo_cli.inference.job import EmbedJob  # imports torch
    from elmo_cli.inference.selection import Selection
    from elmo_cli.models.formats.scalar_mix import read_mix
    from elmo_cli.models.resolve import find_model
    from elmo_cli.readers.corpus import Corpus

    words = UserConsole(quiet=quiet, output=output)
    source = _checked(Corpus(inputs, blank_lines, reading, max_sentence_tokens))
    check_shard_input(shard, source)
    with words.cache(cache_dir, offline=offline) as cache:
        files = find_model(model, options, weights, cache)
    weighted = read_mix(mix, files.config().n_output_layers, layer_norm=mix_layer_norm) if mix else None
    job = EmbedJob(
        source=source,
        output=RemoteShards(output) if isinstance(output, RemotePath) else output_target(output, chosen, overwrite=overwrite),
        model=files,
        selection=Selection(next(iter(flags), DEFAULT_LAYERS.get(chosen, "all")) if layers is None else layers, weighted, pool, dtype),
        layout=chosen,
        store=WriteOptions(
            "sentence" if use_sentence_keys else keys,
            compression or COMPRESSIONS[chosen][0],
            forget_sentences,
            rows,
            shard_tokens,
        ),
        start=InitialState(stateful, batch_size, Corpus([prime], "skip", reading.of_text()) if prime else None),
        batch_tokens=batch_tokens,
        window_tokens=window_tokens,
        threads=threads,
        precision=precision,
        engine=chosen_engine,
        command=shlex.join(map(redact_url, ["elmo", *without_shard(sys.argv[1:])])),
        resume=bool(resume),
        fresh=fresh,
        journal=resume is not False,
        shard=ShardTask(*shard) if shard else None,
    )
    _run(job, words)


def _checked(source: "Corpus") -> "Corpus":
    for option, takers in source.misplaced_options():
        formats = ", ".join(sorted({name for _, name in source.files}))
        raise click.UsageError(f"{option} is for {', '.join(takers)}; {source.name} is read as {formats} (--input-format says otherwise).")
    return source


def _run(job: "EmbedJob", words: "UserConsole") -> None:
    from elmo_cli.cli.console import count, size
    from elmo_cli.features.resume.run import with_resume_hint

    with words.status("scanning"), usage_errors():
        prepared = job.prepare()
    with prepared:
        if prepared.is_complete:
            return words.info(f"{job.output.path}: is whole already, made by this very job; nothing to do")
        began = time.perf_counter()
        with with_resume_hint(job.work.how_to_go_on), closing(prepared.run()) as progress:
            done = words.track(progress, prepared.expected_tokens())
    seconds = max(time.perf_counter() - began, 1e-9)  # the clock of a virtual machine may stand still
    for warning in prepared.warnings:
        words.warning(warning)
    place = job.state_of_output() or f"{job.output.path}, {size(job.output.size())}"
    return words.info(
        f"{count(done.sentences, 'sentence')}, {count(done.tokens, 'token')} in {seconds:.1f} s ({done.tokens / seconds:,.0f} tokens/s): "
        f"{place}, by {job.model.name}, sha256 {job.model.sha256}"
        + (" (the built-in model, for trying out; --model takes a published one)" if job.model.built_in else "")
    )
