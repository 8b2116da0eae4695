from importlib import import_module

import pytest

PACKAGES = ["", ".features", ".inference", ".models", ".nn", ".training"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported(package: str):
    module = import_module(f"elmo_cli{package}")
    assert module.__all__
    assert all(getattr(module, name) is not None for name in module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_another_name_is_an_attribute_error(package: str):
    module = import_module(f"elmo_cli{package}")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018
