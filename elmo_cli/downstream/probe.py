"""Probes: classifiers of labels on each layer of the features and on mixes of the layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from elmo_cli.downstream.baselines import majority, majority_by_word
from elmo_cli.downstream.control import control_ceiling, control_labels
from elmo_cli.downstream.fitting import epochs_for, fit, predict_all
from elmo_cli.downstream.labelled_features import Ints, Mask
from elmo_cli.downstream.linear import ALL, AVERAGE, KINDS, LAYER, MIX, LinearProbes
from elmo_cli.downstream.metrics import (
    Floats,
    count_classes,
    count_right,
    count_stray,
    entity_counter,
    f_scores,
    is_bio,
)
from elmo_cli.downstream.mix import LearnedMix, learned_mix
from elmo_cli.downstream.probe_data import ProbeData
from elmo_cli.downstream.report import ControlRow, MixReport, PartReport, Report, Row
from elmo_cli.downstream.statistics import Resampled, resample
from elmo_cli.errors import UsageError

METRICS = ("accuracy", "f1", "macro-f1")
MAJORITY, MAJORITY_BY_WORD = "majority", "majority by word"
Counter = Callable[[Ints, Ints, Ints, Mask | None], Floats]


@dataclass(frozen=True)
class ProbeOptions:
    """Options of a probe. The default metric is entity F1 if all labels are IOB2, else accuracy."""

    metric: str | None = None
    control: bool = False
    seeds: int = 3
    seed: int = 0
    epochs: int | None = None  # None: by the number of rows


class Probe:
    """Classifiers of one set of labels: `train`, then `report`."""

    def __init__(self, data: ProbeData, options: ProbeOptions) -> None:
        """Check the options against the data.

        Raises:
            UsageError: The options do not fit the data.
        """
        self.data, self.options = data, options
        if options.control and not data.of_tokens:
            raise UsageError(
                "--control is for labels of tokens: in the control task each word has a random "
                "label."
            )
        self.metric = options.metric or (
            "f1" if data.of_tokens and is_bio(data.classes) else "accuracy"
        )
        if self.metric == "f1" and not (data.of_tokens and is_bio(data.classes)):
            other = next((name for name in data.classes if not is_bio([name, "B-X"])), None)
            raise UsageError(
                f"--metric f1 is for entities, whose labels are O, B-X and I-X, not {other!r}; "
                "pass --metric macro-f1."
                if other
                else "--metric f1 is for entities in labels of tokens; pass --metric macro-f1."
            )
        self._control = (
            control_labels(data.train.labels, data.n_words, options.seed)
            if options.control
            else None
        )
        kinds = KINDS if len(data.layers) > 1 else (LAYER,)
        make = partial(LinearProbes, data.scales, data.n_classes)
        self._probes = [make(2 if options.control else 1, kinds, options.seed)]
        self._probes += [
            make(1, (MIX,), options.seed + i, even_mix=False)
            for i in range(1, options.seeds)
            if MIX in kinds
        ]

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return self.options.epochs or epochs_for(len(self.data.train.labels))

    @property
    def names(self) -> list[str]:
        """Names of the classifiers."""
        return [*self.data.layers, *((AVERAGE, MIX, ALL) if len(self.data.layers) > 1 else ())]

    def train(self) -> Iterator[float]:
        """Train all classifiers together, and yield the number of epochs done."""
        source, mask = self.data.train.source, self.data.train.mask
        targets = torch.zeros(len(mask), self._probes[0].n_targets, dtype=torch.int64)
        targets[torch.from_numpy(mask), 0] = torch.from_numpy(self.data.train.labels)
        if self._control is not None:
            targets[:, 1] = torch.from_numpy(self._control[source.words])
        yield from fit(source, mask, targets, self._probes, self.options.seed, self.epochs)

    def mixes(self) -> list[LearnedMix]:
        """Return the learned mix of each seed; none if there is one layer only."""
        layers = (
            [int(name.rpartition(" ")[2]) for name in self.data.layers]
            if MIX in self._probes[0].kinds
            else []
        )
        return [learned_mix(one, layers) for one in self._probes] if layers else []

    def report(self) -> Report:
        """Return the test results of the classifiers."""
        data, test = self.data, self.data.test
        predicted, *others = predict_all(test.source, test.mask, self._probes)
        rows = dict(zip(self.names, predicted[:, 0], strict=True))
        baselines = {MAJORITY: majority(data.train.labels, len(test.labels))}
        if data.of_tokens:
            baselines[MAJORITY_BY_WORD] = majority_by_word(
                data.train.labels, data.train.words, test.words
            )
        scored = {name: self._resample(classes) for name, classes in {**baselines, **rows}.items()}
        best = max(data.layers, key=lambda name: scored[name].score)
        control = (
            dict(zip(self.names, predicted[:, 1], strict=True)) if self.options.control else {}
        )
        report_rows = [
            self._row(
                name,
                classes,
                scored[name],
                scored[best] if name != best else None,
                control.get(name),
            )
            for name, classes in {**baselines, **rows}.items()
        ]
        return Report(
            self.metric,
            data.unit,
            self._part(train=True),
            self._part(train=False),
            data.n_classes,
            best,
            report_rows,
            self._mix(scored, [one[0, 0] for one in others]),
            self._ceiling(),
            list(self._notes()),
        )

    def _row(
        self,
        name: str,
        classes: Ints,
        scored: Resampled,
        best: Resampled | None,
        control: Ints | None,
    ) -> Row:
        gold = self.data.test.labels
        accuracy = float((classes == gold).mean())
        return Row(
            name,
            scored.interval(),
            accuracy,
            self._on_new_words(classes),
            scored.minus(best) if best else None,
            None if control is None else self._control_row(accuracy, control),
        )

    def _control_row(self, accuracy: float, predicted: Ints) -> ControlRow:
        assert self._control is not None  # noqa: S101  # for mypy
        score = float((predicted == self._control[self.data.test.words]).mean())
        return ControlRow(score, accuracy - score)

    @cached_property
    def _counter(self) -> Counter:
        if self.metric == "f1":
            return entity_counter(self.data.classes)
        return count_right if self.metric == "accuracy" else count_classes

    @cached_property
    def _sentences(self) -> Ints:
        return self.data.test.sentences

    @cached_property
    def _is_new(self) -> Mask | None:
        return self.data.is_new if self.data.of_tokens else None

    def _resample(self, classes: Ints) -> Resampled:
        return resample(
            self._counter(self.data.test.labels, classes, self._sentences, None), self.options.seed
        )

    def _on_new_words(self, classes: Ints) -> float | None:
        """Return the score on words, or entities with words, that are not in the training part."""
        if self._is_new is None or not self._is_new.any():
            return None
        return float(
            f_scores(
                self._counter(self.data.test.labels, classes, self._sentences, self._is_new).sum(
                    axis=0
                )
            )
        )

    def _mix(self, scored: dict[str, Resampled], others: Sequence[Ints]) -> MixReport | None:
        mixes = self.mixes()
        scores = [scored[MIX].score] if mixes else []
        for classes in others:
            counts = self._counter(self.data.test.labels, classes, self._sentences, None)
            scores.append(float(f_scores(counts.sum(axis=0))))
        return MixReport(mixes, scores) if mixes else None

    def _ceiling(self) -> float | None:
        if self._control is None:
            return None
        return control_ceiling(self._control, self.data.train.words, self.data.test.words)

    def _part(self, *, train: bool) -> PartReport:
        part = self.data.train if train else self.data.test
        sentences = len(np.unique(part.source.sentences[part.mask]))
        new = None if train or self._is_new is None else int(self._is_new.sum())
        return PartReport(str(part.source.features.path), sentences, len(part.labels), new)

    def _notes(self) -> Iterator[str]:
        data, test = self.data, self.data.test
        unseen = data.classes[data.n_classes :]
        if unseen:
            rows = int((test.labels >= data.n_classes).sum())
            shown = ", ".join(unseen[:10]) + ", ..." * (len(unseen) > 10)
            yield (
                f"labels that the training part does not have ({shown}): their {rows:,} rows of "
                "the test part count as wrong"
            )
        if self.metric == "f1" and (
            stray := count_stray(test.labels, self._sentences, data.classes)
        ):
            yield (
                f"{stray:,} labels I-X of the test part follow no B-X or I-X: strict IOB2 takes "
                "them for no entity"
            )
