"""Matplotlib figures: literal text, fallback fonts, reproducible files."""

import warnings
from pathlib import Path
from typing import Any

from elmo_cli.io.atomic import atomic_write, writing_errors

FORMATS = (".png", ".svg", ".pdf")
DPI = 150
FALLBACK_FONTS = (  # used for characters that DejaVu Sans lacks, where they are installed
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
)
# Metadata by suffix that leave out the date and the program, so that the bytes are reproducible
DATES = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def new_figure(width: float, height: float, *, constrained: bool = False) -> Any:  # noqa: ANN401  # matplotlib is untyped
    """Return an empty figure of a size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)  # measures texts, whatever the format
    return figure


def text_style() -> dict[str, Any]:
    """Return the options of texts that show tokens: "$" is a character, scripts have fonts."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return {
        "parse_math": False,
        "fontfamily": ["DejaVu Sans", *(f for f in FALLBACK_FONTS if f in installed)],
    }


def clean(text: str, longest: int = 200) -> str:
    """Return a text on one line, without control characters."""
    shown = "".join(character if character.isprintable() else "�" for character in text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def save_figure(figure: Any, path: Path) -> list[str]:  # noqa: ANN401  # matplotlib is untyped
    """Write a figure atomically, in the format of the suffix.

    Returns:
        Notes for the user, such as that no installed font has a character.

    Raises:
        OutputError: It cannot be written.
    """
    import matplotlib as mpl

    suffix = path.suffix.lower()
    with (
        warnings.catch_warnings(record=True) as caught,
        mpl.rc_context({"svg.hashsalt": "elmo", "svg.fonttype": "none"}),
    ):
        warnings.simplefilter("always")

        def write(partial: Path) -> None:
            figure.savefig(partial, format=suffix[1:], dpi=DPI, metadata=DATES[suffix])

        write_file(path, write)
    if any("missing from" in str(warning.message) for warning in caught):
        return [
            (
                "no installed font has some of the characters; an .html page shows them with the "
                "browser's fonts"
            )
        ]
    return []


def write_file(path: Path, write: Any) -> None:  # noqa: ANN401  # a function of a path
    """Write a file atomically with the function `write`.

    Raises:
        OutputError: It cannot be written.
    """
    with writing_errors(path, "choose another output"):
        atomic_write(path, write)
