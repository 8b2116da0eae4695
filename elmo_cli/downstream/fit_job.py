"""One run of `elmo fit`: checks, features, training, test, and the folder of the classifier."""

import hashlib
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from elmo_cli.downstream.evaluation import Evaluation, evaluate
from elmo_cli.downstream.examples import OF_TOKENS, Example
from elmo_cli.downstream.feature_cache import FeatureCache, fill_cache
from elmo_cli.downstream.fine_tuning import FineTuning
from elmo_cli.downstream.fit_card import JOB_SHA256, FitFacts
from elmo_cli.downstream.fit_data import FitData, FitSources, read_fit_data
from elmo_cli.downstream.fit_options import FitOptions, check_options
from elmo_cli.downstream.fit_output import check_output, read_metrics, write_output
from elmo_cli.downstream.fit_training import Training, make_settings, make_training
from elmo_cli.downstream.fit_work import FitWork
from elmo_cli.downstream.penalty_search import PenaltySearch
from elmo_cli.downstream.predictor import Predictor, TrainedHead
from elmo_cli.downstream.predictor_folder import PredictorSettings
from elmo_cli.downstream.training_steps import TrainingStep
from elmo_cli.errors import CorpusError, DiskError, DivergenceError, reason_of
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.pipeline import windows
from elmo_cli.io.atomic import check_disk_space
from elmo_cli.models.convert import write_model
from elmo_cli.models.files import ModelFiles, find_in_folder
from elmo_cli.types import Progress, Sentence


