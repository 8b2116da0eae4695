"""Training of token classifiers on cached features, with a held-out score after each epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elmo_cli.downstream.feature_cache import FeatureCache
from elmo_cli.downstream.labelled_features import Ints
from elmo_cli.downstream.scores import Scorer
from elmo_cli.downstream.token_head import TokenHead
from elmo_cli.downstream.training_steps import TrainingStep, best_score, plain
from elmo_cli.errors import DivergenceError

BATCH_SENTENCES, LEAST_BATCH = 32, 4
POOL_BATCHES = 16  # whose sentences are sorted by length
BATCHES = 64  # of a small corpus: more updates from smaller batches
PREDICT_SENTENCES = 256
LEAST_STEPS = {"linear": 1000, "crf": 1000, "lstm-crf": 1500}
EPOCHS = {"linear": 6, "crf": 8, "lstm-crf": 12}  # at least
MOST_EPOCHS = 40
LEARNING_RATES = {"linear": 5e-3, "crf": 5e-3, "lstm-crf": 2e-3}
LARGEST_GRADIENT = 5.0
State = dict[str, Tensor]


def batch_size(n_sentences: int) -> int:
    """Return the batch size for a number of training sentences."""
    return min(BATCH_SENTENCES, max(LEAST_BATCH, n_sentences // BATCHES))


def random_batches(lengths: Sequence[int], random: np.random.Generator) -> list[Ints]:
    """Return batches of sentences of similar length, in random order.

    The steps of a CRF are the tokens of the longest sentence.

    Args:
        lengths: Number of tokens of each sentence.
        random: Random generator of the order.
    """
    size = batch_size(len(lengths))
    order, found = random.permutation(len(lengths)), []
    for pool in np.split(order, range(POOL_BATCHES * size, len(order), POOL_BATCHES * size)):
        by_length = pool[np.argsort([lengths[i] for i in pool], kind="stable")]
        found += np.split(by_length, range(size, len(pool), size))
    return [found[i] for i in random.permutation(len(found))]


def epochs_for(head: str, n_sentences: int) -> int:
    """Return the number of epochs for a head and a number of sentences."""
    steps = -(-n_sentences // batch_size(n_sentences))
    return min(MOST_EPOCHS, max(EPOCHS[head], -(-LEAST_STEPS[head] // steps)))


@dataclass
class TokenTraining:
    """Adam on batches of sentences; the learning rate falls to 0.

    `best` has the weights of the best epoch.

    Args:
        head: The classifier, which is trained in place.
        cache: Features of all sentences.
        labels: Labels of the tokens of each sentence of the cache.
        train: Indices of the training sentences.
        held_out: Sentences to score after each epoch.
        scorer: The score.
        seed: Seed of the order and of dropout.
        epochs: Number of epochs.
        weights: Weights of the labels, (label,); None: all 1.
    """

    head: TokenHead
    cache: FeatureCache
    labels: Sequence[Ints]
    train: Sequence[int]
    held_out: Sequence[int]
    scorer: Scorer
    seed: int
    epochs: int
    weights: Tensor | None = None
    history: list[TrainingStep] = field(default_factory=list)
    best: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            self.head.parameters(), lr=LEARNING_RATES[self.head.config.head]
        )

    def run(self) -> Iterator[TrainingStep]:
        """Train, yielding after each epoch.

        Raises:
            DivergenceError: The loss is not finite.
        """
        for epoch in range(len(self.history), self.epochs):
            torch.manual_seed(self.seed * 1000 + epoch)  # dropout, the same in a resumed run
            loss = self._run_epoch(epoch)
            score = self.score()
            is_best = score > best_score(self.history)
            if is_best:
                self.best = {
                    name: value.detach().clone() for name, value in self.head.state_dict().items()
                }
            self.history.append(
                TrainingStep(f"epoch {epoch + 1} of {self.epochs}", loss, score, is_best)
            )
            yield self.history[-1]
        self.restore_best()

    def state(self) -> dict[str, Any]:
        """Return what a later run needs to continue after the last step."""
        return {
            "history": plain(self.history),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.history = [TrainingStep(*step) for step in state["history"]]
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]

    def restore_best(self) -> None:
        """Load the weights of the best epoch."""
        if self.best:
            self.head.load_state_dict(self.best)

    def score(self) -> float:
        """Return the score on the held-out sentences."""
        gold = np.concatenate([self.labels[i] for i in self.held_out])
        return self.scorer.score(
            gold,
            predict_cached(self.head, self.cache, self.held_out),
            self._sentences(self.held_out),
        )

    def _run_epoch(self, epoch: int) -> float:
        self.head.train()
        batches = random_batches(
            [len(self.labels[i]) for i in self.train], np.random.default_rng([self.seed, 4, epoch])
        )
        losses = []
        for number, batch in enumerate(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = LEARNING_RATES[self.head.config.head] * (
                    1 - (epoch + number / len(batches)) / self.epochs
                )
            losses.append(self._step([self.train[i] for i in batch]))
        return float(np.mean(losses))

    def _step(self, batch: Sequence[int]) -> float:
        labels = torch.from_numpy(np.concatenate([self.labels[i] for i in batch]))
        loss = self.head.loss(
            self.cache.read(batch), [len(self.labels[i]) for i in batch], labels, self.weights
        )
        if not loss.isfinite():
            fact = f"epoch {len(self.history) + 1}: the loss is {loss.item()}"
            raise DivergenceError(f"{fact}; check the model and its vectors")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        nn.utils.clip_grad_norm_(self.head.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        return loss.item()

    def _sentences(self, chosen: Sequence[int]) -> Ints:
        return np.repeat(np.arange(len(chosen)), [len(self.labels[i]) for i in chosen])


def predict_cached(head: TokenHead, cache: FeatureCache, sentences: Sequence[int]) -> Ints:
    """Return the predicted labels of the tokens of sentences, one after another."""
    head.eval()
    counts = np.diff(cache.offsets)
    found = []
    for start in range(0, len(sentences), PREDICT_SENTENCES):
        batch = sentences[start : start + PREDICT_SENTENCES]
        lengths = [int(counts[i]) for i in batch]
        with torch.no_grad():
            emissions = head.emissions(cache.read(batch), lengths)
        found.append(head.decode(emissions, lengths).numpy())
    return np.concatenate(found)
