"""The specification from which every embedder is built."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from elmo_cli.errors import ModelError
from elmo_cli.inference.embedder_spec import EmbedderSpec, InitialState
from elmo_cli.models.resolve import find_model
from elmo_cli.readers.corpus import Corpus

TOKENS = ["a", "b"]


def test_an_embedder_built_from_an_unpickled_description_gives_the_same_vectors(
    model: Path, tmp_path: Path
):
    (tmp_path / "prime.txt").write_text("x y\nz\n")
    spec = EmbedderSpec(
        model=model,
        device="cpu",
        start=InitialState(prime=Corpus([tmp_path / "prime.txt"], "skip")),
    )
    vectors = spec.build().embed_batch([TOKENS])[0]
    again = pickle.loads(pickle.dumps(spec))  # noqa: S301  # our own bytes
    assert again == spec
    np.testing.assert_array_equal(again.build().embed_batch([TOKENS])[0], vectors)
    assert np.abs(EmbedderSpec(model=model).build().embed_batch([TOKENS])[0] - vectors).max() > 1e-3


def test_it_carries_no_weights_and_takes_files_that_were_found_before(model: Path):
    spec = EmbedderSpec(model=find_model(str(model)), device="cpu")
    spec.build()
    assert len(pickle.dumps(spec)) < 2000
    assert pickle.loads(pickle.dumps(spec)).files == spec.files  # noqa: S301  # our own bytes


def test_metadata_name_the_model_its_hash_and_the_precision(model: Path):
    metadata = EmbedderSpec(
        options=model / "options.json", weights=model / "weights.hdf5", device="cpu"
    ).metadata({"layers": "all"}, "x")
    assert {
        "model",
        "model_sha256",
        "options",
        "start_state",
        "precision",
        "layers",
        "command",
        "created",
    } <= metadata.keys()
    assert (metadata["model"], metadata["start_state"], metadata["precision"]) == (
        "weights",
        "zero",
        "fp32",
    )


def test_a_model_that_is_absent_is_reported_when_it_is_needed(tmp_path: Path):
    spec = EmbedderSpec(model=tmp_path / "nothing")
    with pytest.raises(ModelError, match="no such model"):
        spec.build()
