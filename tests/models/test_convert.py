"""Models that the published format can represent are converted to it, and give the same vectors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result

from elmo_cli.inference.embedder import Embedder
from elmo_cli.models.resolve import find_model
from tests.conftest import make_model
from tests.helpers.allennlp_archive import archive, make_serialization
from tests.helpers.reference import ReferenceElmo
from tests.helpers.reference_efml import make_efml

TOKENS = ["the", "cat", "naïve", "日本"]
Elmo = Callable[..., Result]


def vectors(folder: Path) -> np.ndarray:
    return Embedder(find_model(str(folder)).load()).embed_batch([TOKENS])[0]


def test_an_archive_becomes_the_published_layout(tmp_path: Path, model: Path, elmo: Elmo):
    source = archive(make_serialization(tmp_path / "a", model), tmp_path / "model.tar.gz")
    result = elmo("models", "convert", source, tmp_path / "out", "--cache-dir", tmp_path / "cache")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"options.json", "weights.hdf5"}
    expected = ReferenceElmo(model / "options.json", model / "weights.hdf5").embed(TOKENS)
    np.testing.assert_allclose(
        ReferenceElmo(tmp_path / "out" / "options.json", tmp_path / "out" / "weights.hdf5").embed(
            TOKENS
        ),
        expected,
        atol=1e-5,
    )
    np.testing.assert_allclose(vectors(tmp_path / "out"), expected, atol=1e-5)
    assert not list(tmp_path.glob(".out*"))


def test_float16_halves_the_file_and_nearly_keeps_the_vectors(tmp_path: Path, elmo: Elmo):
    model = make_model(tmp_path / "model", dim=100)
    for name, options in [("full", []), ("half", ["--float16"])]:
        assert elmo("models", "convert", model, tmp_path / name, *options).exit_code == 0
    with h5py.File(tmp_path / "half" / "weights.hdf5") as file:
        assert file["char_embed"].dtype == np.float16
    sizes = [(tmp_path / name / "weights.hdf5").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.8 * sizes[1]
    np.testing.assert_allclose(vectors(tmp_path / "half"), vectors(tmp_path / "full"), atol=1e-2)


def test_numbers_too_large_for_float16_are_refused(tmp_path: Path, elmo: Elmo):
    model = make_model(tmp_path / "model")
    with h5py.File(model / "weights.hdf5", "r+") as file:
        file["CNN/b_cnn_0"][0] = 1e6
    result = elmo("models", "convert", model, tmp_path / "out", "--float16")
    assert result.exit_code == 1
    assert "too large for float16" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"word_dim": 0}, {}])
def test_elmoformanylangs_is_refused(tmp_path: Path, elmo: Elmo, changes: dict):
    result = elmo("models", "convert", make_efml(tmp_path / "efml", **changes), tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "which the published format cannot represent" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(tmp_path: Path, model: Path, elmo: Elmo):
    (tmp_path / "out").mkdir()
    result = elmo("models", "convert", model, tmp_path / "out")
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    missing = elmo("models", "convert", model, tmp_path / "none" / "out")
    assert missing.exit_code == 1
    assert "cannot be written (No such file or directory)" in missing.stderr


def test_the_list_needs_no_torch_and_is_json_on_request(elmo: Elmo, tmp_path: Path):
    program = (
        "import sys; from elmo_cli.cli.main import main; sys.argv[1:] = ['models']\ntry: "
        "main()\nfinally: sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("name ")
    entries = {
        entry["name"]: entry
        for entry in json.loads(elmo("models", "--json", "--cache-dir", tmp_path).stdout)
    }
    assert entries["original"]["files"][1]["bytes"] == 374_434_792
    assert entries["original"]["downloaded"] is False
    assert entries["tiny"]["downloaded"] is True
    assert json.loads(elmo("models", "show", "seqvec", "--json", "--cache-dir", tmp_path).stdout)[
        "tokens"
    ].startswith("One residue a token")
