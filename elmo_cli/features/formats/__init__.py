"""Formats of feature files, one per module; `FORMATS` in registry.py describes them."""

from elmo_cli.features.formats.output import (
    check_sentence,
    check_spec,
    estimate_bytes,
    open_writer,
    output_target,
    warnings_of,
)
from elmo_cli.features.formats.registry import FORMATS, Format

__all__ = [
    "FORMATS",
    "Format",
    "check_sentence",
    "check_spec",
    "estimate_bytes",
    "open_writer",
    "output_target",
    "warnings_of",
]
