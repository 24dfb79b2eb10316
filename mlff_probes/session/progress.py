"""Progress of a measurement that takes many steps, on a terminal that somebody looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mlff_probes.core.progress import Report
from mlff_probes.core.text import visible

EVERY_S = 0.1
"""How often the line is written anew."""


class TerminalProgress:
    """One line that is overwritten at each step and gone in the end."""

    def __init__(self, reporter: Any, capture: Any) -> None:
        self._reporter, self._capture = reporter, capture

    def _write(self, text: str) -> None:
        """Past pytest's capture, which holds back what a test prints."""
        with self._capture.global_and_fixture_disabled():
            self._reporter._tw.write(text, flush=True)

    @contextmanager
    def __call__(self, calculator: str, case: str) -> Iterator[Report]:
        """A report for one measurement."""
        writer, shown, last = self._reporter._tw, "", 0.0

        def report(text: str) -> None:
            nonlocal shown, last
            if shown and time.monotonic() - last < EVERY_S:
                return
            if not shown:
                with self._capture.global_and_fixture_disabled():
                    self._reporter.ensure_newline()
            line = visible(f"  {calculator} {case}: {text}")
            self._write("\r" + line[: writer.fullwidth - 1].ljust(len(shown)))
            shown, last = line[: writer.fullwidth - 1], time.monotonic()

        try:
            yield report
        finally:
            if shown:
                self._write("\r" + " " * len(shown) + "\r")


def terminal_progress(config: pytest.Config) -> TerminalProgress | None:
    """Progress for this run; None where nobody looks: in a pipe, in a worker, with `-q`."""
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or not reporter.isatty or config.option.verbose < 0:
        return None
    return TerminalProgress(reporter, config.pluginmanager.getplugin("capturemanager"))
