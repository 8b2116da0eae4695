"""Log of a run: `log.jsonl`, one JSON object per line, and its plot, `curve.png`."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elmo_cli.io.atomic import atomic_write

LOG, CURVE = "log.jsonl", "curve.png"
# Ratios of the limits of an axis: ticks are linear below the first, powers of 10 above the second
NARROW, WIDE = 5, 3000


def append(folder: Path, entry: dict[str, Any]) -> None:
    """Append an entry."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Read the entries; incomplete and damaged lines are skipped.

    Args:
        folder: Model folder.

    Yields:
        Entries with at least "step" and "words".
    """
    path = folder / LOG
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    yield from (
        entry for line in lines if line.endswith(b"\n") and (entry := _entry(line)) is not None
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return (
        entry
        if isinstance(entry, dict)
        and all(_is_number(entry.get(name)) for name in ("step", "words"))
        else None
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def rewind(folder: Path, step: int) -> None:
    """Remove damaged lines, and entries after a step, which a resumed run writes again.

    Args:
        folder: Model folder.
        step: Last step to keep.
    """
    kept = [entry for entry in read(folder) if entry["step"] <= step]
    lines = "".join(json.dumps(entry) + "\n" for entry in kept)
    atomic_write(folder / LOG, lambda path: path.write_text(lines, encoding="utf-8"))


def _held_out(entry: dict[str, Any], state: str) -> float | None:
    """Return the held-out perplexity of an entry, if it has one."""
    try:
        average = entry["held_out"][state]["average"]
    except (KeyError, TypeError):
        return None
    return average if _is_number(average) else None


def draw(folder: Path) -> bool:
    """Write the learning curve if matplotlib is installed.

    Args:
        folder: Model folder.

    Returns:
        Whether it was written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    curve(folder).savefig(folder / CURVE, dpi=120)
    return True


def curve(folder: Path) -> Any:  # matplotlib is untyped
    """Plot the learning curve of a run: perplexity against words.

    Args:
        folder: Model folder.

    Returns:
        A figure of matplotlib.
    """
    from matplotlib.figure import Figure  # the extra `analysis`

    entries = list(read(folder))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    training = [
        (entry["words"], entry["perplexity"])
        for entry in entries
        if _is_number(entry.get("perplexity"))
    ]
    axes.plot(
        *zip(*training, strict=True), linewidth=0.8, label="training, this run's softmax"
    ) if training else None
    for state in ("zero", "carried"):
        held_out = [
            (entry["words"], found)
            for entry in entries
            if (found := _held_out(entry, state)) is not None
        ]
        if held_out:
            axes.plot(
                *zip(*held_out, strict=True),
                marker="o",
                markersize=3,
                label=f"held out, full softmax, {state} state",
            )
    axes.set(xlabel="words predicted in each direction", ylabel="perplexity", yscale="log")
    _set_ticks(axes)
    axes.grid(visible=True, alpha=0.3)
    if training or axes.lines:
        axes.legend()
    return figure


def _set_ticks(axes: Any) -> None:
    """Set few ticks with plain numbers, such as 100, 200 and 500, in place of powers of 10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_ylim()
    wide_steps = LogLocator(subs=(1.0,) if high > WIDE * low else (1.0, 2.0, 5.0))
    even_steps = MaxNLocator(5, steps=[1, 2, 5, 10])
    axes.yaxis.set_major_locator(even_steps if high < NARROW * low else wide_steps)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
