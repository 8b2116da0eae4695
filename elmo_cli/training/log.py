"""The log of a run: `log.jsonl`, one JSON object a line, and its picture, `curve.png`, where matplotlib is installed."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOG, CURVE = "log.jsonl", "curve.png"


def append(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The whole lines; one that an interrupted run left unfinished is passed over."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    yield from (json.loads(line) for line in lines if line.endswith("\n"))


def rewind(folder: Path, step: int) -> None:
    """Drop what was logged after a step: a resumed run logs it again."""
    kept = [entry for entry in read(folder) if entry["step"] <= step]
    partial = folder / f".{LOG}.partial"
    partial.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    partial.replace(folder / LOG)


def draw(folder: Path) -> bool:
    """Draw the learning curve, if matplotlib is there to do it."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    curve(folder).savefig(folder / CURVE, dpi=120)
    return True


def curve(folder: Path) -> Any:  # matplotlib is untyped
    """Return the learning curve of a run as a figure of matplotlib: perplexity against words."""
    from matplotlib.figure import Figure  # the extra `analysis`

    entries = list(read(folder))
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    training = [(entry["words"], entry["perplexity"]) for entry in entries if "perplexity" in entry]
    axes.plot(*zip(*training, strict=True), linewidth=0.8, label="training, this run's softmax") if training else None
    for state in ("zero", "carried"):
        held_out = [(entry["words"], entry["held_out"][state]["average"]) for entry in entries if state in entry.get("held_out", {})]
        if held_out:
            axes.plot(*zip(*held_out, strict=True), marker="o", markersize=3, label=f"held out, full softmax, {state} state")
    axes.set(xlabel="words predicted in each direction", ylabel="perplexity", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    if training or axes.lines:
        axes.legend()
    return figure
