"""What is left out at start-up, in one place: packages that others would load, but that are not wanted, or not yet.

What is only needed later is deferred by `lazy_loader` (the interfaces of `glioscope`, `report` and `measure`) or is
imported in the function that needs it; `tests/architecture/test_imports.py` lists which room may do that, and why.

A module whose entry in `sys.modules` is None cannot be imported: Python's reference says so (the import system, 5.3.1).
No package offers another way for the two below.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def never_import(name: str) -> None:
    """Make a package absent for this process, unless something has imported it before."""
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]


@contextmanager
def not_now(name: str) -> Iterator[None]:
    """Make a package absent within a block; what was imported before comes back after it."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
