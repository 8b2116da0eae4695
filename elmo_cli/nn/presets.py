"""Named architectures, in the layout of options.json.

`tiny` is the built-in model's; the others are those of the published models.
"""

from typing import Any

FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]


def _options(
    filters: list[list[int]], n_highway: int, lstm_dim: int, projection_dim: int
) -> dict[str, Any]:
    return {
        "lstm": {
            "use_skip_connections": True,
            "projection_dim": projection_dim,
            "cell_clip": 3,
            "proj_clip": 3,
            "dim": lstm_dim,
            "n_layers": 2,
        },
        "char_cnn": {
            "activation": "relu",
            "filters": filters,
            "n_highway": n_highway,
            "embedding": {"dim": 16},
            "n_characters": 262,
            "max_characters_per_token": 50,
        },
    }


PRESETS = {
    "tiny": _options(FILTERS[:5], n_highway=1, lstm_dim=320, projection_dim=256),
    "small": _options(FILTERS, n_highway=1, lstm_dim=1024, projection_dim=128),
    "medium": _options(FILTERS, n_highway=1, lstm_dim=2048, projection_dim=256),
    "original": _options(FILTERS, n_highway=2, lstm_dim=4096, projection_dim=512),
}
