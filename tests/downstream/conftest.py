from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from elmo_cli.features.formats import open_writer
from elmo_cli.features.spec import FeatureSpec, WriteOptions
from elmo_cli.io.output_file import OutputFile
from elmo_cli.types import Sentence

Write = Callable[..., Path]
HOSTILE = ["</script>", "\u2028", "\u202e", "שלום", "$x^2$", "<b>", "&amp;", "@STYLE@", "-->"]


@pytest.fixture
def write_features(tmp_path: Path) -> Write:
    """A function that writes features of some sentences, with labels, as Parquet."""

    def write(
        sentences: Sequence[Sequence[str]],
        arrays: Sequence[np.ndarray],
        labels: Sequence[object] | None = None,
        *,
        name: str = "features.parquet",
        layers: Sequence[str] = ("layer_0", "layer_1", "layer_2"),
        pooled: bool = False,
        metadata: dict[str, str] | None = None,
    ) -> Path:
        kept = None
        if labels is not None:
            kind = pa.list_(pa.string()) if isinstance(labels[0], list) else pa.string()
            kept = pa.schema([pa.field("sense", kind)])
        dim = arrays[0].shape[-1]
        description = FeatureSpec(
            tuple(layers), dim, pooled=pooled, metadata=metadata or {}, kept=kept
        )
        values = [(label,) for label in labels] if labels is not None else [()] * len(sentences)
        window = [
            Sentence(str(i), list(s), " ".join(s), None, k)
            for i, (s, k) in enumerate(zip(sentences, values, strict=True))
        ]
        layout = {".parquet": "parquet", ".h5": "allennlp", ".jsonl": "jsonl", ".npz": "npz"}[
            Path(name).suffix
        ]
        with open_writer(
            layout, OutputFile(tmp_path / name, overwrite=True), description, WriteOptions()
        ) as store:
            store.write(window, [array.astype(np.float32) for array in arrays])
        return tmp_path / name

    return write


def two_senses(
    n: int, *, dim: int = 12, seed: int = 0
) -> tuple[list[list[str]], list[np.ndarray], list[str]]:
    """Sentences with "bank" near a river or near money.

    Layer 0 is one vector, layers 1 and 2 know the sense.
    """
    random = np.random.default_rng(seed)
    sentences, arrays, senses = [], [], []
    for i in range(n):
        sense = "river" if i % 3 == 0 else "money"
        tokens = ["the", "bank", "of" if i % 2 else "near", sense, f"w{i}"]
        array = random.standard_normal((3, 5, dim)) * [[[0.0]], [[1.0]], [[0.3]]]
        array[:, 1] += np.array([1.0, 0.5, 1.0])[:, None] * (
            np.arange(dim) % 2 == (sense == "river")
        )
        array[0] = 1.0
        sentences.append(tokens)
        arrays.append(array)
        senses.append(sense)
    return sentences, arrays, senses
