"""Model card: the README.md of a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass

from elmo_cli.training.encoded_corpus import TextFacts
from elmo_cli.training.perplexity import Perplexity
from elmo_cli.training.settings import Settings


@dataclass(frozen=True)
class Card:
    """Facts of a model card.

    Attributes:
        name: Name of the model.
        version: Version of this package.
        command: Command of the run.
        corpora: File names of the training text.
        held_out: File names of the held-out text.
        facts: Counts of the training text.
        settings: Settings of the run.
        parameters: Number of parameters without the softmax.
        start: "random weights", or the model that training started from.
        licence: Licence of the weights; None: not stated.
    """

    name: str
    version: str
    command: str
    corpora: Sequence[str]
    held_out: Sequence[str]
    facts: TextFacts
    settings: Settings
    parameters: int
    start: str
    licence: str | None


def write_card(
    card: Card,
    step: int,
    targets: int,
    seconds: float,
    scores: dict[str, Perplexity],
    *,
    complete: bool,
) -> str:
    """Return the model card as Markdown.

    Args:
        card: Facts of the model.
        step: Number of steps.
        targets: Words predicted in each direction.
        seconds: Training time.
        scores: Perplexities of the held-out text, by the state that sentences start from.
        complete: Whether the run is complete.
    """
    facts, done = card.facts, "" if complete else " so far (the run is not complete)"
    used = f"use it with `elmo embed corpus.txt out.h5 --model {card.name}`"
    outside = f"{100 * facts.unknown / facts.tokens:.2f} % of the tokens are outside it"
    lines = [
        f"# {card.name}",
        "",
        (
            "A bidirectional language model (ELMo, Peters et al. 2018) trained with elmo "
            f"{card.version}; {used}."
        ),
        "",
        "| | |",
        "|---|---|",
        f"| corpus | {', '.join(card.corpora)} |",
        (
            f"| | {facts.tokens:,} tokens, {facts.sentences:,} sentences, {facts.types:,} distinct "
            "words |"
        ),
        f"| vocabulary of the softmax | {facts.vocabulary:,} words; {outside} |",
        f"| parameters without softmax | {card.parameters:,} |",
        f"| start | {card.start} |",
        (
            f"| steps{done} | {step:,}: {targets:,} words predicted in each direction, "
            f"{targets / facts.targets:.2f} epochs |"
        ),
        f"| time | {seconds / 60:.1f} minutes |",
        f"| state | {_state(card.settings.reset_share)} |",
        f"| optimiser | {_optimiser(card.settings, facts.vocabulary)} |",
        f"| precision | {card.settings.precision} |",
        "",
    ]
    if scores:
        lines += [
            f"Perplexity on a held-out sample (full softmax; {', '.join(card.held_out)}):",
            "",
        ]
        lines += [
            "| state at sentence starts | forward | backward | average | tokens | unknown |",
            "|---|---|---|---|---|---|",
        ]
        for state, score in scores.items():
            numbers = (
                f"{score.forward:.1f} | {score.backward:.1f} | {score.average:.1f} | "
                f"{score.tokens:,}"
            )
            lines.append(f"| {state} | {numbers} | {100 * score.unknown_rate:.2f} % |")
        lines.append("")
    lines += ["Command:", "", f"    {card.command}", "", "## Licence", ""]
    lines.append(
        card.licence
        or "Not stated. State the conditions that the licences of the corpus impose on the weights."
    )
    return "\n".join(lines) + "\n"


def _state(reset_share: float) -> str:
    if reset_share == 0:
        return "carried from sentence to sentence, as the published models were trained"
    if reset_share == 1:
        return "zero at every sentence start"
    return (
        f"zero at {100 * reset_share:g} % of the sentence starts, otherwise carried from sentence "
        "to sentence"
    )


def _optimiser(settings: Settings, n_words: int) -> str:
    softmax = (
        f"softmax over {settings.samples:,} log-uniform draws"
        if settings.is_sampled(n_words)
        else "full softmax"
    )
    first = (
        f"; the softmax alone in the first {100 * settings.softmax_first:g} %"
        if settings.softmax_first
        else ""
    )
    return (
        f"{settings.optimizer}, learning rate {settings.learning_rate:g}, gradient clipped at "
        f"{settings.gradient_clip:g}, "
        f"dropout {settings.dropout:g}, {settings.streams} streams of {settings.unroll} steps, "
        f"{softmax}{first}"
    )
