"""Picklable description of an embedder: model, device, precision, threads, initial state."""

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from elmo_cli.errors import CorpusError, UsageError
from elmo_cli.inference.batch_sizes import batch_tokens_for, window_tokens_for
from elmo_cli.inference.embedder import Embedder, all_layers
from elmo_cli.models.cache import sha256
from elmo_cli.models.files import ModelFiles
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.batching import STATEFUL_BATCH
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.devices import choose_device, choose_precision
from elmo_cli.readers.corpus import Corpus
from elmo_cli.types import Select

LAST_SECOND = 253402300799  # end of the year 9999, the last one of Python's dates


def now() -> str:
    """Return the time in UTC, to the second.

    SOURCE_DATE_EPOCH, if set, replaces the current time, so that output is reproducible to the
    byte.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is not a time.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.fromtimestamp(int(time.time()), timezone.utc).isoformat()
    if not re.fullmatch(r"[0-9]{1,12}", epoch) or int(epoch) > LAST_SECOND:
        fact = (
            f"SOURCE_DATE_EPOCH={epoch[:40]!r} is not a number of seconds since 1970 (0 to "
            f"{LAST_SECOND})"
        )
        raise UsageError(f"{fact}; set such a number, or unset it")
    return datetime.fromtimestamp(int(epoch), timezone.utc).isoformat()


@dataclass(frozen=True)
class InitialState:
    """State in which sentences start.

    Args:
        stateful: Whether a sentence starts in the state that the batch before it left, as in
            AllenNLP 0.9.0.
        batch_size: Number of sentences in such a batch.
        prime: Sentences that are read once; their final state is the start state. None: the zero
            state.
    """

    stateful: bool = False
    batch_size: int = STATEFUL_BATCH
    prime: Corpus | None = None

    def describe(self) -> str:
        """Return a description of the start state for metadata, with the hash of a priming text."""
        if self.stateful:
            return f"carried between batches of {self.batch_size}"
        return (
            f"primed by {self.prime.name}, sha256 {sha256(self.prime.local_paths[0])}"
            if self.prime
            else "zero"
        )

    def check(self) -> None:
        """Check that the priming text can be read and contains tokens.

        Raises:
            CorpusError: The text cannot be read, or does not contain tokens.
        """
        if self.prime and (self.prime.is_stream or len(self.prime.local_paths) != 1):
            raise CorpusError(
                f"--prime {self.prime.name}: must be one file, because it is read more than once; "
                "name one file"
            )
        if self.prime and self.prime.scan().tokens == 0:
            raise CorpusError(f"--prime {self.prime.name}: contains no tokens; name another file")

    def priming_sentences(self) -> Iterable[list[str]]:
        """Return the token lists of the priming text."""
        return (sentence.tokens for sentence in self.prime.read()) if self.prime else ()


@dataclass(frozen=True)
class EmbedderSpec:
    """Specification from which each process builds an embedder. A pickle contains no weights.

    Args:
        model: A name, folder, archive or URL, which each process resolves; or resolved files.
        options: In place of `model`, the model's options.json (a path or URL).
        weights: The HDF5 file of the weights (a path or URL), with `options`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: Precision of the LSTMs' matrix products: "fp32", "tf32", "bf16" or "fp16".
        threads: CPU threads of the process; None leaves them as they are.
        start: State in which sentences start.
        batch_tokens: Tokens that are computed together; None: by the device.
        window_tokens: Tokens that are sorted and written together; None: by the device.
    """

    model: str | Path | ModelFiles | None = None
    options: str | Path | None = None
    weights: str | Path | None = None
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    start: InitialState = field(default_factory=InitialState)
    batch_tokens: int | None = None
    window_tokens: int | None = None

    @cached_property
    def files(self) -> ModelFiles:
        """The model's files on this machine, downloaded if necessary.

        Raises:
            ElmoError: The files cannot be found.
        """
        if isinstance(self.model, ModelFiles):
            return self.model
        return find_model(
            None if self.model is None else str(self.model), self.options, self.weights
        )

    @cached_property
    def place(self) -> tuple[str, str]:
        """The torch device and the precision on this machine.

        Raises:
            DeviceError: The device is not available, or does not have the precision.
        """
        device = choose_device(self.device)
        return device, choose_precision(self.precision, device)

    @property
    def max_window_tokens(self) -> int:
        """Tokens that are sorted and written together on this machine."""
        return self.window_tokens or window_tokens_for(self.place[0])

    def max_batch_tokens(self, config: BiLMConfig) -> int:
        """Return the number of tokens computed together here; call it after the model is loaded."""
        return self.batch_tokens or batch_tokens_for(config, self.place[0])

    def build(self, choose: Select = all_layers, bilm: BiLM | None = None) -> Embedder:
        """Return an embedder in this process, after loading the model.

        Args:
            choose: What the embedder keeps of the layers (layer, token, dim) of a sentence.
            bilm: A network to use instead of loading the model, such as one of random weights.

        Raises:
            ElmoError: The model or the device cannot be used.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        device, precision = self.place
        return Embedder(
            bilm or self.files.load(), device, self.start.priming_sentences(), precision, choose
        )

    def metadata(
        self, selection: Mapping[str, str], command: str, precision: str | None = None
    ) -> dict[str, str]:
        """Return the metadata of features that the embedder computes.

        Args:
            selection: Metadata of the selected layers, from `Selection.metadata`.
            command: The command or function that is run.
            precision: Precision in which the vectors are computed; None: that of this machine.
        """
        made = {**self.files.metadata(self.start.describe()), **selection}
        return {
            **made,
            "precision": precision or self.place[1],
            "command": command,
            "created": now(),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the specification alone: paths and devices are resolved when it is unpickled."""
        return EmbedderSpec, tuple(getattr(self, each.name) for each in fields(self))
