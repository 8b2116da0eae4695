"""Where training starts from: random numbers, or the weights of a model, with its own vocabulary or a new one."""

from dataclasses import dataclass
from pathlib import Path

import torch

from elmo_cli.errors import ModelError
from elmo_cli.models.files import ModelFiles
from elmo_cli.models.formats.options_json import parse_options
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.bilm import BiLM, BiLMConfig, CharacterEncoder
from elmo_cli.nn.init import new_bilm
from elmo_cli.training.checkpoint import SOFTMAX, load_softmax
from elmo_cli.training.language_model import LanguageModel, new_softmax
from elmo_cli.training.settings import Run
from elmo_cli.training.softmax import Softmax
from elmo_cli.training.vocabulary import read_vocabulary


@dataclass(frozen=True)
class Initialization:
    """An architecture, and the network to go on with, if any."""

    config: BiLMConfig
    bilm: BiLM | None = None
    folder: Path | None = None  # of that network
    old_words: list[str] | None = None  # the vocabulary that is to be kept

    @property
    def lacks_softmax(self) -> bool:
        """Whether the network was published without its softmax, as ELMo's own models were."""
        return self.folder is not None and not (self.folder / SOFTMAX).is_file()

    def make_model(self, words: list[str], seed: int) -> LanguageModel:
        """The model at the start of its training, for a softmax over these words."""
        generator = torch.Generator().manual_seed(seed)
        if self.bilm is None or self.folder is None:
            return LanguageModel(new_bilm(self.config, generator), new_softmax(len(words), self.config.projection_dim, generator))
        softmax = new_softmax(len(words), self.config.projection_dim, generator)
        if not self.lacks_softmax:
            _copy_rows(*load_softmax(self.folder, self.config.projection_dim), softmax, words)
        return LanguageModel(self.bilm.requires_grad_(True).train(), softmax)


def find_start(run: Run) -> Initialization:
    """Where a run starts from.

    Raises:
        ModelError: The options make no network, the model is not there, or they do not fit each other.
    """
    config = parse_options(run.options, Path("--options")) if run.options is not None else None
    if run.start is None:
        if config is None:
            raise ModelError("no architecture named; pass --preset NAME or --options FILE")
        return Initialization(config)
    files = find_model(run.start)
    bilm, folder = files.load(), files.folder
    if not isinstance(bilm.character_encoder, CharacterEncoder):
        raise ModelError(f"{run.start}: a model of ELMoForManyLangs; training goes on from models in the published format only")
    if config is not None and config != bilm.config:
        raise ModelError(f"{run.start}: its architecture is not the one of --options or --preset; leave these out: --from brings its own")
    if run.vocabulary == "old" and not (folder / "vocab.txt").is_file():
        raise ModelError(f"{run.start}: comes without its words (vocab.txt); pass --vocabulary new")
    old_words = read_vocabulary(folder / "vocab.txt") if run.vocabulary == "old" else None
    return Initialization(bilm.config, bilm, folder, old_words)


@torch.no_grad()
def _copy_rows(old: Softmax, old_words: list[str], new: Softmax, words: list[str]) -> None:
    """Words that both vocabularies have go on where they were."""
    places = {word: place for place, word in enumerate(old_words)}
    known = [i for i, word in enumerate(words) if word in places]
    rows = [places[words[i]] for i in known]
    new.weight[known] = old.weight[rows]
    new.bias[known] = old.bias[rows]


def load_language_model(files: ModelFiles) -> tuple[LanguageModel, list[str]]:
    """A trained model with its softmax, and the softmax's words.

    Raises:
        ModelError: The model cannot be used, or it comes without its softmax.
    """
    softmax, words = load_softmax(files.folder, files.config().projection_dim)
    return LanguageModel(files.load(), softmax).requires_grad_(False), words
