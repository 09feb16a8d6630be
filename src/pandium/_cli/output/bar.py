"""Show how far a wait for runs has come, on a terminal that can draw."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pandium._cli.output.terminal import can_draw

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bar"]


class Bar:
    """A bar on standard error; where it cannot be drawn, nothing."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        # Room for the ^C that a terminal shows: on a line that is full it would begin another one.
        console.width = max(console.width - len("^C^C"), 1)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} not well"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            expand=True,
        )
        self._is_drawn = can_draw(sys.stderr)
        self._task = self._progress.add_task("waiting for runs", total=0, failed=0)

    def start(self) -> None:
        """Draw the bar."""
        if self._is_drawn:
            self._progress.start()

    def stop(self) -> None:
        """Take the bar away."""
        if self._is_drawn:  # else versions of rich before 15 would write an empty line
            self._progress.stop()

    def update(self, total: int, ended: int, failed: int) -> None:
        """Show these numbers."""
        self._progress.update(self._task, total=total, completed=ended, failed=failed)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar away while something is written, which may be on the same terminal."""
        self.stop()
        yield
        self.start()
