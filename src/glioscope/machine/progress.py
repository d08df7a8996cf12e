"""How long work says where it stands: callbacks of one shape."""

from collections.abc import Callable

OnProgress = Callable[[float, float, str], None]
"""Called with how much is done, how much there is in all, and one line on what was done or is being done."""


def silent(done: float, total: float, line: str) -> None:
    """Say nothing."""
