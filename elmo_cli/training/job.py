"""Training job: checks, encoding of the corpus, construction of the model, training loop."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from elmo_cli.errors import CorpusError, ModelError, OutputError
from elmo_cli.io.atomic import writing_errors
from elmo_cli.io.lock import locked
from elmo_cli.nn.characters import CharacterMapper
from elmo_cli.nn.devices import best_precision, choose_device
from elmo_cli.readers.corpus import Corpus
from elmo_cli.readers.options import ReadOptions
from elmo_cli.training import log
from elmo_cli.training.bptt import make_streams
from elmo_cli.training.checkpoint import (
    CHECKPOINT,
    MAKE_ROOM,
    WORK,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from elmo_cli.training.distributed import ProcessGroup, start_workers
from elmo_cli.training.encoded_corpus import EncodedText, VocabularyChoice, encode_corpus, open_text
from elmo_cli.training.initialization import Initialization, find_start
from elmo_cli.training.loop import TrainingLoop, TrainProgress
from elmo_cli.training.settings import Run
from elmo_cli.training.trainer import Trainer, tune_memory
from elmo_cli.training.vocabulary import read_vocabulary, write_vocabulary

SAMPLE_TOKENS = 30_000  # held-out tokens scored at every checkpoint, divided among the files
# Share of a run that trains only the softmax if the model comes without one: gradients through
# random rows would damage the biLM.
SOFTMAX_FIRST = 0.2
RUN = "run.json"


@dataclass
class TrainJob:
    """A training run with its output folder and machine options.

    Attributes:
        run: Description of the run.
        folder: Model folder.
        resume: Whether to continue from the folder's checkpoint.
        device: Device option.
        threads: Number of threads; None: PyTorch's default.
        checkpoint_minutes: Time between checkpoints.
        asked_to_stop: Function that returns whether to stop.
        notify: Receives messages for the user.
    """

    run: Run
    folder: Path
    resume: bool = False
    device: str = "auto"
    threads: int | None = None
    checkpoint_minutes: float = 10.0
    asked_to_stop: Callable[[], bool] = lambda: False
    notify: Callable[[str], None] = lambda note: None  # noqa: ARG005  # no user

    @property
    def can_resume(self) -> bool:
        """Whether the folder has a checkpoint."""
        return (self.folder / WORK / CHECKPOINT).is_file()

    def train(self) -> Generator[TrainProgress, None, None]:
        """Check the inputs and train.

        Yields:
            Progress every few steps and at every checkpoint.

        Raises:
            KeyboardInterrupt: A stop was requested; a checkpoint has been saved.
            ElmoError: The corpus, the model, the folder or the device cannot be used, the disk is
                full, or the loss is not finite.
        """
        device, start = choose_device(self.device), find_start(self.run)
        self.run = self._with_defaults(start, device)
        held_out = list(chain.from_iterable(self._sample(Path(path)) for path in self.run.held_out))
        for path in self.run.corpora:
            if not self.resume and path != "-" and not Path(path).exists():
                raise CorpusError(f"{path}: no such file; check its path")
        tune_memory()
        torch.set_num_threads(self.threads or torch.get_num_threads())
        with start_workers(device) as (workers, device), ExitStack() as resources:
            if workers.rank == 0:
                self._prepare(start, resources)
            workers.wait()
            work = self.folder / WORK
            text, words = open_text(work), read_vocabulary(work / "vocab.txt")
            if len(words) != text.facts.vocabulary:
                raise ModelError(
                    f"{work / 'vocab.txt'}: does not match the encoded corpus; start a new run in "
                    "another folder"
                )
            trainer = self._make_trainer(start, text, words, workers, device)
            loop = TrainingLoop(
                trainer,
                self.run,
                self.folder,
                words,
                held_out,
                self.checkpoint_minutes,
                self.asked_to_stop,
                self.notify,
            )
            yield from loop.train()

    def _with_defaults(self, start: Initialization, device: str) -> Run:
        settings = self.run.settings
        first = settings.softmax_first
        if first is None:
            first = SOFTMAX_FIRST if start.lacks_softmax else 0.0
            if first:
                self.notify(
                    f"{self.run.start}: has no softmax, so that the first {first:.0%} of the run "
                    "train only a new one"
                )
        resolved = replace(
            settings, precision=best_precision(settings.precision, device), softmax_first=first
        )
        return replace(self.run, settings=resolved)

    def _prepare(self, start: Initialization, resources: ExitStack) -> None:
        """Lock the folder, and encode the corpus unless the run is resumed."""
        existed = self.resume or _make_folder(self.folder)
        resources.enter_context(locked(self.folder / WORK, self.folder))
        if self.resume:
            write_run(self.run, self.folder)  # with the new length, if it has changed
        else:
            with _removed_on_failure(self.folder / WORK if existed else self.folder):
                self._encode(start)

    def _encode(self, start: Initialization) -> None:
        work = self.folder / WORK
        choice = VocabularyChoice(self.run.vocabulary_size, self.run.min_count, start.old_words)
        widest = max(width for width, _ in start.config.filters)
        _, words = encode_corpus(
            self._sentences(), work, choice, CharacterMapper(start.config.max_characters), widest
        )
        with writing_errors(work, MAKE_ROOM):
            write_vocabulary(words, work / "vocab.txt")
        write_run(self.run, self.folder)

    def _make_trainer(
        self,
        start: Initialization,
        text: EncodedText,
        words: list[str],
        workers: ProcessGroup,
        device: str,
    ) -> Trainer:
        settings = self.run.settings
        streams = make_streams(text.facts.targets, settings.streams, settings.unroll, workers.world)
        if streams.windows == 0:
            raise CorpusError(
                f"the corpus has {text.facts.targets:,} words to predict, too few for "
                f"{workers.world} processes; use fewer"
            )
        if workers.rank == 0 and streams.n_streams < settings.streams:
            self.notify(
                f"the corpus fills {streams.n_streams} streams of {streams.unroll} steps, not "
                f"{settings.streams}"
            )
        model = start.make_model(words, settings.seed).to(device)
        trainer = Trainer(model, text, streams, settings, workers, torch.device(device))
        if self.resume:
            trainer.restore(load_checkpoint(self.folder))
            if workers.rank == 0:
                self.notify(f"{self.folder}: continues after step {trainer.step:,}")
                with writing_errors(self.folder, MAKE_ROOM):
                    log.rewind(self.folder, trainer.step)
            return trainer
        checkpoint = trainer.checkpoint()  # of step 0: detects a disk that is too small
        if workers.rank == 0:
            save_checkpoint(self.folder, checkpoint)
        return trainer

    def _open_corpus(self, path: Path) -> Corpus:
        return Corpus(
            [path],
            "skip",
            ReadOptions(
                separator=self.run.separator, encoding_errors=self.run.encoding_errors, detect=False
            ),
        )

    def _sentences(self) -> Iterator[list[str]]:
        """Return the sentences of the corpus, until a stop is requested."""
        for path in self.run.corpora:
            for sentence in self._open_corpus(Path(path)).read():
                if self.asked_to_stop():
                    raise KeyboardInterrupt
                yield sentence.tokens

    def _sample(self, path: Path) -> Iterator[list[str]]:
        """Return the first sentences of a held-out file."""
        n_tokens, wanted = 0, SAMPLE_TOKENS / len(self.run.held_out)
        for sentence in self._open_corpus(path).read():
            yield sentence.tokens
            n_tokens += len(sentence.tokens)
            if n_tokens >= wanted:
                return
        if n_tokens == 0:
            raise CorpusError(f"{path}: has no tokens to evaluate on; pass another file")


def write_run(run: Run, folder: Path) -> None:
    """Write the description of a run beside its checkpoint.

    Args:
        run: Description of the run.
        folder: Model folder.

    Raises:
        DiskError: The file cannot be written.
    """

    def write(path: Path) -> None:
        path.write_text(json.dumps(run.to_json()) + "\n", encoding="utf-8")

    replace_file(folder / WORK / RUN, write)


def read_run(folder: Path) -> Run:
    """Read the description of the run that a folder's checkpoint belongs to.

    Args:
        folder: Model folder.

    Returns:
        Description of the run.

    Raises:
        ModelError: There is no checkpoint, or a file is damaged.
    """
    load_checkpoint(folder)
    path = folder / WORK / RUN
    try:
        return Run.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: not the description of a run ({error}); start a new run"
        ) from None


def _make_folder(folder: Path) -> bool:
    """Create the model folder and return whether it existed.

    A folder of a run that ended before its first checkpoint is accepted.
    """
    can_resume, existed = (folder / WORK / CHECKPOINT).exists(), folder.is_dir()
    is_incomplete = (
        existed and not can_resume and [path.name for path in folder.iterdir()] == [WORK]
    )
    if folder.exists() and not is_incomplete and (not existed or any(folder.iterdir())):
        raise OutputError(
            f"{folder}: exists already; "
            f"{'continue it with --resume' if can_resume else 'choose another folder'}"
        )
    if not folder.parent.is_dir():
        raise OutputError(f"{folder.parent}: no such folder; create it first")
    if not os.access(folder.parent, os.W_OK):
        raise OutputError(f"{folder.parent}: is not writable; check its permissions")
    folder.mkdir(exist_ok=True)
    return existed


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
