"""Lazy imports of a package's public names, so that `import elmo_cli` does not load torch."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that imports public names from the modules that define them.

    Args:
        package: The package's `__name__`.
        homes: The module that defines each public name.
    """

    def get(name: str) -> Any:  # noqa: ANN401  # any public object
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get
