"""How long a measurement may take: past it, a model that is still computing is interrupted.

A thread keeps the time and sends the main thread a signal, upon which Python raises `TimeUp` in whatever the model
is doing. SIGURG, since nobody sends it and nothing happens where nobody listens: pytest-timeout, `signal.alarm` in a
calculator and Ctrl-C keep their own signals and timers. Only a model call is interrupted, never our own bookkeeping;
that looks at the clock before and after each call, which is also all there is in a thread other than the main one.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from mlff_probes.calculators.tree import is_calculator, parts
from mlff_probes.core.errors import InputError

AGAIN_S = 1.0
"""Seconds after which a model that went on in spite of an interruption is interrupted again."""


class TimeUp(BaseException):
    """The time of a measurement is up; not an `Exception`, so that code that catches every `Exception` lets it pass."""


def positive_seconds(given: str | float | None, name: str) -> float | None:
    """The number of seconds that the option `name` gives; None where it is not given.

    Raises
    ------
    InputError
        If that is no positive number, or more than a clock can wait for.
    """
    if given is None:
        return None
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:  # false for nan, too
        raise InputError(
            "",
            f"{name}={given} must be a positive number of seconds, for instance {name}=600",
            "leave it out for no limit",
        )
    return seconds


class Limit:
    """The time that one measurement has, from entering this context on.

    Parameters
    ----------
    seconds
        How long it may take.

    Attributes
    ----------
    calls, passes
        Structures that went through the model, and model calls begun.
    model_s
        Seconds in the model, including calls that were interrupted.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadline = float("inf")
        self._in_call = False
        self.calls, self.passes, self.model_s = 0, 0, 0.0
        self._doing, self._told = "", ""
        self._over = threading.Event()
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Limit:
        """Start the clock."""
        self._deadline = time.monotonic() + self.seconds
        if _can_interrupt():
            self._undo.callback(signal.signal, signal.SIGURG, signal.signal(signal.SIGURG, self._interrupt))
            watch = threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True)
            watch.start()
            self._undo.callback(watch.join)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clock; from now on nothing is interrupted."""
        self._in_call = False
        self._over.set()
        self._undo.close()

    @contextlib.contextmanager
    def call(self, doing: str, structures: int) -> Iterator[None]:
        """Around a model call on `structures` at `doing`: within it the model is interrupted once the time is up.

        Raises
        ------
        TimeUp
            Before, within or after the call. Also in place of what the model raises, or returns, instead.
        """
        self._doing = doing
        self._check()
        self.passes += 1
        start = time.monotonic()
        try:
            self._in_call = True
            yield
        except (KeyboardInterrupt, TimeUp):
            raise
        except BaseException:
            self._check()
            raise
        finally:
            self._in_call = False
            self.model_s += time.monotonic() - start
        self._check()
        self.calls += structures

    def listen(self, report: Callable[[str], None]) -> Callable[[str], None]:
        """A `report` that remembers what it was last told."""

        def told(text: str) -> None:
            self._told = text
            report(text)

        return told

    @property
    def reason(self) -> str:
        """What to say of a measurement whose time is up: how long it had, and how far it came."""
        last = f"; last step: {self._told}" if self._told else ""
        return (
            f"timed out after {self.seconds:g} s (--probe-timeout) at {self._doing}, model call {self.calls + 1}{last}"
        )

    def _check(self) -> None:
        if time.monotonic() >= self._deadline:
            raise TimeUp

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self._in_call:
            self._check()

    def _watch(self, measuring: int) -> None:
        """Signal the measuring thread once the time is up, and again until the measurement has ended."""
        wait = self.seconds
        while not self._over.wait(wait):
            signal.pthread_kill(measuring, signal.SIGURG)
            wait = AGAIN_S


def forget(ase_calculator: Any) -> None:
    """Clear what a calculator keeps of a call in the middle of which it was left, so that it starts afresh."""
    for part in (each.found for each in parts(ase_calculator) if is_calculator(each.found)):
        with contextlib.suppress(Exception):  # whatever a foreign `reset` may raise, or want
            if callable(getattr(part, "reset", None)):
                part.reset()
            elif hasattr(part, "results"):
                part.atoms, part.results = None, {}


def _can_interrupt() -> bool:
    """Whether Python raises here what a signal handler raises, and could give the present handler back."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGURG) is not None
