"""`elmo convert`: conversion of features to another format or layout."""

from contextlib import closing
from pathlib import Path

import click

from elmo_cli.cli.command_line import command_line
from elmo_cli.cli.headings import OUTPUT, HeadedCommand, grouped, headed, usage_errors
from elmo_cli.cli.option_groups import OutputOptions, ResumeOptions
from elmo_cli.cli.options import (
    features_argument,
    output_argument,
    output_options,
    quiet_option,
    resuming_options,
)
from elmo_cli.features.spec import DTYPES
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.io.stdout import STDOUT

EPILOG = """\b
Examples:
  elmo convert out.h5 features/ --output-format parquet
  elmo convert old_allennlp.hdf5 packed.h5 --layout packed --dtype float16
  elmo convert slow.jsonl out.h5 --resume
  elmo convert features/ - --output-format jsonl | head -n 1
"""


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("source", metavar="SOURCE", callback=features_argument)
@output_argument
@grouped("written", OutputOptions, output_options)
@headed(
    OUTPUT,
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        help="Type of the stored values.  [default: as in SOURCE]",
    ),
)
@grouped("resuming", ResumeOptions, resuming_options("--no-resume"))
@quiet_option
def command(
    source: Path,
    written: OutputOptions,
    dtype: str | None,
    resuming: ResumeOptions,
    quiet: bool,
) -> None:
    """Write the features of SOURCE to OUTPUT in another format or layout.

    SOURCE is a file or a folder of shards of any layout. The suffix of OUTPUT and the options
    choose the format. Values and order of the sentences are unchanged, unless --dtype changes the
    type of the values. OUTPUT appears when it is complete. With --resume each window is kept beside
    it until then, which doubles the disk space that is needed.
    """
    if isinstance(written.output, RemotePath):
        raise click.UsageError(
            f"{written.output}: elmo convert writes local files; to write Parquet folders to a "
            "URI, use elmo embed."
        )
    with usage_errors():
        resuming.check(written.output)
        written.check()

    from elmo_cli.cli.console import UserConsole, count, size
    from elmo_cli.features.convert import ConvertJob
    from elmo_cli.features.resume.run import with_resume_hint

    console = UserConsole(quiet=quiet, output=written.output)
    job = ConvertJob(
        source=source,
        output=written.target(),
        layout=written.form.name,
        store=written.write_options(),
        dtype=dtype,
        command=command_line(),
        resume=bool(resuming.resume),
        fresh=resuming.fresh,
    )
    with console.status("looking"):
        tokens = job.check()
    if tokens is None:
        return console.info(
            f"{written.output}: is already complete, written by the same job; nothing to do"
        )
    with with_resume_hint(job.work.how_to_go_on), closing(job.run()) as progress:
        done = console.track(progress, tokens)
    for warning in job.warnings:
        console.warning(warning)
    where = (
        "standard output"
        if written.output == STDOUT
        else f"{written.output}, {size(job.output.size())}"
    )
    return console.info(
        f"{count(done.sentences, 'sentence')}, {count(done.tokens, 'token')}: {where}"
    )
