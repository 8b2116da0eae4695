"""Option groups as dataclasses, with checks and conversion to the objects of the jobs."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from elmo_cli.cli.engine_options import choose_engine
from elmo_cli.errors import UsageError
from elmo_cli.features.formats import Format, output_target
from elmo_cli.features.formats.options import check_options, choose_format
from elmo_cli.features.spec import WriteOptions
from elmo_cli.io.output_file import OutputTarget
from elmo_cli.io.remote_path import RemotePath
from elmo_cli.io.stdout import STDOUT
from elmo_cli.readers.options import ReadOptions

if TYPE_CHECKING:
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.inference.embedder_spec import InitialState
    from elmo_cli.inference.engines import EngineOptions
    from elmo_cli.inference.selection import Selection
    from elmo_cli.models.files import ModelFiles
    from elmo_cli.readers.corpus import Corpus


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model and of the start state of sentences."""

    model: str | None = None
    options: str | None = None
    weights: str | None = None
    cache_dir: Path | None = None
    offline: bool = False
    stateful: bool = False
    batch_size: int = 64
    prime: str | None = None

    def __post_init__(self) -> None:
        if self.stateful and self.prime:
            raise UsageError(
                "--stateful and --prime both set the start state of sentences; pass one of them."
            )

    def find(self, console: "UserConsole") -> "ModelFiles":
        """Return the model's files; a published model is downloaded if necessary."""
        from elmo_cli.models.resolve import find_model

        with console.cache(self.cache_dir, offline=self.offline) as cache:
            return find_model(self.model, self.options, self.weights, cache)

    def start(self, reading: ReadOptions) -> "InitialState":
        """Return the state in which sentences start."""
        from elmo_cli.inference.embedder_spec import InitialState
        from elmo_cli.readers.corpus import Corpus

        prime = Corpus([self.prime], "skip", reading.of_text()) if self.prime else None
        return InitialState(self.stateful, self.batch_size, prime)


@dataclass(frozen=True)
class InputOptions:
    """Options of the corpus."""

    inputs: tuple[str, ...] = ()
    reading: ReadOptions = field(default_factory=ReadOptions)
    blank_lines: str = "error"
    max_sentence_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("Missing argument 'OUTPUT': name the input, then the file to write.")

    def corpus(self) -> "Corpus":
        """Return the corpus, after checking the options against its formats.

        Raises:
            click.UsageError: An option is for another format.
        """
        from elmo_cli.readers.corpus import Corpus

        corpus = Corpus(self.inputs, self.blank_lines, self.reading, self.max_sentence_tokens)
        for option, takers in corpus.misplaced_options():
            formats = ", ".join(sorted({name for _, name in corpus.files}))
            raise click.UsageError(
                f"{option} is for {', '.join(takers)}; {corpus.name} is read as {formats} "
                "(--input-format changes this)."
            )
        return corpus


@dataclass(frozen=True)
class SelectionOptions:
    """Options of the selected layers, pooling and dtype."""

    layers: str | None = None
    mix: str | None = None
    mix_layer_norm: bool = False
    pool: str = "none"
    dtype: str = "float32"
    all_layers: bool = False
    top_layers: bool = False
    average_layers: bool = False

    def __post_init__(self) -> None:
        if len(self._flags) + (self.layers is not None) + (self.mix is not None) > 1:
            raise UsageError(
                "--layers, --mix, --all, --top and --average each choose the layers; pass one of "
                "them."
            )
        if self.mix_layer_norm and not self.mix:
            raise UsageError("--mix-layer-norm requires --mix; pass both.")

    @property
    def _flags(self) -> list[str]:
        given = {"all": self.all_layers, "top": self.top_layers, "average": self.average_layers}
        return [name for name, is_given in given.items() if is_given]

    def selection(self, form: Format, n_layers: int) -> "Selection":
        """Return the selection for a model of `n_layers` layers and a format.

        Raises:
            ElmoError: The file of the mix cannot be read.
        """
        from elmo_cli.inference.selection import Selection
        from elmo_cli.models.formats.scalar_mix import read_mix

        layers = (
            self.layers if self.layers is not None else next(iter(self._flags), form.default_layers)
        )
        mix = read_mix(self.mix, n_layers, layer_norm=self.mix_layer_norm) if self.mix else None
        return Selection(layers, mix, self.pool, self.dtype)


