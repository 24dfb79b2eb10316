"""What a calculator changes of the process it shares with others: it has that in its own calls, and nobody else has.

A factory that sets torch's default dtype to float64, as many do, would else make another calculator of the same run
fail, or compute something else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random.mtrand import get_bit_generator

SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGALRM, signal.SIGTERM, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE, signal.SIGFPE,
)  # fmt: skip
"""Signals that calculators, schedulers, pytest and the time limit handle."""


MT19937_BYTES = (624 + 1) * 4
"""The state of the Mersenne twister in memory: 624 words and the place among them."""


@dataclass(frozen=True)
class Setting:
    """One setting of the process.

    Attributes
    ----------
    read, write
        The setting as it is, and back to an earlier value.
    said
        What it is called where it was changed, from its values before and after; empty where that need not be said.
    kept
        Whether its numbers may hang on it, so that a calculator finds it in each call as it left it.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    said: Callable[[Any, Any], str]
    kept: bool = True


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a call of a model waits for it
    except OSError:  # it was deleted
        return None


def _enter(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # which also makes Python forget what it decided by the others
    warnings.filters[:] = filters  # type: ignore[index]


def _blanket(before: list[Any], after: list[Any]) -> str:
    """Said where all warnings are concerned: each import adds filters of its own."""
    lost = [entry for entry in before if entry not in after]
    new = [entry for entry in after if entry not in before and entry[1:4] == (None, Warning, None)]
    return "the filters of warnings" if lost or new else ""


def _handlers() -> tuple[Any, ...]:
    return tuple(signal.getsignal(number) for number in SIGNALS)


def _set_handlers(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # nor could it have changed any
    for number, handler in zip(SIGNALS, handlers, strict=True):
        if handler is not None and handler != signal.getsignal(number):  # None: set by C code, which Python cannot
            signal.signal(number, handler)


def _signals(before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    changed = [s.name for s, one, other in zip(SIGNALS, before, after, strict=True) if one != other]
    return f"the handler of {' and '.join(changed)}"


def _errors(before: dict[str, str], after: dict[str, str]) -> str:
    changed = [f"{name}: {before[name]} to {after[name]}" for name in before if before[name] != after[name]]
    return f"numpy.seterr ({', '.join(changed)})"


class _NumpyRandom:
    """The state of numpy's old random numbers: read in full, which takes 0.1 ms, where their generator has moved."""

    def __init__(self) -> None:
        self._seen: tuple[Any, bytes] | None = None
        self._state = b""

    def read(self) -> bytes:
        """The state."""
        generator = get_bit_generator()
        if not isinstance(generator, np.random.MT19937):  # somebody chose another one
            return pickle.dumps(np.random.get_state(legacy=False))
        seen = (generator, ctypes.string_at(generator.ctypes.state_address, MT19937_BYTES))
        if seen != self._seen:
            self._seen, self._state = seen, pickle.dumps(np.random.get_state(legacy=False))
        return self._state

    def write(self, state: bytes) -> None:
        """Back to an earlier one."""
        np.random.set_state(pickle.loads(state))


_numpy_random = _NumpyRandom()


def _torch(name: str, *given: Any) -> Any:
    return getattr(sys.modules["torch"], name)(*given)


def _torch_random() -> bytes:
    return bytes(_torch("get_rng_state").numpy())


def _set_torch_random(state: bytes) -> None:
    _torch("set_rng_state", _torch("from_numpy", np.frombuffer(state, np.uint8).copy()))


def _set_torch_device(device: Any) -> None:
    _torch("set_default_device", None if str(device) == "cpu" else device)  # None: without a mode that all calls pass


class _InferenceMode:
    """Torch's inference mode, which can only be entered and left: so is one of ours, around what comes then."""

    def __init__(self) -> None:
        self._ours = contextlib.ExitStack()

    @staticmethod
    def read() -> bool:
        """Whether it is on."""
        return bool(_torch("is_inference_mode_enabled"))

    def write(self, on: bool) -> None:
        """Turn it on or off, whoever entered it."""
        self._ours.close()  # as it was before ours
        if self.read() != on:
            self._ours.enter_context(_torch("inference_mode", on))


_inference = _InferenceMode()

PYTHON = {
    "folder": Setting(_folder, _enter, lambda before, after: f"the working directory (to {after})"),
    "errors": Setting(np.geterr, lambda found: np.seterr(**found), _errors),
    "filters": Setting(_filters, _set_filters, _blanket, kept=False),
    "signals": Setting(_handlers, _set_handlers, _signals, kept=False),
    "random": Setting(random.getstate, random.setstate, lambda before, after: "Python's random state"),
    "numpy_random": Setting(_numpy_random.read, _numpy_random.write, lambda before, after: "numpy's random state"),
}
TORCH = {
    "dtype": Setting(
        partial(_torch, "get_default_dtype"),
        partial(_torch, "set_default_dtype"),
        lambda before, after: f"torch's default dtype ({before} to {after})".replace("torch.", ""),
    ),
    "device": Setting(
        partial(_torch, "get_default_device"),
        _set_torch_device,
        lambda before, after: f"torch's default device ({before} to {after})",
    ),
    # before the gradients, which it turns as well
    "inference": Setting(
        _inference.read,
        _inference.write,
        lambda before, after: f"torch's inference mode (turned {'on' if after else 'off'})",
    ),
    "gradients": Setting(
        partial(_torch, "is_grad_enabled"),
        partial(_torch, "set_grad_enabled"),
        lambda before, after: f"torch's gradients (turned {'on' if after else 'off'})",
    ),
    # every model draws its first weights, so that nothing is said of them
    "torch_random": Setting(_torch_random, _set_torch_random, lambda before, after: ""),
}
SETTINGS = PYTHON | TORCH


def _as_imported() -> dict[str, Any]:
    """The settings of torch before anybody changed them: its random numbers then begin anywhere."""
    anywhere = _torch("Generator")
    anywhere.seed()
    return {
        "dtype": sys.modules["torch"].float32,
        "device": _torch("device", "cpu"),
        "inference": False,
        "gradients": True,
        "torch_random": bytes(anywhere.get_state().numpy()),
    }


def _read() -> dict[str, Any]:
    """All settings as they are; those of torch where somebody has loaded it."""
    loaded = hasattr(sys.modules.get("torch"), "get_default_device")  # not while it is being imported
    return {name: setting.read() for name, setting in (SETTINGS if loaded else PYTHON).items()}


def _write(wanted: dict[str, Any], now: dict[str, Any]) -> None:
    """Set the settings that are not as they are wanted."""
    for name, value in wanted.items():
        if value != now[name]:
            SETTINGS[name].write(value)


class ProcessState:
    """What one calculator changed of the process.

    Attributes
    ----------
    changed
        What it changed so far, in words: each thing once, in the order in which it happened.
    """

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        self._own: dict[str, Any] = {}

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Around what the calculator does: the process is as the calculator left it, and afterwards as it was before.

        One that draws random numbers so has a stream of its own, and gives another answer each time, which the law of
        reproducibility sees.
        """
        ours = _read()
        begun = ours | {name: value for name, value in self._own.items() if name in ours}
        _write(begun, ours)
        try:
            yield
        finally:
            left = _read()
            if len(left) > len(ours):  # it has loaded torch
                ours, begun = _as_imported() | ours, _as_imported() | begun
            said = [SETTINGS[name].said(begun[name], left[name]) for name in left if begun[name] != left[name]]
            self.changed |= dict.fromkeys(filter(None, said))
            self._own = {name: v for name, v in left.items() if SETTINGS[name].kept and v != ours[name]}
            _write(ours, left)
