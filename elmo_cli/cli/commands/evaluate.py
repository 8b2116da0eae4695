"""`elmo evaluate`: perplexity of a trained model on text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.headings import MODEL, HeadedCommand, grouped, headed
from elmo_cli.cli.option_groups import ComputeOptions
from elmo_cli.cli.options import json_option, machine_options, quiet_option
from elmo_cli.cli.parameter_types import FILE
from elmo_cli.errors import CorpusError

if TYPE_CHECKING:
    from elmo_cli.training.perplexity import Perplexity

EPILOG = """\b
Examples:
  elmo evaluate my_model/ dev.txt
  elmo evaluate my_model/ news.txt.zst novels.txt.zst --state carried --json
"""
COLUMNS = ("sentences", "tokens", "unknown", "forward", "backward", "average")


_state_option = headed(
    MODEL,
    click.option(
        "--state",
        type=click.Choice(["zero", "carried"]),
        default="zero",
        show_default=True,
        help=(
            "State at the start of a sentence: zero, as in elmo embed, or carried over from the "
            "previous sentence, as in training."
        ),
    ),
)


@click.command(cls=HeadedCommand, epilog=EPILOG)
@click.argument("model", metavar="MODEL")
@click.argument("corpora", metavar="CORPUS...", nargs=-1, required=True, type=FILE)
@_state_option
@json_option("Print one JSON object per corpus instead of a table.")
@grouped("compute", ComputeOptions, machine_options)
@quiet_option
def command(
    model: str,
    corpora: tuple[Path, ...],
    state: str,
    as_json: bool,
    compute: ComputeOptions,
    quiet: bool,
) -> None:
    """Write the perplexity of MODEL, made by elmo train, on each CORPUS to standard output.

    The full softmax predicts every token and one boundary per sentence, in each direction. The
    column "unknown" is the share of the tokens outside the vocabulary, which are predicted as
    <UNK>.
    """
    import torch

    from elmo_cli.cli.console import UserConsole
    from elmo_cli.models.resolve import find_model
    from elmo_cli.nn.devices import choose_device
    from elmo_cli.readers.corpus import Corpus
    from elmo_cli.training.initialization import load_language_model
    from elmo_cli.training.perplexity import Perplexity, score_text

    if compute.threads:
        torch.set_num_threads(compute.threads)
    place = choose_device(compute.device)
    language_model, words = load_language_model(find_model(model))
    language_model.to(place)
    ids = {word: i for i, word in enumerate(words)}
    total = Perplexity()
    for corpus in corpora:
        sentences = (sentence.tokens for sentence in Corpus([corpus], blank_lines="skip").read())
        score = score_text(language_model, ids, sentences, carried=state == "carried")
        if not score.tokens:
            raise CorpusError(f"{corpus}: has no tokens to evaluate on; pass another file")
        click.echo(_line(corpus.name, score, as_json, header=not total.tokens))
        total = total.add(score)
    if len(corpora) > 1:
        click.echo(_line("all", total, as_json, header=False))
    UserConsole(quiet=quiet).info(
        f"full softmax over {len(words):,} words, sentences start from the {state} state"
    )


def _line(name: str, score: "Perplexity", as_json: bool, *, header: bool) -> str:
    if as_json:
        figures = {"forward": score.forward, "backward": score.backward, "average": score.average}
        return json.dumps(
            {
                "corpus": name,
                "sentences": score.sentences,
                "tokens": score.tokens,
                "unknown": score.unknown_rate,
                **figures,
            }
        )
    columns = (
        f"{'corpus':<24}" + "".join(f"{column:>12}" for column in COLUMNS) + "\n" if header else ""
    )
    counts = (
        f"{name:<24}{score.sentences:>12,}{score.tokens:>12,}{100 * score.unknown_rate:>10.2f} %"
    )
    return f"{columns}{counts}{score.forward:>12.2f}{score.backward:>12.2f}{score.average:>12.2f}"