@dataclass(frozen=True)
class OutputOptions:
    """Options of the output and its format."""

    output: Path
    output_format: str | None = None
    layout: str | None = None
    compression: str | None = None
    rows: str = "sentence"
    shard_tokens: int | None = None
    keys: str | None = None
    overwrite: bool = False
    forget_sentences: bool = False
    use_sentence_keys: bool = False

    def __post_init__(self) -> None:
        if self.use_sentence_keys and self.keys not in (None, "sentence"):
            raise UsageError(
                "--use-sentence-keys and --keys contradict each other; pass one of them."
            )

    @cached_property
    def form(self) -> Format:
        """Format of the output.

        Raises:
            UsageError: The options that choose the format contradict one another.
        """
        return choose_format(self.output, self.output_format, self.layout)

    def check(self, pool: str | None = None) -> None:
        """Check the options against the format.

        Args:
            pool: One of POOLS; None if it depends on the source.

        Raises:
            UsageError: The format does not have one of the options.
        """
        check_options(
            self.output,
            self.form,
            compression=self.compression,
            rows=self.rows,
            shard_tokens=self.shard_tokens,
            pool=pool,
            keys=self.keys,
        )

    def target(self) -> OutputTarget:
        """Return the output target."""
        if isinstance(self.output, RemotePath):
            from elmo_cli.features.resume.remote_shards import RemoteShards

            return RemoteShards(self.output)
        return output_target(self.output, self.form.name, overwrite=self.overwrite)

    def write_options(self) -> WriteOptions:
        """Return the options of the feature writer."""
        return WriteOptions(
            keys="sentence" if self.use_sentence_keys else self.keys,
            compression=self.compression or self.form.compressions[0],
            forget_sentences=self.forget_sentences,
            rows=self.rows,
            shard_tokens=self.shard_tokens,
        )


@dataclass(frozen=True)
class ComputeOptions:
    """Options of devices, engine, precision and batch sizes."""

    device: str = "auto"
    cuda_device: int | None = None
    threads: int | None = None
    precision: str = "fp32"
    batch_tokens: int | None = None
    window_tokens: int | None = None
    engine: str | None = None
    address: str | None = None
    workers: int | None = None
    write: str = "driver"

    def __post_init__(self) -> None:
        if self.cuda_device is not None and self.device != "auto":
            raise UsageError("--cuda-device and --device both name the device; pass one of them.")

    def choose_engine(self, *, stateful: bool, output: Path) -> "EngineOptions":
        """Return the engine that the options specify.

        Raises:
            click.UsageError: The options contradict one another.
            DeviceError: There is no GPU for `--device all`.
        """
        device = (
            self.device
            if self.cuda_device is None
            else "cpu"
            if self.cuda_device < 0
            else f"cuda:{self.cuda_device}"
        )
        return choose_engine(
            self.engine,
            device,
            self.address,
            self.workers,
            stateful=stateful,
            output=output,
            write=self.write,
        )


@dataclass(frozen=True)
class ResumeOptions:
    """Options of interrupted runs."""

    resume: bool | None = None
    fresh: bool = False
    shard: tuple[int, int] | None = None  # task I of N

    def __post_init__(self) -> None:
        if self.resume and self.fresh:
            raise UsageError(
                "--resume continues unfinished work and --fresh deletes it; pass one of them."
            )

    def check(self, output: Path, *, stateful: bool = False) -> None:
        """Check that the run can be resumed, if requested.

        Raises:
            UsageError: The run cannot be resumed, because of its output or its state.
        """
        if self.resume and stateful:
            raise UsageError(
                "--stateful cannot be resumed: vectors depend on all preceding sentences; leave "
                "out --resume."
            )
        if self.resume and output == STDOUT:
            raise UsageError(
                "--resume does not apply to standard output; name a file as the output."
            )
