"""Measurements shared by several processes: each is made once, and one that kills its process is tried once.

A directory holds three files a measurement: a lock, a marker that it was begun, its result. The system frees the
lock of a process that dies, so a free lock beside a marker and no result means that the measurement killed the
process that made it. Nothing here may break a run: a directory that cannot be used costs repeated measurements.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock

from mlff_probes.core.keeping import write_whole
from mlff_probes.core.records import Measurement, Problem

KILLED = "killed its process"
"""Why a quantity has no value whose measurement took its process down."""


class Exchange:
    """One process's view of the directory in which measurements are shared.

    Attributes
    ----------
    waited_s
        Seconds that this process has waited for measurements which others were making.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.waited_s = 0.0

    def measurement(self, calculator: str, case: str, make: Callable[[], Measurement]) -> Measurement:
        """Recall the measurement, wait for the process that is making it, or `make` it.

        Whatever `make` raises passes through, and the measurement is then still to be made.
        """
        stem = self.directory / hashlib.sha256(json.dumps([calculator, case]).encode()).hexdigest()
        lock = FileLock(stem.with_suffix(".lock"))
        if not self._taken(lock):
            return make()
        try:
            found = _read(stem.with_suffix(".json"))
            if found is not None:
                return found
            if stem.with_suffix(".begun").exists():
                return killed(calculator, case)
            return _made(stem, make)
        finally:
            lock.release()

    def _taken(self, lock: BaseFileLock) -> bool:
        """Wait for `lock`; False where the directory is gone, full or without locks."""
        start = time.perf_counter()
        try:
            Path(lock.lock_file).touch()  # the lock would make a missing directory again, and nobody would remove it
            lock.acquire()
        except (OSError, NotImplementedError):
            return False
        finally:
            self.waited_s += time.perf_counter() - start
        return True


def killed(calculator: str, case: str) -> Measurement:
    """What is left of a measurement that took its process down."""
    return Measurement(calculator=calculator, case=case, problem=Problem(state="error", reason=KILLED))


def _made(stem: Path, make: Callable[[], Measurement]) -> Measurement:
    begun = stem.with_suffix(".begun")
    with contextlib.suppress(OSError):
        begun.touch()
    try:
        measurement = make()
        _write(stem.with_suffix(".json"), measurement)
    finally:  # a Ctrl-C is no death, and a result that could not be written was no murder
        with contextlib.suppress(OSError):
            begun.unlink(missing_ok=True)
    return measurement


def _read(path: Path) -> Measurement | None:
    try:
        return Measurement.model_validate(json.loads(path.read_text(encoding="utf-8")), strict=False)
    except (OSError, ValueError):  # none yet, or one that was cut short
        return None


def _write(path: Path, measurement: Measurement) -> None:
    with contextlib.suppress(OSError):
        write_whole(path, json.dumps(measurement.model_dump(mode="json")))
