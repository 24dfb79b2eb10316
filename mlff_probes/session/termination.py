"""SIGTERM, which schedulers and CI send before they kill: it ends a run as Ctrl-C does, with a scorecard."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from mlff_probes.calculators.interruption import Interruption

TERMINATED = "terminated (SIGTERM)"


def end_on_signals(config: pytest.Config) -> None:
    """From now on, until pytest is done, SIGTERM and Ctrl-C interrupt what runs, a model that catches all included.

    The first SIGTERM does; more of them change nothing. Whoever listened before has the signals back afterwards. Where
    somebody listens to SIGTERM who is not Python, or to Ctrl-C who is not Python's own, and in a thread other than the
    main one, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    undo = contextlib.ExitStack()
    config.add_cleanup(undo.close)
    if (before := signal.getsignal(signal.SIGTERM)) is not None:
        undo.callback(signal.signal, signal.SIGTERM, before)
        signal.signal(signal.SIGTERM, Interruption(TERMINATED, once=True))
    if (before := signal.getsignal(signal.SIGINT)) is signal.default_int_handler:
        undo.callback(signal.signal, signal.SIGINT, before)
        signal.signal(signal.SIGINT, Interruption())
