"""Training loop of a run, with its log, checkpoints, model folder and model card."""

import math
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from elmo_cli.errors import DivergenceError
from elmo_cli.io.atomic import writing_errors
from elmo_cli.nn.parallel import InThreads, RunBoth, in_sequence
from elmo_cli.training import log
from elmo_cli.training.checkpoint import (
    MAKE_ROOM,
    WORK,
    export_model,
    replace_file,
    save_checkpoint,
)
from elmo_cli.training.model_card import Card, write_card
from elmo_cli.training.perplexity import Perplexity, score_text
from elmo_cli.training.settings import Run
from elmo_cli.training.trainer import StepResult, Trainer
from elmo_cli.version import __version__

LOG_STEPS = 20
STATES = {"zero": False, "carried": True}  # whether the state is carried over sentence starts


class TrainProgress(NamedTuple):
    """Progress of a run.

    Attributes:
        step: Number of steps.
        words: Words predicted in each direction.
        share_done: Share of the run that is complete.
        seconds: Training time.
        loss: Loss of the step, or mean loss since the previous report, in nats.
        held_out: Perplexity of the held-out text from the zero state, at checkpoints.
    """

    step: int
    words: int
    share_done: float
    seconds: float
    loss: float
    held_out: float | None = None


@dataclass
class TrainingLoop:
    """Training to the end of a run.

    Attributes:
        trainer: Trainer of the run.
        run: Description of the run.
        folder: Model folder.
        words: Vocabulary of the softmax.
        held_out: Held-out sentences.
        checkpoint_minutes: Time between checkpoints.
        asked_to_stop: Function that returns whether to stop.
        notify: Receives messages for the user.
        losses: Losses since the last report.
    """

    trainer: Trainer
    run: Run
    folder: Path
    words: list[str]
    held_out: list[list[str]]
    checkpoint_minutes: float
    asked_to_stop: Callable[[], bool]
    notify: Callable[[str], None]
    losses: list[float] = field(default_factory=list)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.trainer.workers.rank == 0

    def train(self) -> Generator[TrainProgress, None, None]:
        """Train to the end of the run.

        Yields:
            Progress after every step; every few steps and at a checkpoint, with the mean loss.

        Raises:
            KeyboardInterrupt: A stop was requested; a checkpoint has been saved.
            ElmoError: The disk is full, or the loss is not finite.
        """
        trainer = self.trainer
        saved_step, saved_seconds = trainer.step, trainer.seconds
        run_both: RunBoth = InThreads() if trainer.device.type == "cpu" else in_sequence
        # Stopped between its last checkpoint and the export of the model
        if trainer.share_done >= 1:
            yield self._save(trainer.evaluate_loss(run_both), complete=True)
        while trainer.share_done < 1:
            with self._adding_remedy(saved_step):
                result = trainer.train_step(run_both, stop=self.asked_to_stop())
            self.losses.append(result.loss)
            due = trainer.seconds - saved_seconds >= 60 * self.checkpoint_minutes
            over = trainer.share_done >= 1
            if due or over or result.stop:
                with self._adding_remedy(saved_step):
                    trainer.evaluate_loss(run_both)
                # A stopped run ends soon: the held-out text is evaluated when it is resumed
                yield self._save(result, complete=over, evaluate=over or not result.stop)
                saved_step, saved_seconds = trainer.step, trainer.seconds
            elif trainer.step % LOG_STEPS == 0:
                yield self._log(result)
            else:
                yield self._progress(result.loss)
            if result.stop and not over:
                raise KeyboardInterrupt
        if self.is_first:
            self._draw()
            shutil.rmtree(self.folder / WORK)
        trainer.workers.wait()

    def _progress(self, loss: float, held_out: float | None = None) -> TrainProgress:
        done = self.trainer
        return TrainProgress(done.step, done.targets, done.share_done, done.seconds, loss, held_out)

    def _draw(self) -> None:
        """Plot the log; a failure of the plot does not fail the run."""
        try:
            if not log.draw(self.folder):
                self.notify(
                    "no curve.png: matplotlib is not installed; run pip install "
                    "'elmo-cli[analysis]'"
                )
        except OSError as error:  # the disk is full, or matplotlib has no cache folder
            (self.folder / log.CURVE).unlink(missing_ok=True)
            self.notify(
                f"no curve.png: it cannot be drawn ({error.strerror or str(error).splitlines()[0]})"
            )

    @contextmanager
    def _adding_remedy(self, saved_step: int) -> Iterator[None]:
        try:
            yield
        except DivergenceError as error:
            remedy = (
                f"resume from the checkpoint of step {saved_step:,} with --resume and a lower "
                "--learning-rate"
            )
            raise DivergenceError(f"{self.folder}: {error}; {remedy}") from None

    def _log(
        self, result: StepResult, scores: dict[str, Perplexity] | None = None
    ) -> TrainProgress:
        losses = self.losses or [result.loss]
        loss = sum(losses) / len(losses)
        self.losses.clear()
        progress = self._progress(loss, scores["zero"].average if scores else None)
        if self.is_first:
            figures = {
                "step": progress.step,
                "words": progress.words,
                "seconds": round(progress.seconds, 2),
            }
            rates = {"learning_rate": result.learning_rate, "gradient_norm": result.gradient_norm}
            held_out = (
                {"held_out": {state: _figures(score) for state, score in scores.items()}}
                if scores
                else {}
            )
            with writing_errors(self.folder, MAKE_ROOM):
                log.append(
                    self.folder,
                    {**figures, "loss": loss, "perplexity": perplexity(loss), **rates, **held_out},
                )
        return progress

    def _save(self, result: StepResult, *, complete: bool, evaluate: bool = True) -> TrainProgress:
        """Save a checkpoint, and export the model in its present state."""
        trainer = self.trainer
        checkpoint = trainer.checkpoint()
        scores: dict[str, Perplexity] = {}
        if self.is_first:
            save_checkpoint(self.folder, checkpoint)
            if self.held_out and evaluate:
                ids = {word: i for i, word in enumerate(self.words)}
                scores = {
                    state: score_text(trainer.model, ids, self.held_out, carried=carried)
                    for state, carried in STATES.items()
                }
            export_model(self.folder, trainer.model, self.words, self._facts(), self.run.storage)
            card = write_card(
                self._card(),
                trainer.step,
                trainer.targets,
                trainer.seconds,
                scores,
                complete=complete,
            )
            replace_file(self.folder / "README.md", lambda path: _write(path, card))
        return self._log(result, scores)

    def _facts(self) -> dict[str, object]:
        """Return the training options that bilm-tf writes to options.json."""
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
            start=f"the weights of {Path(self.run.start).name}"
            if self.run.start
            else "random weights",
            licence=self.run.licence,
        )


def perplexity(loss: float) -> float:
    """Return the perplexity of a mean loss in nats."""
    return math.exp(min(loss, 700))


def _figures(score: Perplexity) -> dict[str, float]:
    return {
        "forward": score.forward,
        "backward": score.backward,
        "average": score.average,
        "unknown_rate": score.unknown_rate,
    }


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "backslashreplace"))  # file names may not be UTF-8
