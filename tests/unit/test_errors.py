"""The error tree: what callers may catch, and the drawing of it at the top of the module."""

import inspect
import re

import pytest

from glioscope import errors
from glioscope.errors import printable

KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.GlioscopeError) and kind is not errors.GlioscopeError
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_error_is_caught_by_the_root_and_by_its_builtin(kind: type[Exception]) -> None:
    root, builtin = kind.__bases__
    assert root is errors.GlioscopeError
    assert builtin in (ValueError, RuntimeError, ImportError)
    assert str(kind("case 7: lacks t1c")) == "case 7: lacks t1c"


def test_the_drawing_shows_every_error_with_its_base() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+)\((\w+)\)", errors.__doc__ or ""))
    assert drawn == {name: kind.__bases__[1].__name__ for name, kind in KINDS.items()}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 患者 \u0645\u06cc\u200c", "Größe 患者 \u0645\u06cc\u200c"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("half \udce9", r"half \udce9"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
    ],
)
def test_names_cannot_command_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
