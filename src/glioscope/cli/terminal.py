"""What a person watching sees: a bar with the time left on a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from glioscope.errors import printable


class Watch:
    """Progress of a long command, on standard error.

    Parameters
    ----------
    title : str
        What is being done.
    every : float
        Away from a terminal, seconds between lines that say only how far it is; lines with news always come.
    """

    def __init__(self, title: str, *, every: float = 10.0) -> None:
        self._title = title
        self._every = every
        self._last = -math.inf  # the clock may have begun a moment ago, with the machine
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: float, total: float, line: str = "", *, news: bool = True) -> None:
        """Show that `done` of `total` is done, and a line about it; without `news` the line may be left out."""
        line = printable(line)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
            if line and news:
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            elif line:
                self._bar.update(self._task, description=f"{self._title}: {line}")
            return
        now = time.monotonic()
        if news or now - self._last >= self._every:
            self._last = now
            share = f"{int(done)}/{total:g}" if total > 1 or float(done).is_integer() else f"{done:.0%}"
            print(f"{self._title} {share} {line}".rstrip(), file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output: ruled on a terminal, tab-separated elsewhere."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table)


def said(value: Any) -> str:
    """Return a value as a table shows it: a mapping as a list, None and an empty mapping as "none"."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {said(entry)}" for name, entry in value.items()) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
