"""The folder of a trained classifier: settings (JSON), weights (HDF5) and the biLM.

The biLM is recorded by name and sha256, or stored in a folder inside.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from elmo_cli.downstream.examples import OF_TOKENS, TASKS
from elmo_cli.downstream.sentence_head import SentenceHead
from elmo_cli.downstream.tag_schemes import SCHEMES
from elmo_cli.downstream.token_head import HEADS, MIXES, TokenHead, TokenHeadConfig
from elmo_cli.errors import ElmoError, ModelError
from elmo_cli.inference.selection import POOLS, Selection
from elmo_cli.io.hdf5 import find_unstored
from elmo_cli.models.cache import Cache
from elmo_cli.models.files import ModelFiles
from elmo_cli.models.resolve import find_model
from elmo_cli.nn.scalar_mix import FixedMix

SETTINGS, WEIGHTS, METRICS, CARD, BILM = (
    "predictor.json",
    "head.hdf5",
    "metrics.json",
    "README.md",
    "bilm",
)
FORMAT = 1
MOST_LABELS = 1 << 20
LARGEST_SETTINGS = 1 << 26  # bytes


@dataclass(frozen=True)
class PredictorSettings:
    """Settings of a classifier: labels, selected vectors and architecture.

    Args:
        task: One of TASKS.
        labels: Names of the classes, in order; none for numbers.
        label: The option --label that it was trained with.
        model: Name of the biLM.
        model_sha256: Hash of its weights.
        layers: Choice of layers, as `elmo embed --layers` takes it.
        n_layers: Layers that are chosen.
        dim: Width of a vector.
        head: One of HEADS.
        mix: One of MIXES, of a classifier of tokens.
        scheme: Tag scheme that the classifier predicts in.
        output_scheme: Tag scheme of the training part, in which predictions are written.
        pool: Pooling over the tokens, of a classifier of sentences.
        norm: Normalisation of pooled vectors: "standard" or "layer".
        fixed_mix: Weights of a mix of all layers and its gamma, in place of a choice of layers.
    """

    task: str
    labels: tuple[str, ...]
    label: str
    model: str
    model_sha256: str
    layers: str
    n_layers: int
    dim: int
    head: str = "linear"
    mix: str = "concat"
    scheme: str | None = None
    output_scheme: str | None = None
    pool: str = "none"
    norm: str = "standard"
    fixed_mix: tuple[float, ...] | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether tokens are labelled."""
        return self.task in OF_TOKENS

    @property
    def selection(self) -> Selection:
        """Selection of the layers of a sentence."""
        mix = FixedMix(self.fixed_mix[:-1], self.fixed_mix[-1]) if self.fixed_mix else None
        return Selection(self.layers, mix, self.pool)

    def make_head(self) -> nn.Module:
        """Return a classifier without trained weights."""
        if self.of_tokens:
            return TokenHead(
                TokenHeadConfig(
                    self.head, self.mix, self.n_layers, self.dim, self.labels, self.scheme
                )
            )
        return SentenceHead(
            self.task, self.n_layers * self.dim, max(1, len(self.labels)), self.norm
        )


