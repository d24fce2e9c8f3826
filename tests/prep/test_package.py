"""What `import prep` offers, and what it does not import."""

from importlib import import_module
from types import ModuleType

import pytest

import prep


@pytest.mark.parametrize("name", prep.__all__)
def test_a_name_is_what_its_module_defines_even_if_the_module_has_that_name(name: str) -> None:
    """`import prep.build` sets the attribute `build` of the package; it stays the function."""
    module = import_module(prep._MODULES[name])
    assert getattr(prep, name) is getattr(module, name)
    assert not isinstance(getattr(prep, name), ModuleType)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="'prep' has no attribute 'bild'"):
        prep.bild  # noqa: B018
    assert set(prep.__all__) <= set(dir(prep))
