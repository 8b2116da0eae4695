"""Options of `elmo fit`, and their checks."""

from dataclasses import dataclass

from elmo_cli.downstream.examples import NUMBERS, OF_TOKENS, TAGS
from elmo_cli.downstream.token_head import LINEAR, LSTM_CRF
from elmo_cli.errors import UsageError
from elmo_cli.inference.selection import UNLAYERED


@dataclass(frozen=True)
class FitOptions:
    """Options of a classifier and its training.

    Args:
        head: One of HEADS; None: by the labels.
        layers: Choice of layers.
        mix: One of MIXES; None: by the head.
        pool: Pooling of sentences.
        balanced: Whether labels are weighted by inverse frequency in the loss.
        seed: Random seed.
        epochs: Number of epochs; None: by the number of sentences.
        fine_tune: Whether the biLM is trained too.
        learning_rate: Learning rate of the biLM, if trained; None: the default.
        include_model: Whether the biLM is copied into the folder; None: unless it is built in.
    """

    head: str | None = None
    layers: str = "all"
    mix: str | None = None
    pool: str | None = None
    balanced: bool = False
    seed: int = 0
    epochs: int | None = None
    fine_tune: bool = False
    learning_rate: float | None = None
    include_model: bool | None = None


def choose_head(options: FitOptions, task: str) -> str:
    """Return the classifier: the chosen one, or the default for the labels."""
    return options.head or (LSTM_CRF if task == TAGS else LINEAR)


def check_options(options: FitOptions, task: str, train: str, device: str) -> None:
    """Check that the options fit the labels and one another.

    Args:
        options: The options.
        task: One of TASKS.
        train: Name of the training part, for messages.
        device: Device of the biLM.

    Raises:
        UsageError: The options contradict the labels or one another.
    """
    if options.fine_tune:
        _check_fine_tuning(options, device)
    elif options.learning_rate:
        raise UsageError("--learning-rate requires --fine-tune; pass both.")
    if task in OF_TOKENS:
        _check_of_tokens(options, task, train)
    else:
        _check_of_sentences(options, task, train)
    if options.mix and options.layers in UNLAYERED:
        raise UsageError(
            f"--mix is for several layers, and --layers {options.layers} gives one vector; leave "
            "one of them out."
        )


def _check_fine_tuning(options: FitOptions, device: str) -> None:
    given = {"layers": options.layers != "all", "mix": options.mix, "pool": options.pool}
    if wrong := next((name for name, is_given in given.items() if is_given), None):
        raise UsageError(
            f"--{wrong} is for a biLM that is not trained; --fine-tune learns a mix of all layers, "
            "pooled by mean+max."
        )
    if device != "cpu":
        raise UsageError(f"--fine-tune runs on the CPU; pass --device cpu, not {device}.")


def _check_of_tokens(options: FitOptions, task: str, train: str) -> None:
    if options.pool:
        raise UsageError(f"--pool is for labels of sentences; those of {train} are of tokens.")
    if options.balanced and choose_head(options, task) != LINEAR:
        raise UsageError("--balanced is for linear classifiers; pass --head linear.")


def _check_of_sentences(options: FitOptions, task: str, train: str) -> None:
    for name, value in (("head", options.head), ("mix", options.mix)):
        if value not in (None, LINEAR):
            raise UsageError(
                f"--{name} {value} is for labels of tokens; those of {train} are of sentences."
            )
    if options.epochs and not options.fine_tune:
        raise UsageError(
            "--epochs is for labels of tokens; those of sentences are learned until the loss does "
            "not fall."
        )
    if options.balanced and task == NUMBERS:
        raise UsageError("--balanced is for labels, not for --regression.")
