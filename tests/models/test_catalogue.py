import h5py
import numpy as np

from elmo_cli.models.catalogue import load_catalogue
from elmo_cli.models.resolve import TINY


def test_the_catalogue_has_the_figures_of_the_built_in_model():
    sizes: list[int] = []
    with h5py.File(TINY / "weights.hdf5") as file:
        file.visititems(
            lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
        )
    tiny = load_catalogue()["tiny"]
    assert tiny.parameters == int(np.sum(sizes))
    assert "62.6 M tokens" in tiny.domain
    assert "62,574,804 tokens" in (TINY / "README.md").read_text(encoding="utf-8")
