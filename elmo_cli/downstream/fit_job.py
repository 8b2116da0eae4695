"""One run of `elmo fit`: checks, features, training, test, and the folder of the classifier."""

import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elmo_cli.downstream.evaluation import Evaluation, evaluate, r2
from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, OF_TOKENS, SENTENCES, TAGS, Example, count_labels
from elmo_cli.downstream.feature_cache import FeatureCache, fill_cache
from elmo_cli.downstream.fit_card import FitFacts, write_card, write_metrics
from elmo_cli.downstream.fit_data import FitData, FitSources, read_fit_data
from elmo_cli.downstream.moments import Moments
from elmo_cli.downstream.predictor import Predictor, TrainedHead
from elmo_cli.downstream.predictor_folder import CARD, METRICS, PredictorSettings, copy_bilm, write_predictor
from elmo_cli.downstream.scores import Scorer
from elmo_cli.downstream.sentence_head import EVEN, PenaltySearch, SentenceHead, encode_targets
from elmo_cli.downstream.token_head import BESIDE, LEARNED, LINEAR, LSTM_CRF, TokenHead
from elmo_cli.downstream.token_training import TokenTraining, epochs_for
from elmo_cli.downstream.training_steps import TrainingStep
from elmo_cli.errors import DiskError, OutputError, UsageError, reason_of
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.pipeline import windows
from elmo_cli.inference.selection import UNLAYERED, Selection
from elmo_cli.io.atomic import apply_umask, check_disk_space
from elmo_cli.types import Progress, Sentence

MOMENT_SENTENCES = 256
UNKNOWN = "B-?"  # stands for the labels that only the held-out part has
MIXED_HEADS = {LSTM_CRF: LEARNED}  # others have the layers side by side
Training = TokenTraining | PenaltySearch


@dataclass(frozen=True)
class FitOptions:
    """What is trained.

    Args:
        head: One of HEADS; None: by the labels.
        layers: Choice of layers.
        mix: One of MIXES; None: by the head.
        pool: Pooling of sentences.
        balanced: Whether each label counts the same in the loss, however frequent it is.
        seed: Of all that is random.
        epochs: Times that each sentence is learned from; None: by their number.
        include_model: Whether the biLM is copied into the folder; None: unless it is built in.
    """

    head: str | None = None
    layers: str = "all"
    mix: str | None = None
    pool: str | None = None
    balanced: bool = False
    seed: int = 0
    epochs: int | None = None
    include_model: bool | None = None


