"""Arrow type checks: text, lists, plain types."""

from typing import Any

TEXTS = {
    f"{size}{kind}{view}"
    for size, view in (("", ""), ("large_", ""), ("", "_view"))
    for kind in ("string", "binary")
}


LISTS = ("list<", "large_list<", "fixed_size_list<", "list_view<", "large_list_view<")


def plain_type(type_: Any) -> Any:  # noqa: ANN401  # pyarrow is untyped
    """Return the type of the stored values, without dictionary or extension."""
    import pyarrow

    if isinstance(type_, pyarrow.BaseExtensionType):
        return plain_type(type_.storage_type)
    return plain_type(type_.value_type) if pyarrow.types.is_dictionary(type_) else type_


def is_text(type_: Any) -> bool:  # noqa: ANN401  # pyarrow is untyped
    """Return whether a type stores texts, or bytes that may be text."""
    return str(plain_type(type_)) in TEXTS


def is_list(type_: Any) -> bool:  # noqa: ANN401  # pyarrow is untyped
    """Return whether a type stores lists of any kind."""
    return str(type_).startswith(LISTS)