@dataclass
class FitJob:
    """Training of a classifier: call `check`, `embed`, `train`, then `finish`.

    After an interruption, `interrupt` writes the best classifier so far and keeps the features and
    the state of the training, from which a job with `resume` continues to the same weights.
    """

    sources: FitSources
    folder: Path
    spec: EmbedderSpec
    options: FitOptions
    command: str = ""
    overwrite: bool = False
    resume: bool = False
    notes: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)
    _began_training: bool = False
    _train_seconds: float = 0.0

    def check(self) -> FitData:
        """Return the data, after all checks that do not need the loaded model.

        Raises:
            ElmoError: A check fails.
        """
        check_output(self.folder, overwrite=self.overwrite or self.resume)
        _ = self.spec.place
        self.notes += self.data.notes
        check_options(self.options, self.data.task, self.sources.train, self.spec.place[0])
        if not self.data.held_out and (self.options.fine_tune or self.data.task in OF_TOKENS):
            fact = "no sentence can be held out without losing its labels"
            raise CorpusError(
                f"{self.sources.train}: {fact}; add sentences, check --label, or pass --dev"
            )
        if self.resume and read_metrics(self.folder).get(JOB_SHA256) != self.fingerprint:
            check_output(self.folder, overwrite=self.overwrite)
        self.work.open(self.identity)
        self.work.done = self.is_complete
        if not self.options.fine_tune and not self.is_complete:
            missing = self.cache.n_bytes - self.cache.n_stored * self.cache.row_bytes
            check_disk_space(self.folder.absolute(), missing, "use fewer --layers")
        return self.data

    @cached_property
    def data(self) -> FitData:
        """The examples."""
        return read_fit_data(self.sources)

    @cached_property
    def settings(self) -> PredictorSettings:
        """The settings of the classifier."""
        return make_settings(self.data, self.options, self.spec.files, self.sources.label)

    @cached_property
    def work(self) -> FitWork:
        """The work folder."""
        return FitWork(self.folder, self.resume, self.overwrite)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of what determines the weights."""
        data = self.data
        options = {
            name: value for name, value in asdict(self.options).items() if name != "include_model"
        }
        parts = {
            "the data": [
                data.train,
                data.held_out,
                [(example.tokens, example.target) for example in data.examples],
            ],
            "the options": [options, self.spec.precision, asdict(self.settings)],
            "the biLM": self.spec.files.sha256,
        }
        return {
            name: hashlib.sha256(repr(part).encode("utf-8", "surrogatepass")).hexdigest()
            for name, part in parts.items()
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that determines the weights."""
        return hashlib.sha256("".join(self.identity.values()).encode()).hexdigest()

    @property
    def is_complete(self) -> bool:
        """Whether a resumed run finds the classifier complete."""
        found = read_metrics(self.folder) if self.resume else {}
        return found.get(JOB_SHA256) == self.fingerprint and not found.get("stopped")

    @cached_property
    def cache(self) -> FeatureCache:
        """The features of all examples but those of the test part."""
        settings, of_tokens = self.settings, self.data.task in OF_TOKENS
        counts = [len(example.tokens) if of_tokens else 1 for example in self.data.examples]
        return FeatureCache(
            self.work.features,
            settings.n_layers,
            settings.dim,
            counts,
            dtype="float16" if of_tokens else "float32",
        )

    def embed(self) -> Iterator[Progress]:
        """Compute the features, and yield the progress.

        Raises:
            ElmoError: The model or the disk fails.
        """
        if self.options.fine_tune or self.cache.is_complete:
            return
        tokens = [example.tokens for example in self.data.examples]
        try:
            yield from fill_cache(self.cache, tokens, self.spec, self.settings.selection)
        except OSError as error:
            raise DiskError(f"{self.cache.path}: cannot be written ({reason_of(error)})") from None

    def train(self) -> Iterator[TrainingStep]:
        """Train the classifier, yielding after each step.

        Raises:
            ElmoError: The loss is not finite.
        """
        self._train_seconds = time.perf_counter()
        if (state := self.work.load()) is not None:
            self.training.load_state(state)
        self._began_training = True
        try:
            for step in self.training.run():
                self.work.save(self.training.state())
                yield step
        except DivergenceError:  # to continue would lead to the same loss
            self.work.done = True
            raise

    @cached_property
    def training(self) -> Training:
        """The training, with the classifier as `head`."""
        return make_training(self.data, self.settings, self.options, self.cache, self.spec)

    def finish(self, *, stopped: bool = False) -> FitFacts:
        """Test the classifier and write its folder atomically.

        Args:
            stopped: Whether the training was interrupted: the best classifier is written without a
                test.

        Raises:
            ElmoError: The folder cannot be written, or the test fails.
        """
        seconds = time.perf_counter() - self._train_seconds
        head = self._best_head()
        if isinstance(self.training, FineTuning):
            self._take_over_bilm(self.training)
        tested = self._test(head) if self.data.test and not stopped else None
        facts = FitFacts(
            sources=self.sources,
            data=self.data,
            settings=self.settings,
            history=self.training.history,
            test=tested,
            seconds={"training": seconds, "all": time.perf_counter() - self._began},
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (1 << 20 if sys.platform == "darwin" else 1 << 10),
            seed=self.options.seed,
            command=self.command,
            stopped=stopped,
            notes=self.notes,
            facts={**self._training_facts(), JOB_SHA256: self.fingerprint},
        )
        write_output(self.work, head, facts, self._copied_model)
        self.work.done = not stopped
        return facts

    def _take_over_bilm(self, training: FineTuning) -> None:
        """Write the trained biLM into the work folder, and use it and its mix from here."""
        files = self.spec.files
        shutil.rmtree(self.work.bilm, ignore_errors=True)  # of a run that was killed
        write_model(training.bilm, files.name, self.work.bilm)
        trained = find_in_folder(self.work.bilm, files.name)
        self.spec = replace(self.spec, model=trained, options=None, weights=None)
        self.settings = replace(
            self.settings, model_sha256=trained.sha256, fixed_mix=training.fixed_mix
        )

    def _best_head(self) -> nn.Module:
        self.training.restore_best()
        head: nn.Module = self.training.head
        return head.eval()

    def _training_facts(self) -> dict[str, Any]:
        if isinstance(self.training, PenaltySearch):
            return {"l2": self.training.penalty}
        if isinstance(self.training, FineTuning):
            return {
                "epochs": self.training.epochs,
                "learning_rate": self.training.learning_rate,
                "fine_tuned": True,
            }
        mix = self.training.head.input.mix
        shares = {} if mix is None else {"mix_shares": torch.softmax(mix.detach(), 0).tolist()}
        return {"epochs": self.training.epochs, **shares}

    def _test(self, head: nn.Module) -> Evaluation:
        predictor = Predictor(TrainedHead(self.settings, head), self.spec)
        return evaluate(
            self.data.task,
            [one.target for one in self.data.test],
            list(_predict(predictor, self.data.test)),
            self.options.seed,
        )

    @property
    def _copied_model(self) -> ModelFiles | None:
        """The biLM that is copied into the folder; None: none."""
        chosen = self.options.include_model or (self.options.fine_tune or None)
        is_copied = not self.spec.files.built_in if chosen is None else chosen
        return self.spec.files if is_copied else None

    def interrupt(self) -> str:
        """Write the best classifier so far after an interruption, and keep what `resume` continues.

        Returns:
            What is kept, for the user; empty if there is nothing.

        Raises:
            ElmoError: The folder cannot be written.
        """
        kept = []
        if self.work.has_steps() and self._began_training and self.training.history:
            self.finish(stopped=True)
            kept.append(f"the best classifier so far is in {self.folder}")
        return "; ".join(filter(None, [*kept, self.how_to_go_on()]))

    def how_to_go_on(self) -> str:
        """Return how to continue after a stop, in words; empty if nothing is kept."""
        return "pass --resume to continue" if self.work.has_steps() else ""

    def close(self) -> None:
        """Close the features and the work folder."""
        if "cache" in self.__dict__:
            self.cache.close()
        self.work.close()


def _predict(predictor: Predictor, examples: Sequence[Example]) -> Iterator[Any]:
    sentences = (Sentence(str(i), example.tokens, "") for i, example in enumerate(examples))
    for window in windows(sentences, predictor.spec.max_window_tokens):
        for result in predictor.trained.results(predictor.embed(window), proba=False):
            yield predictor.trained.names(result)
