"""Initialization of training: random weights or those of a model, and the vocabulary."""

from dataclasses import dataclass
from pathlib import Path

import torch

from elmo_cli.errors import ModelError
from elmo_cli.models.files import ModelFiles
from elmo_cli.models.formats.options_json import parse_options
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.bilm import BiLM, BiLMConfig
from elmo_cli.nn.init import new_bilm
from elmo_cli.nn.token_encoders import CharacterEncoder
from elmo_cli.training.checkpoint import SOFTMAX, load_softmax
from elmo_cli.training.language_model import LanguageModel, new_softmax
from elmo_cli.training.settings import Run
from elmo_cli.training.softmax import Softmax
from elmo_cli.training.vocabulary import read_vocabulary


@dataclass(frozen=True)
class Initialization:
    """Architecture, and the network to continue from, if any.

    Attributes:
        config: Architecture of the network.
        bilm: Network to continue from; None: random weights.
        folder: Model folder of that network.
        old_words: Vocabulary to keep; None: a new one.
    """

    config: BiLMConfig
    bilm: BiLM | None = None
    folder: Path | None = None
    old_words: list[str] | None = None

    @property
    def lacks_softmax(self) -> bool:
        """Whether the network comes without a softmax, as the published models do."""
        return self.folder is not None and not (self.folder / SOFTMAX).is_file()

    def make_model(self, words: list[str], seed: int) -> LanguageModel:
        """Return the model at the start of training.

        Args:
            words: Vocabulary of the softmax.
            seed: Seed of the random weights.

        Returns:
            The model.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.bilm is None or self.folder is None:
            return LanguageModel(
                new_bilm(self.config, generator),
                new_softmax(len(words), self.config.projection_dim, generator),
            )
        softmax = new_softmax(len(words), self.config.projection_dim, generator)
        if not self.lacks_softmax:
            _copy_rows(*load_softmax(self.folder, self.config.projection_dim), softmax, words)
        return LanguageModel(self.bilm.requires_grad_(True).train(), softmax)


def find_start(run: Run) -> Initialization:
    """Find the initialization of a run.

    Args:
        run: Description of the run.

    Returns:
        The initialization.

    Raises:
        ModelError: The architecture is not valid, the model is missing, or they do not fit each
            other.
    """
    config = parse_options(run.options, Path("--options")) if run.options is not None else None
    if run.start is None:
        if config is None:
            raise ModelError("no architecture given; pass --preset NAME or --options FILE")
        return Initialization(config)
    files = find_model(run.start)
    bilm, folder = files.load(), files.folder
    if not isinstance(bilm.character_encoder, CharacterEncoder):
        raise ModelError(
            f"{run.start}: is a model of ELMoForManyLangs; --from takes models in the published "
            "format"
        )
    if config is not None and config != bilm.config:
        raise ModelError(
            f"{run.start}: its architecture differs from --options or --preset; leave these out "
            "with --from"
        )
    if run.vocabulary == "old" and not (folder / "vocab.txt").is_file():
        raise ModelError(f"{run.start}: has no vocabulary (vocab.txt); pass --vocabulary new")
    old_words = read_vocabulary(folder / "vocab.txt") if run.vocabulary == "old" else None
    return Initialization(bilm.config, bilm, folder, old_words)


@torch.no_grad()
def _copy_rows(old: Softmax, old_words: list[str], new: Softmax, words: list[str]) -> None:
    """Copy the rows of words that both vocabularies have."""
    old_rows = {word: row for row, word in enumerate(old_words)}
    known = [i for i, word in enumerate(words) if word in old_rows]
    rows = [old_rows[words[i]] for i in known]
    new.weight[known] = old.weight[rows]
    new.bias[known] = old.bias[rows]


def load_language_model(files: ModelFiles) -> tuple[LanguageModel, list[str]]:
    """Load a trained model with its softmax.

    Args:
        files: Files of the model.

    Returns:
        The model, without gradients, and the vocabulary of its softmax.

    Raises:
        ModelError: The model cannot be used, or has no softmax.
    """
    softmax, words = load_softmax(files.folder, files.config().projection_dim)
    return LanguageModel(files.load(), softmax).requires_grad_(False), words
