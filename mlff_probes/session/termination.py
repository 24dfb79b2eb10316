"""SIGTERM, which schedulers and CI send before they kill: it ends a run as Ctrl-C does, with a scorecard."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType

import pytest

TERMINATED = "terminated (SIGTERM)"


def end_on_sigterm(config: pytest.Config) -> None:
    """From now on, until pytest is done, the first SIGTERM interrupts what runs, and more of them change nothing.

    Whoever listened before has the signal back afterwards. Where there is somebody who is not Python, or in a thread
    other than the main one, nothing is changed.
    """
    before = signal.getsignal(signal.SIGTERM)
    if before is None or threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _Once())
    undo = contextlib.ExitStack()
    undo.callback(signal.signal, signal.SIGTERM, before)
    config.add_cleanup(undo.close)


class _Once:
    """Raises an interruption at its first call: a second would come while the scorecard is written."""

    def __init__(self) -> None:
        self._over = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._over:
            self._over = True
            raise KeyboardInterrupt(TERMINATED)
