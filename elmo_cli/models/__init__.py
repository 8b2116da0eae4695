"""Models by name: catalogue, cache, downloads, and the formats that load as a biLM."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.models.cache import Cache
    from elmo_cli.models.catalogue import KnownModel, load_catalogue
    from elmo_cli.models.convert import convert_model
    from elmo_cli.models.files import ModelFiles
    from elmo_cli.models.resolve import find_model

__all__ = ["Cache", "KnownModel", "ModelFiles", "convert_model", "find_model", "load_catalogue"]

__getattr__ = lazy_names(
    __name__,
    {
        "Cache": "elmo_cli.models.cache",
        "KnownModel": "elmo_cli.models.catalogue",
        "ModelFiles": "elmo_cli.models.files",
        "convert_model": "elmo_cli.models.convert",
        "find_model": "elmo_cli.models.resolve",
        "load_catalogue": "elmo_cli.models.catalogue",
    },
)
