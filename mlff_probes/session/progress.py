"""Progress of a measurement that takes many steps, on a terminal that somebody looks at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mlff_probes.core.progress import Report
from mlff_probes.core.text import duration, visible

WORTH_SAYING_S = 5.0
EVERY_S = 0.1
"""Shortest time between two updates of the line."""


class TerminalProgress:
    """One line, drawn by rich past pytest's capture, that is updated at each step and gone in the end."""

    def __init__(self, reporter: Any, capture: Any) -> None:
        self._reporter, self._past_capture = reporter, capture.global_and_fixture_disabled
        self._line: Live | None = None
        self.left_s: Callable[[], float] = float
        """About how long all that is left will take, s."""

    @contextmanager
    def __call__(self, calculator: str, case: str) -> Iterator[Report]:
        """A report for one measurement."""
        # a terminal, which standard output does not look like while pytest captures it
        console = Console(file=self._reporter._tw._file, force_terminal=True, force_interactive=True)
        # without a thread of its own, which would write while pytest captures
        line = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._line, last = line, 0.0
        ends = time.monotonic() + self.left_s()

        def report(text: str) -> None:
            nonlocal last
            if line.is_started and time.monotonic() - last < EVERY_S:
                return
            with self._past_capture():
                if not line.is_started:
                    self._reporter.ensure_newline()
                    line.start()
                left_s = ends - time.monotonic()
                left = f"[some {duration(left_s)} left] " if left_s > WORTH_SAYING_S else ""
                said = visible(f"  {left}{calculator} {case}: {text}")
                line.update(Text(said, no_wrap=True, overflow="ellipsis"), refresh=True)
            last = time.monotonic()

        try:
            yield report
        finally:
            with self._past_capture():
                line.stop()
            self._line = None

    def say(self, text: str) -> None:
        """Say what stays, above the line of progress where that is shown."""
        with self._past_capture():
            if self._line is not None and self._line.is_started:
                self._line.console.print(Text(visible(text)))
            else:
                _write_line(self._reporter, text)


def _write_line(reporter: Any, text: str) -> None:
    reporter.ensure_newline()
    reporter.write_line(visible(text))


def teller(config: pytest.Config, progress: TerminalProgress | None) -> Callable[[str], None] | None:
    """What says a sentence that stays, on a terminal or in a log; None where nobody reads: in a worker, with `-q`."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if progress is not None:
        return progress.say
    if reporter is None or hasattr(config, "workerinput") or config.option.verbose < 0:
        return None
    capture: Any = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            _write_line(reporter, text)

    return say


def terminal_progress(config: pytest.Config) -> TerminalProgress | None:
    """Progress for this run; None where nobody looks: in a pipe, in a worker, with `-q`."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or not reporter.isatty or config.option.verbose < 0:
        return None
    return TerminalProgress(reporter, config.pluginmanager.getplugin("capturemanager"))
