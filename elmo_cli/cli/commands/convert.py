"""`elmo convert`: features from one layout into another."""

import shlex
import sys
from contextlib import closing
from pathlib import Path

import click

from elmo_cli.cli.options import check_resuming, features_argument, output_options, quiet_option, resuming_options, usage_errors
from elmo_cli.features.layouts import COMPRESSIONS, DTYPES, KEYS, check_options, choose_layout
from elmo_cli.io.remote import redact_url
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.io.stdout import STDOUT, output_path

EPILOG = """\b
Examples:
  elmo convert out.h5 features/ --output-format parquet
  elmo convert old_allennlp.hdf5 packed.h5 --layout packed --dtype float16
  elmo convert slow.jsonl out.h5 --resume
  elmo convert features/ - --output-format jsonl | head -n 1
"""


@click.command(epilog=EPILOG, short_help="Write features in another layout.")
@click.argument("source", metavar="SOURCE", callback=features_argument)
@click.argument("output", metavar="OUTPUT", callback=lambda _context, _parameter, given: output_path(given))
@output_options
@click.option("--keys", type=click.Choice(KEYS), help="What sentences are called, as for elmo embed.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Type of the values.  [default: as they are]")
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@resuming_options("--no-resume")
@quiet_option
def command(
    source: Path,
    output: Path,
    output_format: str | None,
    layout: str | None,
    compression: str | None,
    rows: str,
    shard_tokens: int | None,
    keys: str | None,
    dtype: str | None,
    overwrite: bool,
    resume: bool | None,
    fresh: bool,
    quiet: bool,
) -> None:
    """Write the features of SOURCE, a file or a folder of shards of any layout, to OUTPUT, in the layout that its name and options ask for.

    The same values, unless --dtype asks for others, of the same sentences in the same order. OUTPUT appears when it is whole.
    With --resume each window is kept beside it until then, which doubles the disk that is needed.
    """
    if isinstance(output, RemotePath):
        raise click.UsageError(f"{output}: elmo convert writes to this machine; elmo embed writes Parquet folders to such a place.")
    check_resuming(resume, fresh=fresh, output=output)
    with usage_errors():
        chosen = choose_layout(output, output_format, layout)
        check_options(output, chosen, compression=compression, rows=rows, shard_tokens=shard_tokens, pool=None, keys=keys)

    from elmo_cli.cli.console import UserConsole, count, size
    from elmo_cli.features.convert import ConvertJob
    from elmo_cli.features.formats import output_target
    from elmo_cli.features.resume.run import with_resume_hint
    from elmo_cli.features.spec import WriteOptions

    words = UserConsole(quiet=quiet, output=output)
    place = output_target(output, chosen, overwrite=overwrite)
    options = WriteOptions(keys, compression or COMPRESSIONS[chosen][0], rows=rows, shard_tokens=shard_tokens)
    job = ConvertJob(
        source, place, chosen, options, dtype, shlex.join(map(redact_url, ["elmo", *sys.argv[1:]])), resume=bool(resume), fresh=fresh
    )
    with words.status("looking"):
        tokens = job.check()
    if tokens is None:
        return words.info(f"{output}: is whole already, made by this very job; nothing to do")
    with with_resume_hint(job.work.how_to_go_on), closing(job.run()) as progress:
        done = words.track(progress, tokens)
    for warning in job.warnings:
        words.warning(warning)
    where = "standard output" if output == STDOUT else f"{output}, {size(place.size())}"
    return words.info(f"{count(done.sentences, 'sentence')}, {count(done.tokens, 'token')}: {where}")
