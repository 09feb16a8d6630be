"""Draw a progress bar on standard error while runs are waited for."""

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
    """A progress bar on standard error. Does nothing if standard error cannot draw one."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        # Leave room for the ^C that the terminal echoes: a full line would wrap.
        console.width = max(console.width - len("^C^C"), 1)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("done, {task.fields[failed]} failed"),
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
        """Remove the bar from the terminal."""
        # rich before version 15 writes an empty line when a bar that was not drawn is stopped.
        if self._is_drawn:
            self._progress.stop()

    def update(self, total: int, done: int, failed: int) -> None:
        """
        Set the numbers of the bar.

        :param total: the runs that are waited for.
        :param done: the runs that have ended, failed ones included.
        :param failed: the runs that ended without success.
        """
        self._progress.update(self._task, total=total, completed=done, failed=failed)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the bar while the caller writes, possibly to the same terminal."""
        self.stop()
        yield
        self.start()
