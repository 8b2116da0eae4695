"""`Elmo`: a trainable module with the interface of AllenNLP's, including its state dicts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from elmo_cli.errors import ModelError, UsageError
from elmo_cli.inference.arguments import (
    check_count,
    check_model,
    errors_name_arguments,
    sentences_of,
)
from elmo_cli.models.convert import write_model
from elmo_cli.models.formats.allennlp_archive import ELMO, bilm_parameters
from elmo_cli.models.formats.state_dict import StateDict
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.characters import DEFAULT_MAX_CHARACTERS, CharacterMapper
from elmo_cli.nn.elmo import ElmoRepresentations
from elmo_cli.nn.token_encoders import CharacterEncoder

REFUSED = {
    "vocab_to_cache": (
        "vocab_to_cache is not needed: each distinct word of a batch is encoded once; leave it out"
    ),
    "module": "module= is not supported: pass options_file and weight_file, or model",
}


class Elmo(ElmoRepresentations):
    """ELMo representations trained with a task, as `allennlp.modules.elmo.Elmo` has them.

    `Elmo(options_file, weight_file, 2)(batch_to_ids(sentences))["elmo_representations"]` is a list
    of two tensors (sentence, token, dim). See ElmoRepresentations for how it runs.

    Unlike AllenNLP's, the same batch has the same vectors in each call; `stateful=True` carries
    states from batch to batch as AllenNLP does. `load_state_dict` takes AllenNLP's names of
    parameters too, so that a trained task model can be loaded.

    Args:
        options_file: A published model's options.json, or its URL.
        weight_file: Its HDF5 file of weights, or its URL.
        num_output_representations: Number of mixes, each with its own parameters.
        requires_grad: Whether the biLM is trained.
        do_layer_norm: Whether mixes normalise layers, over the batch and with the boundaries
            included.
        dropout: Share of the representations' values that become 0 in training.
        keep_sentence_boundaries: Whether representations include the boundaries.
        scalar_mix_parameters: Fixed parameters of the mixes, a number for each layer before the
            softmax.
        model: In place of the two files: a name that `elmo models` lists, a folder, an archive or a
            URL.
        stateful: Whether a batch starts in the states that the batch before it left.
        vocab_to_cache: Refused: each distinct word of a batch is encoded once without it.
        module: Refused.

    Raises:
        ElmoError: No model is named, or it cannot be loaded, or an argument is refused.
        TypeError: An argument is of another type.
    """

    @errors_name_arguments
    def __init__(
        self,
        options_file: str | Path | None = None,
        weight_file: str | Path | None = None,
        num_output_representations: int = 1,
        *,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: Sequence[float] | None = None,
        model: str | Path | None = None,
        stateful: bool = False,
        vocab_to_cache: None = None,
        module: None = None,
    ) -> None:
        for name, value in (("vocab_to_cache", vocab_to_cache), ("module", module)):
            if value is not None:
                raise UsageError(REFUSED[name])
        check_model(model, options_file, weight_file)
        check_count("num_output_representations", num_output_representations)
        files = find_model(None if model is None else str(model), options_file, weight_file)
        bilm = files.load()
        if not isinstance(bilm.character_encoder, CharacterEncoder):
            raise ModelError(
                f"{files.name}: Elmo does not take models of ELMoForManyLangs, whose ids differ; "
                "use ElmoEmbedder"
            )
        super().__init__(
            bilm,
            num_output_representations,
            requires_grad=requires_grad,
            do_layer_norm=do_layer_norm,
            dropout=dropout,
            keep_sentence_boundaries=keep_sentence_boundaries,
            scalar_mix_parameters=scalar_mix_parameters,
            stateful=stateful,
        )
        self.register_load_state_dict_pre_hook(_rename_allennlp_parameters)  # type: ignore[no-untyped-call]  # torch's

    @classmethod
    def from_params(cls, *_: object, **__: object) -> NoReturn:
        """Raise UsageError: AllenNLP's configuration files are not supported.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "Elmo is not built from AllenNLP's configuration; call Elmo(options_file, weight_file, "
            "...)"
        )

    @errors_name_arguments
    def save(self, folder: str | Path) -> None:
        """Write the current biLM into a new folder, in the published format.

        `elmo embed --model` and AllenNLP read this format.

        The mixes are not part of that format: `torch.save(elmo.state_dict(), "mix.pt")` is what
        `elmo embed --mix` takes.

        Args:
            folder: Path of the folder, which must not exist.

        Raises:
            OutputError: The folder exists, or cannot be written.
        """
        write_model(self.bilm, str(folder), Path(folder))


@errors_name_arguments
def load_model(
    model: str | Path | None = None,
    *,
    options_file: str | Path | None = None,
    weight_file: str | Path | None = None,
) -> BiLM:
    """Load a biLM, a torch module without its softmax.

    Args:
        model: A name that `elmo models` lists, a folder, an archive or a URL.
        options_file: In place of `model`, a published model's options.json, or its URL.
        weight_file: Its HDF5 file of weights, or its URL.

    Returns:
        The network on the CPU, in evaluation mode, without gradients.

    Raises:
        ElmoError: No model is named, or it cannot be loaded.
        TypeError: An argument is of another type.
    """
    check_model(model, options_file, weight_file)
    return find_model(None if model is None else str(model), options_file, weight_file).load()


@errors_name_arguments
def batch_to_ids(
    batch: Iterable[Iterable[object]], max_characters: int = DEFAULT_MAX_CHARACTERS
) -> Tensor:
    """Return the character ids of a batch of sentences, as AllenNLP's function of that name does.

    Args:
        batch: Sentences, each an iterable of strings or of objects whose `text` is one.
        max_characters: Ids of a token: the model's `max_characters_per_token`, 50 in the published
            ones.

    Returns:
        (sentence, longest, max_characters) int64; shorter sentences end in rows of 0.

    Raises:
        TypeError: A sentence is not a sequence of tokens.
        CorpusError: A token is empty.
    """
    return CharacterMapper(max_characters).batch_to_ids(list(sentences_of(batch)))


def _rename_allennlp_parameters(
    elmo: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Replace AllenNLP's biLM parameters in a state dict by this module's before loading."""
    below = prefix + ELMO
    theirs = {name: value for name, value in state_dict.items() if name.startswith(below)}
    if not theirs or not isinstance(elmo, Elmo):
        return
    plain = {name.removeprefix(below): _plain(value) for name, value in theirs.items()}
    for name in theirs:
        del state_dict[name]
    parameters = bilm_parameters(StateDict(Path("the state dict"), plain), elmo.bilm.config)
    state_dict.update({f"{prefix}bilm.{name}": value for name, value in parameters.items()})


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to(device="cpu", memory_format=torch.contiguous_format)
