"""Steps to the end of a run, and what is done between them: the log, the checkpoints, the model folder and its figures."""

import math
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from elmo_cli.nn.parallel import InThreads, RunBoth, in_sequence
from elmo_cli.training import log
from elmo_cli.training.checkpoint import WORK, export_model, replace_file, save_checkpoint
from elmo_cli.training.encoded_corpus import writing
from elmo_cli.training.model_card import Card, write_card
from elmo_cli.training.perplexity import Perplexity, score_text
from elmo_cli.training.settings import Run
from elmo_cli.training.trainer import DivergenceError, StepResult, Trainer
from elmo_cli.version import __version__

LOG_STEPS = 20
STATES = {"zero": False, "carried": True}  # what a sentence starts from


class TrainProgress(NamedTuple):
    """How far a run is."""

    step: int
    words: int  # predicted in each direction
    share_done: float
    seconds: float
    loss: float  # mean since the last of these, in nats
    held_out: float | None = None  # perplexity from the zero state, where this is a checkpoint


@dataclass
class TrainingLoop:
    """A trainer and its model folder."""

    trainer: Trainer
    run: Run
    folder: Path
    words: list[str]
    held_out: list[list[str]]
    checkpoint_minutes: float
    asked_to_stop: Callable[[], bool]
    notes: list[str]
    losses: list[float] = field(default_factory=list)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.trainer.workers.rank == 0

    def train(self) -> Generator[TrainProgress, None, None]:
        """Train to the end, telling how far it is every few steps and at every checkpoint.

        Raises:
            KeyboardInterrupt: It was asked to stop, and has left a checkpoint.
            ElmoError: The disk is full, or the loss is no number.
        """
        trainer = self.trainer
        kept_step, kept_seconds = trainer.step, trainer.seconds
        both: RunBoth = InThreads() if trainer.device.type == "cpu" else in_sequence
        if trainer.share_done >= 1:  # it was stopped when it had its last checkpoint, but no model of it yet
            yield self._keep(trainer.look_ahead(both), complete=True)
        while trainer.share_done < 1:
            with self._naming_what_is_good(kept_step):
                taken = trainer.take_step(both, stop=self.asked_to_stop())
            self.losses.append(taken.loss)
            due = trainer.seconds - kept_seconds >= 60 * self.checkpoint_minutes
            over = trainer.share_done >= 1
            if due or over or taken.stop:
                with self._naming_what_is_good(kept_step):
                    trainer.look_ahead(both)
                yield self._keep(taken, complete=over)
                kept_step, kept_seconds = trainer.step, trainer.seconds
            elif trainer.step % LOG_STEPS == 0:
                yield self._log(taken)
            if taken.stop and not over:
                raise KeyboardInterrupt
        if self.is_first:
            self._draw()
            shutil.rmtree(self.folder / WORK)
        trainer.workers.wait()

    def _draw(self) -> None:
        """The picture of the log; a run that has got so far does not fail for the lack of it."""
        try:
            if not log.draw(self.folder):
                self.notes.append("no curve.png: matplotlib is not installed; pip install 'elmo-cli[analysis]' brings it")
        except OSError as error:  # the disk is full, or matplotlib finds no folder for its own files
            (self.folder / log.CURVE).unlink(missing_ok=True)
            self.notes.append(f"no curve.png: it cannot be drawn ({error.strerror or str(error).splitlines()[0]})")

    @contextmanager
    def _naming_what_is_good(self, kept_step: int) -> Iterator[None]:
        try:
            yield
        except DivergenceError as error:
            remedy = f"go on from the last good checkpoint, that of step {kept_step:,}, with --resume and a lower --learning-rate"
            raise DivergenceError(f"{self.folder}: {error}; {remedy}") from None

    def _log(self, taken: StepResult, scores: dict[str, Perplexity] | None = None) -> TrainProgress:
        losses = self.losses or [taken.loss]
        trainer, loss = self.trainer, sum(losses) / len(losses)
        self.losses.clear()
        zero = scores["zero"].average if scores else None
        done = TrainProgress(trainer.step, trainer.entries, trainer.share_done, trainer.seconds, loss, zero)
        if self.is_first:
            figures = {"step": done.step, "words": done.words, "seconds": round(done.seconds, 2)}
            rates = {"learning_rate": taken.learning_rate, "gradient_norm": taken.gradient_norm}
            held_out = {"held_out": {state: _figures(score) for state, score in scores.items()}} if scores else {}
            with writing(self.folder):
                log.append(self.folder, {**figures, "loss": loss, "perplexity": perplexity(loss), **rates, **held_out})
        return done

    def _keep(self, taken: StepResult, *, complete: bool) -> TrainProgress:
        """A checkpoint, and the model as it is now."""
        trainer = self.trainer
        checkpoint = trainer.checkpoint()
        scores: dict[str, Perplexity] = {}
        if self.is_first:
            save_checkpoint(self.folder, checkpoint)
            if self.held_out:
                ids = {word: i for i, word in enumerate(self.words)}
                scores = {state: score_text(trainer.model, ids, self.held_out, carried=carried) for state, carried in STATES.items()}
            export_model(self.folder, trainer.model, self.words, self._facts(), self.run.storage)
            card = write_card(self._card(), trainer.step, trainer.entries, trainer.seconds, scores, complete=complete)
            replace_file(self.folder / "README.md", lambda path: _write(path, card))
        return self._log(taken, scores)

    def _facts(self) -> dict[str, object]:
        """What bilm-tf's own options say of the training."""
        return {
            "bidirectional": True,
            "dropout": self.run.settings.dropout,
            "n_tokens_vocab": len(self.words),
            "n_train_tokens": self.trainer.text.facts.tokens,
            "batch_size": self.trainer.streams.n_streams,
            "unroll_steps": self.trainer.streams.unroll,
        }

    def _card(self) -> Card:
        return Card(
            name=self.folder.resolve().name,
            version=__version__,
            command=self.run.command,
            corpora=[Path(path).name for path in self.run.corpora],
            held_out=[Path(path).name for path in self.run.held_out],
            facts=self.trainer.text.facts,
            settings=self.run.settings,
            parameters=sum(parameter.numel() for parameter in self.trainer.model.bilm.parameters()),
            start=f"the weights of {Path(self.run.start).name}" if self.run.start else "random weights",
            licence=self.run.licence,
        )


def perplexity(loss: float) -> float:
    """That of a mean loss in nats."""
    return math.exp(min(loss, 700))


def _figures(score: Perplexity) -> dict[str, float]:
    return {"forward": score.forward, "backward": score.backward, "average": score.average, "unknown_rate": score.unknown_rate}


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "backslashreplace"))  # file names need not be UTF-8
