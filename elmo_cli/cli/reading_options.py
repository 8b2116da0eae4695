"""Options of the input: its format, tokens, columns, ids and blank lines."""

from collections.abc import Callable

import click

from elmo_cli.cli.headings import INPUT, Command, grouped, headed, options
from elmo_cli.cli.parameter_types import COUNT, Integer
from elmo_cli.readers import READERS
from elmo_cli.readers.options import PLAIN, ReadOptions
from elmo_cli.readers.tokens import SEPARATORS

BLANK_LINES = ("error", "keep", "skip")
TOKEN_COLUMN = Integer(1, 1000)

separator_option = headed(
    INPUT,
    click.option(
        "--separator",
        type=click.Choice(list(SEPARATORS)),
        default=PLAIN.separator,
        show_default=True,
        help="Separator of the tokens in a text.",
    ),
)
encoding_option = headed(
    INPUT,
    click.option(
        "--encoding-errors",
        type=click.Choice(["strict", "replace"]),
        default="strict",
        show_default=True,
        help="Treatment of bytes that are not UTF-8: an error, or U+FFFD.",
    ),
)
max_tokens_option = headed(
    INPUT,
    click.option(
        "--max-sentence-tokens",
        type=COUNT,
        help="Refuse sentences of more than N tokens.  [default: any length]",
    ),
)
label_option = headed(
    INPUT,
    click.option(
        *("--label", "label"),
        metavar="NAME|N",
        required=True,
        help="Labels: upos, xpos, deprel, feats:NAME or misc:NAME of CoNLL-U, the number of a "
        "column of a column file, or a column of a table.",
    ),
)


def blank_lines_option(default: str, treatments: str) -> Callable[[Command], Command]:
    """Return the option for lines without tokens.

    Args:
        default: Name of the default.
        treatments: Description of the three treatments, for the help text.

    Returns:
        The decorator.
    """
    return headed(
        INPUT,
        click.option(
            "--blank-lines",
            type=click.Choice(BLANK_LINES),
            default=default,
            show_default=True,
            help=f"Treatment of lines without tokens: {treatments}.",
        ),
    )


def _takers(field: str) -> str:
    return ", ".join(name for name, reader in READERS.items() if field in reader.takes)


def _format_options(data: str, *, copied: bool) -> Callable[[Command], Command]:
    return headed(
        INPUT,
        click.option(
            "--input-format",
            "format",
            type=click.Choice(list(READERS)),
            help=f"Format of {data}.  [default: by its suffix, or text]",
        ),
        separator_option,
        encoding_option,
        click.option(
            *("--column", "column"),
            metavar="NAME",
            multiple=True,
            default=PLAIN.column,
            show_default=True,
            help=(
                f"Column of the sentences ({_takers('column')}): lists of tokens, or text to be "
                "split; may be repeated, for pairs."
            ),
        ),
        click.option(
            "--id-column",
            metavar="NAME",
            help=f"Column of the sentences' ids ({_takers('id_column')}).",
        ),
        click.option(
            "--keep",
            metavar="NAME",
            multiple=True,
            hidden=not copied,
            help=(
                f"Column or field of {data} to copy to OUTPUT ({_takers('keep')}); may be repeated."
            ),
        ),
        click.option(
            *("--field", "field"),
            metavar="NAME",
            multiple=True,
            default=PLAIN.field,
            show_default=True,
            help=f"Field of the sentence ({_takers('field')}); may be repeated, for pairs.",
        ),
        click.option(
            "--id-field",
            metavar="NAME|N",
            help=(
                f"Field of the sentence's id ({_takers('id_field')}); in a FASTA header its "
                "number: 2 in sp|P1|NAME."
            ),
        ),
        click.option(
            "--documents",
            is_flag=True,
            help=f"Read a list of strings as sentences, not as tokens ({_takers('documents')}).",
        ),
        click.option(
            "--token-column",
            type=TOKEN_COLUMN,
            help=(
                f"Number of the column of the tokens, from 1 ({_takers('token_column')}).  "
                "[default: 1; in CoNLL-2012 4]"
            ),
        ),
        click.option(
            "--keep-case",
            is_flag=True,
            help=f"Leave lower-case residues as they are ({_takers('keep_case')}).",
        ),
        click.option(
            "--ignore-ids", is_flag=True, help=f"Read no ids from {data} ({_takers('ignore_ids')})."
        ),
    )


reading_options = grouped("reading", ReadOptions, _format_options("INPUT", copied=True))
"""Reading options of INPUT, passed to the command as `reading`."""

corpus_reading_options = grouped(
    "reading", ReadOptions, _format_options("the corpus", copied=False)
)
"""Reading options of a corpus compared with features, passed to the command as `reading`."""


def _one_name(_context: click.Context, _parameter: click.Parameter, given: str) -> tuple[str]:
    return (given,)


def labelled_reading_options(data: str) -> Callable[[Command], Command]:
    """Return the reading options of labelled sentences, passed to the command as `reading`.

    Args:
        data: Name of the labelled data in the help text.

    Returns:
        The decorator.
    """
    return grouped(
        "reading",
        ReadOptions,
        options(
            headed(
                INPUT,
                click.option(
                    "--input-format",
                    "format",
                    type=click.Choice(list(READERS)),
                    help=f"Format of {data}.  [default: by the suffix]",
                ),
                click.option(
                    "--column",
                    metavar="NAME",
                    default=PLAIN.column[0],
                    show_default=True,
                    callback=_one_name,
                    help="Column of the tokens in a table.",
                ),
                click.option(
                    "--field",
                    metavar="NAME",
                    default=PLAIN.field[0],
                    show_default=True,
                    callback=_one_name,
                    help="Field of the tokens in JSON Lines.",
                ),
                click.option(
                    "--token-column",
                    type=TOKEN_COLUMN,
                    help=(
                        "Number of the column of the tokens in a column file, from 1.  "
                        "[default: 1; in CoNLL-2012 4]"
                    ),
                ),
            ),
            separator_option,
            encoding_option,
        ),
    )
