"""Options of `elmo train`."""

import click

from elmo_cli.cli.headings import (
    COMPUTE,
    INPUT,
    MODEL,
    OUTPUT,
    RESUME,
    TRAINING,
    grouped,
    headed,
    options,
)
from elmo_cli.cli.options import machine_options
from elmo_cli.cli.parameter_types import COUNT, FILE, Integer, Number
from elmo_cli.cli.reading_options import encoding_option, separator_option
from elmo_cli.cli.training_groups import (
    DEFAULT_EPOCHS,
    ArchitectureOptions,
    CheckpointOptions,
    LengthOptions,
    TextOptions,
    TrainingOptions,
    WeightsOptions,
)
from elmo_cli.nn.presets import PRESETS
from elmo_cli.training.settings import LEARNING_RATES, Settings

DEFAULT = Settings()
LARGEST_SEED = 2**31 - 1
POSITIVE = Number(above=0)

architecture_options = grouped(
    "architecture",
    ArchitectureOptions,
    headed(
        MODEL,
        click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            help="Named architecture.  [default: tiny]",
        ),
        click.option(
            "--options",
            type=FILE,
            metavar="FILE",
            help="Architecture as a JSON file, such as the options.json of a model.",
        ),
        click.option(
            "--from", "start", metavar="MODEL", help="Start from the weights of this model."
        ),
        click.option(
            "--vocabulary",
            type=click.Choice(["new", "old"]),
            default="new",
            show_default=True,
            help="Vocabulary of the softmax with --from: that of CORPUS or of MODEL.",
        ),
    ),
)
text_options = grouped(
    "text",
    TextOptions,
    headed(
        INPUT,
        click.option(
            "--vocabulary-size",
            type=Integer(5),
            default=30_000,
            show_default=True,
            help="Largest number of words of the softmax.",
        ),
        click.option(
            "--min-count",
            type=COUNT,
            default=1,
            show_default=True,
            help="Smallest number of occurrences of a word of the softmax; others are <UNK>.",
        ),
        click.option(
            "--held-out",
            type=FILE,
            metavar="FILE",
            multiple=True,
            help="Held-out text for the perplexity at every checkpoint; may be repeated.",
        ),
    ),
    separator_option,
    encoding_option,
)
length_options = grouped(
    "length",
    LengthOptions,
    headed(
        TRAINING,
        click.option(
            "--epochs",
            type=POSITIVE,
            help=f"Length of the run in passes over the corpus.  [default: {DEFAULT_EPOCHS:g}]",
        ),
        click.option("--steps", type=COUNT, help="Length of the run in updates of the weights."),
        click.option(
            "--tokens", type=COUNT, help="Length of the run in words to predict in each direction."
        ),
        click.option(
            "--minutes",
            type=POSITIVE,
            help="Limit of the training time; the learning rate decreases accordingly.",
        ),
    ),
)
_optimizer_options = headed(
    TRAINING,
    click.option(
        "--optimizer",
        type=click.Choice(list(LEARNING_RATES)),
        default="adamw",
        show_default=True,
        help="Optimizer of the weights.",
    ),
    click.option(
        "--learning-rate",
        type=POSITIVE,
        help="Peak learning rate.  [default: 0.002 for adamw, 0.2 for adagrad]",
    ),
    click.option(
        "--warm-up",
        type=Integer(0),
        default=DEFAULT.warm_up,
        show_default=True,
        help="Number of steps in which the learning rate rises to its peak (adamw).",
    ),
    click.option(
        "--gradient-clip",
        type=POSITIVE,
        help="Largest norm of the gradient.  [default: 1 for adamw, 10 for adagrad]",
    ),
    click.option(
        "--dropout",
        type=Number(least=0, below=1),
        default=DEFAULT.dropout,
        show_default=True,
        help="Share of the LSTMs' values that are set to 0.",
    ),
    click.option(
        "--seed",
        type=Integer(0, LARGEST_SEED),
        default=DEFAULT.seed,
        show_default=True,
        help="Seed of all random numbers.",
    ),
)
_softmax_options = headed(
    TRAINING,
    click.option(
        "--softmax",
        type=click.Choice(["sampled", "full"]),
        default="sampled",
        show_default=True,
        help="Softmax of the training: over a sample of the words, or over all.",
    ),
    click.option(
        "--samples",
        type=COUNT,
        default=DEFAULT.samples,
        show_default=True,
        help="Number of draws of the sampled softmax.",
    ),
    click.option(
        "--softmax-first",
        type=Number(least=0, most=1),
        help=(
            "Share of the run that trains only the softmax, with --from.  [default: 0.2 if MODEL "
            "has no softmax, else 0]"
        ),
    ),
)
_batch_options = headed(
    TRAINING,
    click.option(
        "--streams",
        type=COUNT,
        default=DEFAULT.streams,
        show_default=True,
        help="Number of places of the corpus that are read in parallel.",
    ),
    click.option(
        "--unroll",
        type=COUNT,
        default=DEFAULT.unroll,
        show_default=True,
        help="Number of steps of back-propagation through time.",
    ),
    click.option(
        "--sentences",
        is_flag=True,
        help="Start every sentence from the zero state; same as --reset 1.",
    ),
    click.option(
        "--reset",
        type=Number(least=0, most=1),
        help=(
            "Share of the sentences that start from the zero state.  [default: 0, as for the "
            "published models]"
        ),
    ),
)
_precision_option = headed(
    COMPUTE,
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default="auto",
        show_default=True,
        help="Precision of matrix products; auto is bf16 on hardware with bfloat16 instructions.",
    ),
)
training_options = grouped(
    "training",
    TrainingOptions,
    options(_optimizer_options, _softmax_options, _batch_options, _precision_option),
)
checkpoint_options = grouped(
    "checkpoints",
    CheckpointOptions,
    headed(
        RESUME,
        click.option(
            "--resume",
            is_flag=True,
            help="Continue from the checkpoint of MODEL_DIR, with the options of its run.",
        ),
        click.option(
            "--checkpoint-minutes",
            type=Number(least=0),
            default=10.0,
            show_default=True,
            help="Time between checkpoints, in minutes.",
        ),
    ),
    machine_options,
)
weights_options = grouped(
    "weights",
    WeightsOptions,
    headed(
        OUTPUT,
        click.option(
            "--float16", is_flag=True, help="Store the weights as float16, which halves their size."
        ),
        click.option(
            "--licence", metavar="TEXT", help="Licence of the weights, for the model card."
        ),
    ),
)
