"""Output folder of `elmo fit`: checks before the training, and the atomic write after it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from elmo_cli.downstream.fit_card import FitFacts, write_card, write_metrics
from elmo_cli.downstream.fit_work import FitWork
from elmo_cli.downstream.predictor_folder import CARD, METRICS, copy_bilm, write_predictor
from elmo_cli.errors import OutputError, reason_of
from elmo_cli.io.atomic import apply_umask
from elmo_cli.models.files import ModelFiles


def check_output(folder: Path, *, overwrite: bool) -> None:
    """Check that the folder of a classifier can be written.

    Raises:
        OutputError: It cannot, or something would be replaced by mistake.
    """
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder}: exists already; name a new folder, or pass --overwrite")
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not (folder / METRICS).is_file() and not is_empty:
        fact = f"{folder}: is not a folder of elmo fit, so it is not replaced"
        raise OutputError(f"{fact}; name another")
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{parent}: no such folder; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{parent}: cannot be written (permission denied)")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the figures of a classifier; empty if there are none."""
    try:
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_output(work: FitWork, head: nn.Module, facts: FitFacts, model: ModelFiles | None) -> None:
    """Write the folder of a classifier under another name, then rename it.

    Args:
        work: Work folder of the output.
        head: The classifier.
        facts: Its settings and figures.
        model: A biLM to copy into the folder; None: none is copied.

    Raises:
        OutputError: It cannot be written.
    """
    partial, folder = work.unfinished, work.output
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir()
        write_predictor(partial, facts.settings, head)
        if model:
            copy_bilm(model, partial)
        write_metrics(partial / METRICS, facts)
        (partial / CARD).write_text(write_card(folder.resolve().name, facts), encoding="utf-8")
        apply_umask(partial)
        if folder.is_dir():
            shutil.rmtree(work.old, ignore_errors=True)  # of a run that was killed
            folder.replace(work.old)
        partial.rename(folder)
        shutil.rmtree(work.old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({reason_of(error)})") from None
