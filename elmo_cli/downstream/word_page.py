"""Page of a word: one self-contained HTML file.

It uses no network, and its scripts and styles are fixed by their hashes.
"""

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from elmo_cli.downstream.figures import clean, write_file
from elmo_cli.downstream.palette import NO_CATEGORY, color_of, shape_of
from elmo_cli.downstream.word_map import Panel, WordMap

SIZE = 1000  # units of a map's width
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
ABOUT = {
    True: (
        "Cosines between the occurrences in each layer, similar ones beside each other. Point at a "
        "square for its sentence."
    ),
    False: (
        "A map of the vectors in each layer (t-SNE): near points have similar vectors. Distances "
        "between islands mean little."
    ),
}


def write_page(found: WordMap, path: Path) -> None:
    """Write a page of a word's occurrences, complete or not at all.

    The tokens are data in JSON, which the script of the page shows as text alone.

    Raises:
        OutputError: It cannot be written.
    """
    page = render_page(found)
    write_file(path, lambda partial: partial.write_bytes(page.encode("utf-8", "replace")))


def render_page(found: WordMap) -> str:
    """Return the HTML of a page."""
    folder = Path(__file__).parent
    style, script = (
        (folder / f"word_page.{kind}").read_text(encoding="utf-8").strip() for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri "
        "'none'; form-action 'none'"
    )
    page = (folder / "word_page.html").read_text(encoding="utf-8")
    parts = {
        "CSP": policy,
        "TITLE": html.escape(clean(found.word, 60)),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": encode_json(page_data(found)),  # the last one: a token may contain "@STYLE@"
    }
    for name, value in parts.items():
        page = page.replace(f"@{name}@", value, 1)
    return page


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def encode_json(values: dict[str, Any]) -> str:
    """Return JSON that an HTML parser reads as one text, whatever the strings contain."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return "".join(ESCAPES.get(character, character) for character in text)


def page_data(found: WordMap) -> dict[str, Any]:
    """Return the data of a page as plain values."""
    size, shown = found.context, len(found.occurrences)
    of = f" of {found.total:,}" if shown < found.total else ""
    return {
        "word": found.word,
        "heading": f"{found.word}: {shown:,}{of} occurrences",
        "about": ABOUT[found.few],
        "title": found.title,
        "names": found.categories,
        "none": "between islands" if found.title == "island" else "no label",
        "colors": [color_of(i) for i in range(len(found.categories))],
        "shapes": [shape_of(i) for i in range(len(found.categories))],
        "grey": NO_CATEGORY,
        "category": found.category.tolist(),
        "tokens": [one.token for one in found.occurrences],
        "left": [" ".join(one.left(size)) for one in found.occurrences],
        "right": [" ".join(one.right(size)) for one in found.occurrences],
        "keys": [one.key for one in found.occurrences],
        "positions": [one.position for one in found.occurrences],
        "panels": [_panel_data(panel) for panel in found.panels],
        **({"scale": _scale()} if found.few else {}),
    }


def _panel_data(panel: Panel) -> dict[str, Any]:
    name = panel.name.replace("_", " ")
    if panel.cosines is not None:
        return {
            "name": name,
            "free": panel.context_free,
            "cosines": np.rint(100 * panel.cosines).astype(int).tolist(),
        }
    if panel.context_free:
        return {"name": name, "free": True}
    low, spread = panel.points.min(axis=0), max(float(np.ptp(panel.points, axis=0).max()), 1e-9)
    places = np.rint((panel.points - low) / spread * SIZE).astype(int)
    height = int(places[:, 1].max())
    return {
        "name": name,
        "free": False,
        "height": height,
        "x": places[:, 0].tolist(),
        "y": (height - places[:, 1]).tolist(),
    }


def _scale() -> list[str]:
    """Return the colours of the cosines 0.00 to 1.00."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](cosine / 100)) for cosine in range(101)]
