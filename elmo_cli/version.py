"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("elmo-cli")
except PackageNotFoundError:  # a source tree on the module path that was never installed
    __version__ = "0+unknown"
