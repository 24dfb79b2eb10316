"""Ctrl-C and SIGTERM: an interruption that a model swallows ends the run after its call."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from mlff_probes.calculators.limits import TimeUp

INTERRUPTING = (signal.SIGINT, signal.SIGTERM)
"""The signals by which a run is ended."""


class Interruption:
    """A handler of a signal that interrupts what runs, and remembers that it did.

    Parameters
    ----------
    *reason
        What is said of it.
    once
        Whether the signal changes nothing when it comes again: it may while the scorecard is written.
    """

    def __init__(self, *reason: str, once: bool = False) -> None:
        self.reason, self.once, self.came = reason, once, False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Raise an interruption in what runs."""
        if not (self.came and self.once):
            self.came = True
            raise KeyboardInterrupt(*self.reason)


@contextlib.contextmanager
def none_swallowed() -> Iterator[None]:
    """Around what a model does: an interruption that it catches, as ``except BaseException`` does, is raised after it.

    Raises
    ------
    KeyboardInterrupt
        If one came, also in place of what the model raises instead.
    """
    try:
        yield
    except (KeyboardInterrupt, TimeUp):
        raise
    except BaseException:
        _raise_swallowed()
        raise
    _raise_swallowed()


def _raise_swallowed() -> None:
    for number in INTERRUPTING:
        handler = signal.getsignal(number)
        if isinstance(handler, Interruption) and handler.came:
            raise KeyboardInterrupt(*handler.reason)