def write_predictor(folder: Path, settings: PredictorSettings, head: nn.Module) -> None:
    """Write the settings and the weights into a folder that exists.

    Raises:
        OSError: They cannot be written.
    """
    told = {"format": FORMAT, **asdict(settings)}
    (folder / SETTINGS).write_text(
        json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    with h5py.File(folder / WEIGHTS, "w") as file:
        for name, tensor in head.state_dict().items():
            file.create_dataset(
                name,
                data=tensor.detach().cpu().numpy(),
                fletcher32=tensor.ndim > 0,
                chunks=tuple(tensor.shape) or None,
            )


def read_settings(folder: Path) -> PredictorSettings:
    """Return the settings of a folder.

    Raises:
        ModelError: It is not a folder of a classifier, or is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        fact = (
            "no such folder"
            if not folder.exists()
            else f"is not a folder that elmo fit has made (it has no {SETTINGS})"
        )
        raise ModelError(f"{folder}: {fact}; name one that elmo fit has made")
    try:
        if path.stat().st_size > LARGEST_SETTINGS:
            raise ValueError("too large")
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise ModelError(
                f"{path}: is of another version of elmo; use that version, or train again"
            )
        settings = PredictorSettings(
            **{
                **told,
                "labels": tuple(told["labels"]),
                "fixed_mix": told["fixed_mix"] and tuple(told["fixed_mix"]),
            }
        )
        _check(settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path}: is damaged ({str(error)[:100]}); train the classifier again"
        ) from None
    return settings


def _check(settings: PredictorSettings) -> None:
    texts = [field.name for field in fields(settings) if field.type in ("str", str)]
    if not all(isinstance(getattr(settings, name), str) for name in texts):
        raise ValueError("a setting is not a text")
    known: Mapping[str, tuple[Any, ...]] = {
        "task": TASKS,
        "head": HEADS,
        "mix": MIXES,
        "scheme": (*SCHEMES, None),
        "output_scheme": (*SCHEMES, None),
        "pool": tuple(POOLS),
        "norm": ("standard", "layer"),
    }
    for name, choices in known.items():
        if getattr(settings, name) not in choices:
            raise ValueError(f"its {name} is {getattr(settings, name)!r}")
    if (
        not all(isinstance(label, str) and label for label in settings.labels)
        or len(settings.labels) > MOST_LABELS
    ):
        raise ValueError("its labels are not texts")
    if not all(
        isinstance(size, int) and 0 < size < 1 << 20 for size in (settings.n_layers, settings.dim)
    ):
        raise ValueError("its sizes are not numbers")


def read_head(folder: Path, settings: PredictorSettings) -> nn.Module:
    """Return the trained classifier, for evaluation.

    Raises:
        ModelError: The weights are missing, damaged, or do not fit the settings.
    """
    path = folder / WEIGHTS
    head = settings.make_head()
    if not path.is_file():
        raise ModelError(f"{path}: no such file; train the classifier again")
    try:
        with h5py.File(path, "r") as file:
            state = {
                name: _read(file, name, tuple(value.shape), path)
                for name, value in head.state_dict().items()
            }
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: is damaged ({str(error)[:100]}); train the classifier again"
        ) from None
    head.load_state_dict(state)
    return head.eval()


def _read(file: h5py.File, name: str, shape: tuple[int, ...], path: Path) -> torch.Tensor:
    dataset = file.get(name)
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.shape != shape
        or dataset.dtype != np.float32
    ):
        raise ModelError(f"{path}: {name} is not {shape} float32; train the classifier again")
    if reason := find_unstored(dataset, path.stat().st_size):
        raise ModelError(f"{path}: {name} {reason}")
    values = torch.from_numpy(dataset[()])
    if not values.isfinite().all():
        raise ModelError(f"{path}: {name} has NaN or infinite values; train the classifier again")
    return values


def find_bilm(
    folder: Path, settings: PredictorSettings, model: str | None = None, cache: Cache | None = None
) -> ModelFiles:
    """Return the files of the biLM that a classifier was trained with.

    Args:
        folder: The classifier's.
        settings: Its settings.
        model: Where the biLM is, if it is not in the folder and not known by its name.
        cache: Cache of downloaded models.

    Raises:
        ModelError: It cannot be found, or is another one.
    """
    inside = folder / BILM
    named = model or (str(inside) if inside.is_dir() else settings.model)
    try:
        files = find_model(named, cache=cache)
    except ElmoError as error:
        if model:
            raise
        fact = (
            f"its biLM {settings.model!r} (sha256 {settings.model_sha256[:12]}...) cannot be found "
            f"({error})"
        )
        raise ModelError(f"{folder}: {fact}; pass --model with its folder") from None
    if files.sha256 != settings.model_sha256:
        ours, theirs = settings.model_sha256[:12], files.sha256[:12]
        fact = (
            f"was trained with the biLM {settings.model!r} of sha256 {ours}..., and {named} has "
            f"{theirs}..."
        )
        raise ModelError(f"{folder}: {fact}; pass --model with the folder of that biLM")
    return files


def copy_bilm(files: ModelFiles, folder: Path) -> None:
    """Copy the files of a biLM into the new folder `bilm` of a classifier's folder.

    Raises:
        OSError: They cannot be copied.
    """
    inside = folder / BILM
    inside.mkdir()
    for path in files.files.values():
        shutil.copyfile(path, inside / path.name)