@dataclass
class FitJob:
    """Trains a classifier: `check`, `embed`, `train`, then `finish`; after an interruption of `train`, `finish` writes the best so far."""

    sources: FitSources
    folder: Path
    spec: EmbedderSpec
    options: FitOptions
    command: str = ""
    overwrite: bool = False
    notes: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    def check(self) -> FitData:
        """Read the corpus and check everything that can be checked before the model is loaded.

        Raises:
            ElmoError: Something is wrong.
        """
        self._check_folder()
        _ = self.spec.place
        self.notes += self.data.notes
        self._check_options()
        _ = self.settings
        check_disk_space(self.folder.absolute(), self.cache.n_bytes, "use fewer --layers")
        return self.data

    @cached_property
    def data(self) -> FitData:
        """The examples."""
        return read_fit_data(self.sources)

    @cached_property
    def settings(self) -> PredictorSettings:
        """The settings of the classifier."""
        data, options, files = self.data, self.options, self.spec.files
        config = files.config()
        selection = Selection(options.layers, pool=self.pool)
        names = selection.names(config.n_output_layers)
        head = options.head or (LSTM_CRF if data.task == TAGS else LINEAR)
        return PredictorSettings(
            task=data.task,
            labels=data.labels,
            label=self.sources.label,
            model=files.name,
            model_sha256=files.sha256,
            layers=options.layers,
            n_layers=len(names),
            dim=selection.dim(config.n_output_layers, config.output_dim),
            head=head,
            mix=options.mix or MIXED_HEADS.get(head, BESIDE),
            scheme=data.scheme,
            output_scheme=data.source_scheme,
            pool=self.pool,
        )

    @property
    def pool(self) -> str:
        """Pooling of the vectors."""
        return "none" if self.data.task in OF_TOKENS else (self.options.pool or "mean+max")

    @cached_property
    def work(self) -> Path:
        """A hidden folder beside the output, for the features and the unfinished output."""
        try:
            return Path(tempfile.mkdtemp(prefix=f".{self.folder.name[:40]}.", suffix=".elmo-fit", dir=self.folder.absolute().parent))
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({reason_of(error)})") from None

    @cached_property
    def cache(self) -> FeatureCache:
        """The features of all examples but those of the test part."""
        settings, of_tokens = self.settings, self.data.task in OF_TOKENS
        counts = [len(example.tokens) if of_tokens else 1 for example in self.data.examples]
        return FeatureCache(
            self.work / "features.bin", settings.n_layers, settings.dim, counts, dtype="float16" if of_tokens else "float32"
        )

    def embed(self) -> Iterator[Progress]:
        """Compute the features, reporting the sentences that are done.

        Raises:
            ElmoError: The model or the disk fails.
        """
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
        yield from self.training.run()

    @cached_property
    def training(self) -> Training:
        """The training, with the classifier as `head`."""
        torch.manual_seed(self.options.seed)
        return self._token_training() if self.data.task in OF_TOKENS else self._sentence_training()

    def _token_training(self) -> TokenTraining:
        data, settings = self.data, self.settings
        head = settings.make_head()
        assert isinstance(head, TokenHead)  # noqa: S101  # for mypy
        scales = self._moments().scales()
        head.input.mean.copy_(scales.mean)  # type: ignore[operator]  # buffers are untyped
        head.input.deviation.copy_(scales.dim)  # type: ignore[operator]
        scorer = Scorer(data.task, [*data.labels, UNKNOWN])
        epochs = self.options.epochs or epochs_for(settings.head, len(data.train))
        return TokenTraining(
            head, self.cache, data.token_labels, data.train, data.held_out, scorer, self.options.seed, epochs, self._weights()
        )

    def _moments(self) -> Moments:
        moments = Moments()
        for start in range(0, len(self.data.train), MOMENT_SENTENCES):
            moments.add(self.cache.read(self.data.train[start : start + MOMENT_SENTENCES]))
        return moments

    def _sentence_training(self) -> PenaltySearch:
        data = self.data
        head = self.settings.make_head()
        assert isinstance(head, SentenceHead)  # noqa: S101  # for mypy
        rows = self.cache.read(range(len(data.examples))).transpose(0, 1).flatten(1)
        targets = encode_targets(data.task, [example.target for example in data.examples], data.labels)
        final = data.train if data.own_dev else [*data.train, *data.held_out]
        score = _held_out_score(data.task, targets[data.held_out], len(data.labels))
        return PenaltySearch(head, rows, targets, data.train, data.held_out, score, self._weights(), final)

    def _weights(self) -> Tensor | None:
        """Weights of the labels by which all count the same; None without --balanced."""
        if not self.options.balanced:
            return None
        counts: Counter[str] = count_labels([self.data.examples[i] for i in self.data.train], self.data.task)
        found = torch.tensor([float(counts[label]) for label in self.data.labels]).clamp(min=1)
        if self.data.task == LABEL_SETS:
            return (len(self.data.train) - found).clamp(min=1) / found
        return found.sum() / len(found) / found

    def finish(self, *, stopped: bool = False) -> FitFacts:
        """Test the classifier and write its folder, which appears complete or not at all.

        Args:
            stopped: Whether the training was interrupted: the best so far is written, and not tested.

        Raises:
            ElmoError: The folder cannot be written.
        """
        seconds = time.perf_counter() - self._train_seconds
        head = self._best_head()
        tested = self._test(head) if self.data.test and not stopped else None
        facts = FitFacts(
            sources=self.sources,
            data=self.data,
            settings=self.settings,
            history=self.training.history,
            test=tested,
            seconds={"training": seconds, "all": time.perf_counter() - self._began},
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
            seed=self.options.seed,
            command=self.command,
            stopped=stopped,
            notes=self.notes,
            facts=self._training_facts(),
        )
        self._write(head, facts)
        return facts

    def _best_head(self) -> nn.Module:
        head: nn.Module = self.training.head
        if isinstance(self.training, TokenTraining) and self.training.best:
            head.load_state_dict(self.training.best)
        return head.eval()

    def _training_facts(self) -> dict[str, Any]:
        if isinstance(self.training, PenaltySearch):
            return {"l2": self.training.penalty}
        mix = self.training.head.input.mix
        shares = {} if mix is None else {"mix_shares": torch.softmax(mix.detach(), 0).tolist()}
        return {"epochs": self.training.epochs, **shares}

    def _test(self, head: nn.Module) -> Evaluation:
        predictor = Predictor(TrainedHead(self.settings, head), self.spec)
        return evaluate(
            self.data.task, [one.target for one in self.data.test], list(_predict(predictor, self.data.test)), self.options.seed
        )

    def _write(self, head: nn.Module, facts: FitFacts) -> None:
        partial = self.work / "output"
        try:
            partial.mkdir()
            write_predictor(partial, self.settings, head)
            if self._includes_model:
                copy_bilm(self.spec.files, partial)
            write_metrics(partial / METRICS, facts)
            (partial / CARD).write_text(write_card(self.folder.resolve().name, facts), encoding="utf-8")
            apply_umask(partial)
            if self.folder.is_dir():
                self.folder.replace(self.work / "old")
            partial.rename(self.folder)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({reason_of(error)})") from None

    @property
    def _includes_model(self) -> bool:
        chosen = self.options.include_model
        return not self.spec.files.built_in if chosen is None else chosen

    def close(self) -> None:
        """Remove the work folder."""
        if "cache" in self.__dict__:
            self.cache.close()
        if "work" in self.__dict__:
            shutil.rmtree(self.work, ignore_errors=True)

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.overwrite:
            raise OutputError(f"{self.folder}: exists already; name a new folder, or pass --overwrite")
        if self.folder.exists() and not (self.folder / METRICS).is_file() and not (self.folder.is_dir() and not any(self.folder.iterdir())):
            raise OutputError(f"{self.folder}: is not a folder that elmo fit has made, so it is not replaced; name another")
        parent = self.folder.absolute().parent
        if not parent.is_dir():
            raise OutputError(f"{parent}: no such folder; make it first")
        if not os.access(parent, os.W_OK):
            raise OutputError(f"{parent}: cannot be written (permission denied)")

    def _check_options(self) -> None:
        task, options = self.data.task, self.options
        if task not in OF_TOKENS:
            wrong = next((name for name in ("head", "mix") if getattr(options, name) not in (None, LINEAR)), None)
            if wrong:
                raise UsageError(
                    f"--{wrong} {getattr(options, wrong)} is for labels of tokens; those of {self.sources.train} are of sentences."
                )
            if options.epochs:
                raise UsageError("--epochs is for labels of tokens; those of sentences are learned until the loss does not fall.")
        elif options.pool:
            raise UsageError(f"--pool is for labels of sentences; those of {self.sources.train} are of tokens.")
        if options.mix and options.layers in UNLAYERED:
            raise UsageError(f"--mix is for several layers, and --layers {options.layers} gives one vector; leave one of them out.")
        if options.balanced and task == NUMBERS:
            raise UsageError("--balanced is for labels, not for --regression.")
        if options.balanced and task in OF_TOKENS and (options.head or (LSTM_CRF if task == TAGS else LINEAR)) != LINEAR:
            raise UsageError("--balanced is for linear classifiers; pass --head linear.")


def _held_out_score(task: str, targets: Tensor, n_labels: int) -> Any:  # noqa: ANN401  # a function of logits
    """Return the function from logits of the held-out sentences to their score."""
    if task == NUMBERS:
        return lambda logits: r2(targets[:, 0].double().numpy(), logits[:, 0].double().numpy())
    rows = np.arange(len(targets))
    scorer = Scorer(task, [str(i) for i in range(n_labels)])
    gold = targets.numpy().astype(np.int64)
    if task == SENTENCES:
        return lambda logits: scorer.score(gold, logits.argmax(dim=-1).numpy(), rows)
    return lambda logits: scorer.score(gold, (torch.sigmoid(logits) > EVEN).numpy().astype(np.int64), rows)


def _predict(predictor: Predictor, examples: Sequence[Example]) -> Iterator[Any]:
    sentences = (Sentence(str(i), example.tokens, "") for i, example in enumerate(examples))
    for window in windows(sentences, predictor.spec.max_window_tokens):
        for result in predictor.trained.results(predictor.embed(window), proba=False):
            yield predictor.trained.names(result)
