"""Options shared by commands."""

from collections.abc import Callable
from pathlib import Path

import click

from elmo_cli.cli.headings import COMPUTE, MODEL, OUTPUT, RESUME, Command, headed, options
from elmo_cli.cli.parameter_types import COUNT, FILE, Device, Integer
from elmo_cli.features.formats.registry import FILE_FORMATS, LAYOUTS
from elmo_cli.features.spec import KEYS, ROWS
from elmo_cli.io.remote_path import features_path
from elmo_cli.io.stdout import output_path

THREADS = Integer(1, 1024)
PRECISIONS = ("fp32", "bf16", "tf32", "fp16")


def features_argument(_context: click.Context, _parameter: click.Parameter, given: str) -> Path:
    """Return the path or the URI of features."""
    return features_path(given)


def model_options(
    default: str = "ELMO_MODEL, or else tiny, the built-in one",
) -> Callable[[Command], Command]:
    """Return the options that name a model.

    Args:
        default: Description of the default, for the help text.

    Returns:
        The decorator.
    """
    return headed(
        MODEL,
        click.option(
            "--model",
            metavar="NAME|DIR|ZIP|URL",
            help=(
                "Name of a model that elmo models lists, or its folder or archive.  [default: "
                f"{default}]"
            ),
        ),
        click.option(
            "--options",
            "--options-file",
            "options",
            metavar="FILE|URL",
            help="JSON file of the model's options, with --weights.",
        ),
        click.option(
            "--weights",
            "--weight-file",
            "weights",
            metavar="FILE|URL",
            help="HDF5 file of the model's weights, with --options.",
        ),
    )


cache_dir_option = headed(
    MODEL,
    click.option(
        "--cache-dir",
        metavar="DIR",
        type=FILE,
        help=(
            "Folder of downloaded models.  [default: ELMO_CACHE, or the platform's folder for "
            "caches]"
        ),
    ),
)
cache_options = options(
    cache_dir_option,
    headed(
        MODEL,
        click.option(
            "--offline", is_flag=True, help="Download nothing; the same as ELMO_OFFLINE=1."
        ),
    ),
)

threads_option = headed(
    COMPUTE,
    click.option(
        "--threads", type=THREADS, help="Number of CPU threads.  [default: one for each core]"
    ),
)
machine_options = options(
    headed(
        COMPUTE,
        click.option(
            "--device",
            type=Device(),
            default="auto",
            show_default=True,
            help="Device that runs the model; cuda:N is one GPU.",
        ),
    ),
    threads_option,
)
precision_option = headed(
    COMPUTE,
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="fp32",
        show_default=True,
        help=(
            "Precision of matrix products. bf16 is faster where the processor supports it; tf32 "
            "and fp16 are for GPUs."
        ),
    ),
)

output_options = headed(
    OUTPUT,
    click.option(
        "--output-format",
        type=click.Choice(FILE_FORMATS),
        help="Format of OUTPUT.  [default: by its suffix; hdf5 without one]",
    ),
    click.option(
        "--layout",
        type=click.Choice(LAYOUTS),
        help="Arrangement of the vectors in HDF5 or .npz (arrays: one array for each sentence).  "
        "[default: allennlp in HDF5; one array in .npz]",
    ),
    click.option(
        "--compression",
        type=click.Choice(["none", "gzip", "zstd"]),
        help="Compression codec of the stored vectors.  [default: zstd in Parquet, else none]",
    ),
    click.option(
        "--rows",
        type=click.Choice(ROWS),
        default="sentence",
        show_default=True,
        help="Unit of a row in Parquet and Arrow.",
    ),
    click.option(
        "--shard-tokens",
        type=COUNT,
        help="Number of tokens in each Parquet file of a folder.  [default: 131072]",
    ),
    click.option(
        "--keys",
        type=click.Choice(KEYS),
        help=(
            "Names of the sentences in OUTPUT.  [default: number in the allennlp layout; elsewhere "
            "the id, if there is one]"
        ),
    ),
    click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists."),
)
output_argument = click.argument(
    "output",
    metavar="OUTPUT",
    callback=lambda _context, _parameter, given: output_path(given),
)


def resuming_options(default: str) -> Callable[[Command], Command]:
    """Return the options for unfinished work.

    Args:
        default: Description of the default, for the help text.

    Returns:
        The decorator.
    """
    return headed(
        RESUME,
        click.option(
            "--resume/--no-resume",
            default=None,
            help=f"Resume an interrupted run / keep nothing to resume from.  [default: {default}]",
        ),
        click.option(
            "--fresh", is_flag=True, help="Start over, and delete the files of an interrupted run."
        ),
    )


def json_option(description: str) -> Callable[[Command], Command]:
    """Return the option for output as JSON, passed to the command as `as_json`.

    Args:
        description: Description of the option, for the help text.

    Returns:
        The decorator.
    """
    return headed(OUTPUT, click.option("--json", "as_json", is_flag=True, help=description))


quiet_option = click.option(
    "--quiet",
    "-q",
    is_flag=True,
    help="Print warnings and errors only: no progress and no summary.",
)
