"""The files of a store of measurements.

A file an entry, ``measurements/NAME.entry``, replaced in one step: a hash of the two lines that follow, what the
measurement is and depends on, and itself. One that is torn or was edited is none. While an entry is being made its
maker holds the lock beside it, which the system takes from a process that dies, so that several processes, also of
several machines on a shared file system, make each entry once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlff_probes.calculators.journal import Journal
from mlff_probes.core.digest import of_text
from mlff_probes.core.errors import describe
from mlff_probes.core.keeping import make_pytest_cache, write_whole
from mlff_probes.core.progress import Report, silent
from mlff_probes.core.records import Measurement
from mlff_probes.session.store.keys import Key

FOLDER = "measurements"
SUFFIX = ".entry"
SPOILT = "what was kept was torn or edited, and was measured again"


@dataclass(frozen=True)
class Entry:
    """A measurement that is kept: when it was made, what it depends on, and itself."""

    made: str
    about: dict[str, Any]
    measurement: Measurement


class SpoiltError(ValueError):
    """An entry that is not what was written."""


class MeasurementStore:
    """The measurements that are kept in a directory.

    Parameters
    ----------
    directory
        Made when the first is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / FOLDER

    def measurement(
        self,
        key: Key,
        make: Callable[[Journal], Measurement],
        report: Report = silent,
        *,
        timeout: float | None = None,
    ) -> Measurement:
        """The measurement that is kept under `key`, or that another process is making; else `make` it, and keep it.

        `make` is given the journal of an earlier attempt, if there was one: it goes when the measurement is kept.
        Another process is waited for `timeout` seconds, or for ever. Whatever `make` raises passes through. A store
        that cannot be written costs nothing but what is not kept, and the measurement says so.
        """
        found, spoilt = self._recalled(key)
        if found is not None:
            return found
        with self._locked(key, report, timeout) as why_not:
            if not why_not:
                found, spoilt = self._recalled(key)
                if found is not None:
                    return found
            journal = Journal(self.file(key).with_suffix(".answers"))
            measurement = make(journal)
            said = why_not or self.keep(key, measurement) or spoilt
        return measurement.model_copy(update={"store_note": said}) if said else measurement

    def keep(self, key: Key, measurement: Measurement) -> str:
        """Keep a measurement, if it came to an end; why it cannot be kept, or nothing."""
        if measurement.problem is not None or _ran_out_of_memory(measurement):  # the next attempt may have more
            return ""
        data = measurement.model_dump(mode="json", exclude={"store_note", "recalled"})
        made = datetime.now(UTC).isoformat(timespec="seconds")
        said = "\n".join(map(json.dumps, ({"key": key.digest, "made": made, "about": key.about}, data)))
        file = self.file(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, f"{of_text(said)}\n{said}")
        except OSError as error:  # a full disk, say
            return f"not kept in {self.folder}: {describe(error)}"
        for suffix in (".answers", ".lock"):  # who waits for the lock, or makes another, finds the entry first
            with contextlib.suppress(OSError):
                file.with_suffix(suffix).unlink(missing_ok=True)
        return ""

    def file(self, key: Key) -> Path:
        """Where the entry of a key is."""
        return self.folder / (key.name + SUFFIX)

    def files(self) -> list[Path]:
        """All entries, by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.name.endswith(SUFFIX))
        except FileNotFoundError:
            return []
        return [self.folder / name for name in names]

    def _recalled(self, key: Key) -> tuple[Measurement | None, str]:
        """What is kept under a key, as it is shown in another run; and what is wrong with what is kept."""
        try:
            entry = read(self.file(key), key.digest)
        except FileNotFoundError:
            return None, ""
        except SpoiltError:
            return None, SPOILT
        except OSError as error:  # somebody else's, say
            return None, f"what is kept in {self.folder} cannot be read, and was measured again: {describe(error)}"
        return as_recalled(entry), ""

    @contextlib.contextmanager
    def _locked(self, key: Key, report: Report, timeout: float | None) -> Iterator[str]:
        """Hold the lock of a key, for which others may have to be waited for; why there is none, or nothing."""
        lock = FileLock(self.file(key).with_suffix(".lock"), fallback_to_soft=False)
        try:
            make_pytest_cache(self.folder.parent)
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                report("another process is measuring the same: waiting for it")
                lock.acquire(timeout=-1 if timeout is None else timeout)
        except Timeout:
            yield f"not kept: another process has been measuring the same for more than {timeout:g} s"
            return
        except (OSError, NotImplementedError) as error:
            yield f"not kept in {self.folder}: {describe(error)}"
            return
        try:
            yield ""
        finally:
            lock.release()


def read(file: Path, key: str | None = None) -> Entry:
    """The entry in a file, which must be that of `key`, if one is given.

    Raises
    ------
    OSError
        If there is none, or it cannot be read.
    SpoiltError
        If it is not what was written there.
    """
    try:
        written, _, said = file.read_text(encoding="utf-8").partition("\n")
        if written != of_text(said):
            raise SpoiltError("it does not hold what was written")
        head, data = map(json.loads, said.split("\n"))
        if key is not None and head["key"] != key:
            raise SpoiltError("it is the entry of another key")
        return Entry(head["made"], head["about"], Measurement.model_validate(data, strict=False))
    except (ValueError, KeyError, TypeError) as error:
        raise error if isinstance(error, SpoiltError) else SpoiltError(describe(error)) from error


def _ran_out_of_memory(measurement: Measurement) -> bool:
    said = [value.problem.reason for value in measurement.values.values() if value.problem is not None]
    return any("out of memory" in reason for reason in (*said, json.dumps(measurement.diagnostics, default=str)))


def as_recalled(entry: Entry) -> Measurement:
    """A measurement as it is shown in another run than its own, in which nothing was timed."""
    found = entry.measurement
    values = found.values
    if found.timings:
        caveat = f"timed {entry.made}, not in this run"
        values = {
            name: value.model_copy(update={"caveat": "; ".join(filter(None, (value.caveat, caveat)))})
            for name, value in values.items()
        }
    return found.model_copy(update={"recalled": entry.made, "values": values, "timings": ()})
