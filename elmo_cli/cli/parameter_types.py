"""Types of option values: numbers in a range, devices, paths."""

import math
import re
from pathlib import Path
from typing import Any

import click

# Errors are reported by the code that reads the file
FILE = click.Path(path_type=Path, readable=False)
LARGEST = 1 << 40  # prevents overflows
DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")


class Integer(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """Integer in a range.

    The help text does not show the range, unlike that of click.IntRange: most limits only prevent
    overflows.

    Args:
        least: Smallest value.
        most: Largest value.
    """

    name = "integer"

    def __init__(self, least: int = 1, most: int = LARGEST) -> None:
        self.least, self.most = least, most

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click's signature
        """Return the name of the value in the help text."""
        return "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401  # click's signature
        """Return the number, or fail if it is not an integer in the range."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not an integer", param, ctx)
        if not self.least <= number <= self.most:
            self.fail(f"{number} is not in the range {self.least} to {self.most}", param, ctx)
        return number


class Number(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """Finite number in a range that the help text does not show.

    Args:
        above: Lower limit, excluded.
        least: Lower limit, included.
        below: Upper limit, excluded.
        most: Upper limit, included.
    """

    name = "number"

    def __init__(
        self,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        below: float = math.inf,
        most: float = math.inf,
    ) -> None:
        self.above, self.least, self.below, self.most = above, least, below, most

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click's signature
        """Return the name of the value in the help text."""
        return "X"

    def convert(
        self,
        value: Any,  # noqa: ANN401  # click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number, or fail if it is not a finite number in the range."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        for words, limit, fits in (
            ("greater than", self.above, number > self.above),
            ("at least", self.least, number >= self.least),
            ("less than", self.below, number < self.below),
            ("at most", self.most, number <= self.most),
        ):
            if not fits:
                self.fail(f"{value} is not {words} {limit:g}", param, ctx)
        return number


class Device(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """Name of a torch device, or "auto".

    Args:
        several: Whether "all" and a list of devices are allowed.
    """

    name = "device"

    def __init__(self, *, several: bool = False) -> None:
        self.several = several

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002  # click's signature
        """Return the name of the value in the help text."""
        return "auto|cpu|cuda|mps" + "|all|D,D" * self.several

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, or fail if it does not name devices."""
        names = value.split(",") if self.several else [value]
        if value not in ("auto", *["all"] * self.several) and not all(map(DEVICE.fullmatch, names)):
            known = "auto, all, cpu, cuda, cuda:N, mps, nor a list of devices such as cuda:0,cuda:1"
            self.fail(
                f"{value!r} is none of {known if self.several else 'auto, cpu, cuda, cuda:N, mps'}",
                param,
                ctx,
            )
        return value


COUNT = Integer()
