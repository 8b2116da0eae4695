"""Fine-tuning: a biLM trained together with a classifier of the mix of its layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elmo_cli.downstream.labelled_features import Ints
from elmo_cli.downstream.sentence_head import SentenceHead, target_loss
from elmo_cli.downstream.token_head import TokenHead
from elmo_cli.downstream.training_steps import (
    TrainingStep,
    best_score,
    n_worse,
    plain,
)
from elmo_cli.errors import DivergenceError
from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.characters import CharacterMapper
from elmo_cli.nn.elmo import ElmoRepresentations
from elmo_cli.nn.scalar_mix import ScalarMix

EPOCHS = 4
PATIENCE = 2  # epochs without improvement before the training ends
BATCH_SENTENCES = 32
LEARNING_RATE = 1e-3  # of the biLM
HEAD_RATE = 5e-3
WARM_UP = 0.1  # share of the steps
WEIGHT_DECAY = 0.01
DROPOUT = 0.2  # of the mixed vectors
LARGEST_GRADIENT = 1.0
State = dict[str, Tensor]


@dataclass
class FineTuning:
    """AdamW on all weights of a biLM, its mix and a classifier.

    The learning rates rise, then fall to 0.

    Args:
        bilm: The network, which is trained in place.
        head: A classifier of the mixed vectors as one layer: of tokens, or of their mean and
            maximum.
        sentences: Tokens of all sentences.
        targets: Of labels of tokens, an array for each sentence; otherwise as `target_loss` takes
            them.
        train: Indices of the training sentences.
        held_out: Sentences to score after each epoch.
        score: The score of outputs for the held-out sentences: labels of tokens one after another,
            or logits.
        seed: Seed of the order and of dropout.
        epochs: Number of epochs at most.
        learning_rate: Learning rate of the biLM.
        weights: Weights of the labels; None: all 1.
    """

    bilm: BiLM
    head: TokenHead | SentenceHead
    sentences: Sequence[Sequence[str]]
    targets: Sequence[Ints] | Tensor
    train: Sequence[int]
    held_out: Sequence[int]
    score: Callable[[Tensor], float]
    seed: int
    epochs: int = EPOCHS
    learning_rate: float = LEARNING_RATE
    weights: Tensor | None = None
    history: list[TrainingStep] = field(default_factory=list)
    best: tuple[State, State] | None = None  # of the biLM with its mix, and of the classifier

    def __post_init__(self) -> None:
        self.elmo = ElmoRepresentations(self.bilm, 1, requires_grad=True, dropout=DROPOUT)
        self._mapper = CharacterMapper(self.bilm.config.max_characters)
        own = [*self._mix.parameters(), *self.head.parameters()]
        groups = [
            {"params": list(self.bilm.parameters()), "peak": self.learning_rate},
            {"params": own, "peak": HEAD_RATE},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)

    @property
    def _mix(self) -> ScalarMix:
        mix = self.elmo.get_submodule("scalar_mix_0")
        assert isinstance(mix, ScalarMix)  # noqa: S101  # for mypy
        return mix

    @property
    def fixed_mix(self) -> tuple[float, ...]:
        """Return the weights of the mix, before the softmax, and its gamma."""
        return (
            *(float(weight.detach()) for weight in self._mix.scalar_parameters),
            float(self._mix.gamma.detach()),
        )

    def run(self) -> Iterator[TrainingStep]:
        """Train, yielding after each epoch.

        Raises:
            DivergenceError: The loss is not finite.
        """
        for epoch in range(len(self.history), self.epochs):
            if n_worse(self.history) == PATIENCE:
                break
            torch.manual_seed(self.seed * 1000 + epoch)
            loss = self._run_epoch(epoch)
            score = self.score(self._outputs())
            is_best = score > best_score(self.history)
            if is_best:
                self.best = (_copy(self.elmo.state_dict()), _copy(self.head.state_dict()))
            self.history.append(
                TrainingStep(f"epoch {epoch + 1} of {self.epochs}", loss, score, is_best)
            )
            yield self.history[-1]
        self.restore_best()

    def state(self) -> dict[str, Any]:
        """Return what a later run needs to continue after the last step."""
        return {
            "history": plain(self.history),
            "elmo": self.elmo.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.history = [TrainingStep(*step) for step in state["history"]]
        self.elmo.load_state_dict(state["elmo"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]

    def restore_best(self) -> None:
        """Load the weights of the best epoch into the biLM, the mix and the classifier."""
        if self.best:
            self.elmo.load_state_dict(self.best[0])
            self.head.load_state_dict(self.best[1])
        self.elmo.eval()
        self.head.eval()

    def _run_epoch(self, epoch: int) -> float:
        self.elmo.train()
        self.head.train()
        order = np.random.default_rng([self.seed, 5, epoch]).permutation(len(self.train))
        batches = np.array_split(order, -(-len(order) // BATCH_SENTENCES))
        losses = []
        for number, batch in enumerate(batches):
            done = (epoch + number / len(batches)) / self.epochs
            factor = min((done + 1e-3) / WARM_UP, (1 - done) / (1 - WARM_UP), 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            losses.append(self._step([self.train[i] for i in batch]))
        return float(np.mean(losses))

    def _step(self, batch: Sequence[int]) -> float:
        loss = self._loss(batch)
        if not loss.isfinite():
            fact = f"epoch {len(self.history) + 1}: the loss is {loss.item()}"
            raise DivergenceError(f"{fact}; pass a lower --learning-rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        nn.utils.clip_grad_norm_(
            chain(self.elmo.parameters(), self.head.parameters()), LARGEST_GRADIENT
        )
        self.optimizer.step()
        return loss.item()

    def _loss(self, batch: Sequence[int]) -> Tensor:
        vectors, mask = self._represent(batch)
        if isinstance(self.head, TokenHead):
            labels = torch.from_numpy(np.concatenate([np.asarray(self.targets[i]) for i in batch]))
            return self.head.loss(
                vectors[mask][None], mask.sum(dim=1).tolist(), labels, self.weights
            )
        assert isinstance(self.targets, Tensor)  # noqa: S101  # for mypy
        return target_loss(
            self.head.task, self.head(pool(vectors, mask)), self.targets[list(batch)], self.weights
        )

    @torch.no_grad()
    def _outputs(self) -> Tensor:
        """Return labels of tokens, or logits, for the held-out sentences."""
        self.elmo.eval()
        self.head.eval()
        found = []
        for start in range(0, len(self.held_out), BATCH_SENTENCES):
            vectors, mask = self._represent(self.held_out[start : start + BATCH_SENTENCES])
            if isinstance(self.head, TokenHead):
                lengths = mask.sum(dim=1).tolist()
                found.append(
                    self.head.decode(self.head.emissions(vectors[mask][None], lengths), lengths)
                )
            else:
                found.append(self.head(pool(vectors, mask)))
        return torch.cat(found)

    def _represent(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return mixed vectors (sentence, token, dim), and the mask (sentence, token)."""
        ids = self._mapper.batch_to_ids([list(self.sentences[i]) for i in batch])
        output = self.elmo(ids)
        return output["elmo_representations"][0], output["mask"]


def pool(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return mean and maximum over tokens, (sentence, token, dim) → (sentence, 2 * dim)."""
    real = mask[:, :, None]
    mean = (vectors * real).sum(dim=1) / real.sum(dim=1)
    return torch.cat([mean, vectors.masked_fill(~real, -torch.inf).amax(dim=1)], dim=-1)


def _copy(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}
