"""Draw a progress bar on standard error while waiting for runs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pandium._cli.output.terminal import can_animate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bar"]


class Bar:
    """
    A progress bar on standard error. Does nothing if the terminal does not support it.

    :ivar is_supported: whether the terminal supports it.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        # Leave room for the ^C that the terminal echoes, which would otherwise wrap the line.
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
        self.is_supported = can_animate(console)
        self._task = self._progress.add_task("waiting for runs", total=0, failed=0)

    def start(self) -> None:
        """Draw the bar."""
        if self.is_supported:
            with suppress(OSError):  # the terminal has been closed
                self._progress.start()

    def stop(self) -> None:
        """Remove the bar from the terminal."""
        # Versions of rich before 15 print an empty line when a bar that was never drawn is stopped.
        if self.is_supported:
            with suppress(OSError):
                self._progress.stop()

    def update(self, total: int, done: int, failed: int) -> None:
        """
        Update the counts.

        :param total: the total number of runs.
        :param done: the number of runs that have finished, including failed ones.
        :param failed: the number of runs that failed.
        """
        self._progress.update(self._task, total=total, completed=done, failed=failed)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the bar while the caller prints, because the output may go to the same terminal."""
        self.stop()
        yield
        self.start()
