"""Training step: optimizer, LSTM state and clock of a run over the streams of a text."""

import math
import os
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elmo_cli.errors import DivergenceError
from elmo_cli.nn.bilm import BiLMState
from elmo_cli.nn.kernels.malloc import tune_malloc
from elmo_cli.nn.parallel import RunBoth
from elmo_cli.training.bptt import Streams, read_window
from elmo_cli.training.checkpoint import Checkpoint
from elmo_cli.training.distributed import ProcessGroup
from elmo_cli.training.encoded_corpus import EncodedText
from elmo_cli.training.gradient import StepOptions, fill_gradients
from elmo_cli.training.language_model import Dropout, LanguageModel
from elmo_cli.training.settings import Settings
from elmo_cli.training.softmax import Candidates, all_words, log_expected_counts, log_uniform_words

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}
SEEDS = 1_000_003  # distance of the random seeds of two runs, larger than their steps
WEIGHT_DECAY = 0.01  # AdamW
START_ACCUMULATOR = 1.0  # Adagrad, as in bilm-tf


class StepResult(NamedTuple):
    """Result of a training step.

    Attributes:
        loss: Mean loss of both directions in nats, of this run's softmax.
        learning_rate: Learning rate of the step.
        gradient_norm: Norm of the gradient before clipping.
        stop: Whether a process was asked to stop.
    """

    loss: float
    learning_rate: float
    gradient_norm: float
    stop: bool


@dataclass
class Trainer:
    """State of a run that changes from step to step.

    Attributes:
        model: The model.
        text: The encoded corpus.
        streams: Division of the corpus.
        settings: Settings of the run.
        workers: Processes of the run.
        device: Device of this process.
        step: Number of steps.
        seconds: Training time, without the work between steps.
    """

    model: LanguageModel
    text: EncodedText
    streams: Streams
    settings: Settings
    workers: ProcessGroup
    device: torch.device
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.rows = self.workers.share(self.streams.n_streams)
        self.total_steps = self.settings.total_steps(
            self.streams.windows, self.streams.n_streams, self.streams.unroll
        )
        self.optimizer = _make_optimizer(self.settings, self.model)
        self.state = self.model.bilm.zero_state(self.rows.stop - self.rows.start)
        n_words = self.text.facts.vocabulary
        self._every_word: Candidates | None = None
        if self.settings.is_sampled(n_words):
            self._log_expected = log_expected_counts(n_words, self.settings.samples).to(self.device)
        else:
            self._every_word = Candidates(*(part.to(self.device) for part in all_words(n_words)))

    @property
    def targets(self) -> int:
        """Number of words predicted so far in each direction."""
        return self.step * self.streams.n_streams * self.streams.unroll

    @property
    def share_done(self) -> float:
        """Share of the run that is complete."""
        return self.settings.share_done(self.step, self.total_steps, self.seconds)

    @property
    def softmax_is_first(self) -> bool:
        """Whether only the softmax is trained at present."""
        return self.share_done < (self.settings.softmax_first or 0)

    def _n_bilm_steps(self) -> int:
        """Return the steps that trained the biLM, which has its own warm-up after the softmax."""
        state = self.optimizer.state.get(next(self.model.bilm.parameters()))
        return int(state["step"]) if state else 0

    def train_step(self, run_both: RunBoth, *, stop: bool = False) -> StepResult:
        """Train on the next window.

        Args:
            run_both: Function that runs two halves of the work.
            stop: Whether this process was asked to stop.

        Returns:
            Result of the step.

        Raises:
            DivergenceError: The loss or its gradient is not finite; the weights are unchanged.
        """
        start = time.perf_counter()
        rate = self.settings.rate(
            self.step if self.softmax_is_first else self._n_bilm_steps(), self.share_done
        )
        losses, state = self._fill_gradients(run_both)
        parameters = list(self.model.parameters())
        # The time and the request to stop become equal in all processes
        clock = losses.new_tensor([time.perf_counter() - start, float(stop)])
        self.workers.average(
            [
                losses,
                clock,
                *(parameter.grad for parameter in parameters if parameter.grad is not None),
            ]
        )
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip))
        loss = float(losses.mean())
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise DivergenceError(
                f"the loss at step {self.step + 1:,} is {loss:g}, its gradient's norm {norm:g}"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.state = state
        self.step += 1
        self.seconds += max(
            0.0, float(clock[0]) if self.workers.world > 1 else time.perf_counter() - start
        )
        return StepResult(loss, rate, norm, bool(clock[1] > 0))

    def evaluate_loss(self, run_both: RunBoth) -> StepResult:
        """Compute the loss of the next step without a change of the weights.

        Args:
            run_both: Function that runs two halves of the work.

        Returns:
            Result with the loss.

        Raises:
            DivergenceError: The loss is not finite.
        """
        losses, _ = self._fill_gradients(run_both)
        self.workers.average([losses])
        loss = float(losses.mean())
        if not math.isfinite(loss):
            raise DivergenceError(f"the loss at step {self.step + 1:,} is {loss:g}")
        return StepResult(loss, 0.0, 0.0, stop=False)

    def _fill_gradients(self, run_both: RunBoth) -> tuple[Tensor, BiLMState]:
        """Compute losses, gradients and final state of the next window.

        All random numbers depend on the seed and the step only.
        """
        settings, seed = self.settings, self.settings.seed * SEEDS + self.step
        window = read_window(
            self.text, self.streams, self.step, settings.reset_share, seed, self.rows
        ).to(self.device)
        options = StepOptions(
            self._candidates(seed),
            Dropout(settings.dropout, seed * self.workers.world + self.workers.rank),
            DTYPES[settings.precision],
            # bilm-tf sums the losses of a window's steps
            self.streams.unroll if settings.optimizer == "adagrad" else 1.0,
            self.softmax_is_first,
        )
        return fill_gradients(self.model, window, self.state, self.text.rows, options, run_both)

    def _candidates(self, seed: int) -> Candidates:
        if self._every_word is not None:
            return self._every_word
        words = log_uniform_words(
            self.text.facts.vocabulary, self.settings.samples, torch.Generator().manual_seed(seed)
        )
        return Candidates(words.to(self.device), self._log_expected)

    def checkpoint(self) -> Checkpoint:
        """Return the state that `restore` needs; all processes must call it."""
        hidden, cell = (self.workers.gather_streams(part) for part in self.state)
        return Checkpoint(
            self.step,
            self.seconds,
            self.model.state_dict(),
            self.optimizer.state_dict(),
            hidden,
            cell,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint."""
        self.step, self.seconds = checkpoint.step, checkpoint.seconds
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.state = BiLMState(
            *(
                part[:, :, self.rows].to(self.device)
                for part in (checkpoint.hidden, checkpoint.cell)
            )
        )


def _make_optimizer(settings: Settings, model: LanguageModel) -> torch.optim.Optimizer:
    parameters: list[Tensor] = list(model.parameters())
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(
            parameters, lr=settings.learning_rate, initial_accumulator_value=START_ACCUMULATOR
        )
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, fused=fused
    )


def tune_memory() -> None:
    """Limit oneDNN's cache and keep freed memory; must run before any computation.

    PyTorch caches a thousand oneDNN primitives with their buffers, 2 GB in all, since every window
    has new shapes.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")
    tune_malloc()
