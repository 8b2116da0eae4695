"""Argument checks of the Python API, and error messages that name Python arguments."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from elmo_cli.errors import CorpusError, DeviceError, ElmoError, UsageError
from elmo_cli.nn.devices import why_unavailable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

A_SENTENCE = "a sentence is a sequence of tokens (str), such as ['A', 'cat']"
A_BATCH = "sentences are an iterable of token lists, such as [['A', 'cat'], ['Yes']]"
NOT_SEQUENCES = (str, bytes, bytearray, memoryview, Mapping, Set, os.PathLike)
OPTION_NAMES = {
    "--options": "options_file",
    "--weights": "weight_file",
    "--no-resume": "resume=False",
}


def sentences_of(sentences: object) -> Iterator[list[str]]:
    """Iterate over sentences as lists of tokens, each checked when it is reached.

    Args:
        sentences: An iterable of sentences, each as `tokens_of` takes it.

    Raises:
        TypeError: `sentences` is not such an iterable.
        CorpusError: A token is empty.
    """
    found = _iterate(sentences, A_BATCH)
    return (tokens_of(sentence, f"sentence {i}: ") for i, sentence in enumerate(found))


def tokens_of(sentence: object, where: str = "") -> list[str]:
    """Return the tokens of a sentence.

    Args:
        sentence: An iterable of strings or of objects whose `text` is one, such as spaCy's tokens.
        where: Prefix of the error messages.

    Raises:
        TypeError: `sentence` is not such an iterable, for example a string that is not split.
        CorpusError: A token is empty.
    """
    tokens = list(_iterate(sentence, A_SENTENCE, where))
    texts = [
        token if isinstance(token, str) else _text_of(token, f"{where}token {i}: ")
        for i, token in enumerate(tokens)
    ]
    if "" in texts:
        raise CorpusError(f"{where}token {texts.index('')} is empty; leave it out")
    return texts


def _iterate(given: object, expected: str, where: str = "") -> Iterator[object]:
    if isinstance(given, str):
        raise TypeError(
            f"{where}expected tokens, got the string {given[:40]!r}; {expected}: split it, as by "
            ".split()"
        )
    if (
        isinstance(given, NOT_SEQUENCES)
        or hasattr(given, "columns")
        or not isinstance(given, Iterable)
    ):
        raise TypeError(f"{where}got {_described(given)}; {expected}")
    try:
        return iter(given)
    except TypeError:  # an array without axes
        raise TypeError(f"{where}got {_described(given)}; {expected}") from None


def _text_of(token: object, where: str) -> str:
    text = getattr(token, "text", None)
    if not isinstance(text, str):
        raise TypeError(f"{where}got {_described(token)}; {A_SENTENCE}")
    return text


def _described(given: object) -> str:
    return "None" if given is None else f"an object of type {type(given).__name__}"


def check_count(name: str, value: object) -> None:
    """Check that an argument is an integer of at least 1.

    Raises:
        TypeError: The value is not an integer.
        ValueError: The value is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it takes an integer")
    if value < 1:
        raise ValueError(f"{name} is {value}; it takes 1 or more")


def check_model(model: object, options_file: object, weight_file: object) -> None:
    """Check that exactly one model is named.

    Raises:
        TypeError: An argument is not a name or a path.
        UsageError: No model or more than one is named, or one of the two files is missing.
    """
    for name, value in (
        ("model", model),
        ("options_file", options_file),
        ("weight_file", weight_file),
    ):
        if value is not None and not isinstance(value, (str, Path)):
            raise TypeError(f"{name} is {_described(value)}; it takes a str or a pathlib.Path")
    if (
        model is None
        and options_file is None
        and weight_file is None
        and not os.environ.get("ELMO_MODEL")
    ):
        raise UsageError(
            'no model is named; pass model="original" (the published one of 1,024 dimensions, '
            "AllenNLP's default), "
            'model="tiny" (built in, 512 dimensions, for trying out), or options_file and '
            "weight_file"
        )
    if model is None and (options_file is None) != (weight_file is None):
        raise UsageError("options_file and weight_file go together; pass both, or model")
    if model is not None and weight_file is not None:
        raise UsageError("model and options_file/weight_file name two models; pass one of them")


def check_cuda_device(cuda_device: object) -> str:
    """Return the torch device of AllenNLP's `cuda_device`: a GPU's number, or -1 for the CPU.

    Raises:
        TypeError: `cuda_device` is not an integer.
        DeviceError: The GPU is not available.
    """
    if not isinstance(cuda_device, int) or isinstance(cuda_device, bool):
        raise TypeError(
            f"cuda_device is {cuda_device!r}; it takes a GPU's number, or -1 for the CPU"
        )
    device = "cpu" if cuda_device < 0 else f"cuda:{cuda_device}"
    if problem := why_unavailable(device):
        raise DeviceError(
            f"cuda_device={cuda_device}: not available here ({problem}); pass cuda_device=-1 for "
            "the CPU"
        )
    return device


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Replace the names of command line options in error messages by Python arguments.

    Raises:
        ElmoError: The original error with the changed message.
    """
    try:
        yield
    except ElmoError as error:
        raise type(error)(
            *(_in_python(line) if isinstance(line, str) else line for line in error.args)
        ) from None


def errors_name_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return the function with the error messages of `naming_arguments`."""

    @wraps(function)
    def renaming(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with naming_arguments():
            return function(*args, **kwargs)

    return renaming


def _in_python(message: str) -> str:
    def name(option: re.Match[str]) -> str:
        return OPTION_NAMES.get(option[0], option[0].removeprefix("--").replace("-", "_"))

    return re.sub(r"(?<![\w-])--[a-z][a-z-]*[a-z]", name, message)
