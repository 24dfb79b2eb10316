"""Where trajectories lie, so that a simulation that was interrupted goes on, and one that is done is not done again.

Each simulation has a folder of its own: ``replica-0.traj``, … in ASE's format, ``checkpoint.npz`` with all that the
engine needs to go on bitwise, ``about.json`` that says what it is. Samples are appended first and the checkpoint is
replaced in one step afterwards; whatever lies beyond the checkpoint is dropped, so a crash at any moment is harmless.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.trajectory import TrajectoryReader, TrajectoryWriter
from filelock import FileLock, Timeout

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.errors import describe
from mlff_probes.core.keeping import make_pytest_cache
from mlff_probes.core.structures import state
from mlff_probes.methods.simulation.engine import State
from mlff_probes.methods.simulation.recorder import Recorder
from mlff_probes.methods.simulation.settings import SimulationSettings

FORMAT = 1
"""Counts up when what is kept changes, so that nothing is read in another sense than it was written in."""

OF_MODEL = {"family", "version", "versions", "dtype", "device", "options"}
"""What a model's numbers depend on beside its file: another version of a package may give others."""

HASH_DIGITS = 16
"""Digits of the hash in the name of a folder: enough that no two in a store are the same by chance."""


class TrajectoryStore:
    """A directory of trajectories, or no directory, and then nothing is kept.

    Parameters
    ----------
    directory
        Made when something is kept in it.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    @contextmanager
    def shelf(
        self, calculator: Calculator, protocol: SimulationSettings, start: Atoms, engine: str, case_id: str
    ) -> Iterator[Shelf]:
        """The place of one simulation, for this process alone; one that keeps nothing where it cannot be had."""
        about = identity(calculator, protocol, start, engine, case_id)
        if self.directory is None:
            yield Shelf(None, about)
            return
        folder = self.directory / folder_name(about)
        lock = FileLock(folder / "lock")
        why_not = _taken(lock, folder)
        try:
            yield Shelf(None, about, why_not) if why_not else Shelf(folder, about)
        finally:
            lock.release()  # nothing happens where it is not held


class Shelf:
    """Where one simulation is kept.

    Attributes
    ----------
    notes
        What the user should know of how samples were kept or not used.
    """

    def __init__(self, folder: Path | None, about: dict[str, Any], *notes: str) -> None:
        self._folder, self._about = folder, about
        self.notes = list(notes)
        self._written = 0
        self._writing = False

    def load(self, recorder: Recorder) -> State | None:
        """Fill `recorder` with the samples that are kept and give the engine's state at the last; None without any."""
        if self._folder is None:
            return None
        if not self._checkpoint.exists():
            self._remove()  # trajectories without one
            return None
        try:
            with np.load(self._checkpoint, allow_pickle=False) as file:
                state: State = dict(file)
            if str(state.pop("key")) != key(self._about):
                raise ValueError("it belongs to another simulation")
            self._read_samples(recorder, int(state.pop("samples")))
        except Exception as error:  # a file that is broken or not ours may raise anything
            self.discard(recorder, f"what is kept cannot be used: {describe(error)}")
            return None
        return state

    def save(self, recorder: Recorder, state: State, samples: int) -> None:
        """Keep the first `samples` of what was recorded, the last of which is at `state`."""
        if self._folder is None or self._writing:  # an interrupted attempt left a tail, and the checkpoint before it
            return
        if samples == self._written:
            return
        self._writing = True
        try:
            self._append(recorder, samples)
            part = self._checkpoint.with_name("checkpoint.part.npz")
            np.savez(part, **state, key=key(self._about), samples=samples)  # type: ignore[arg-type]
            part.replace(self._checkpoint)
        except OSError as error:  # the disk is full, say; the simulation goes on
            self._give_up(error)
        self._writing = False

    def discard(self, recorder: Recorder, why: str) -> None:
        """Forget what is kept and say why."""
        self.notes.append(f"started afresh in {self._folder}: {why}")
        recorder.samples = self._written = 0
        self._remove()

    @property
    def _checkpoint(self) -> Path:
        assert self._folder is not None
        return self._folder / "checkpoint.npz"

    def _file(self, replica: int) -> Path:
        assert self._folder is not None
        return self._folder / f"replica-{replica}.traj"

    def _remove(self) -> None:
        assert self._folder is not None
        try:
            for path in (self._checkpoint, *sorted(self._folder.glob("replica-*.traj"))):  # the checkpoint first
                path.unlink(missing_ok=True)
        except OSError as error:  # a directory of that name, or files of somebody else; the simulation goes on
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Keep nothing from here on, and say why."""
        self.notes.append(f"from here on this trajectory is not kept in {self._folder}: {describe(error)}")
        self._folder = None

    def _read_samples(self, recorder: Recorder, samples: int) -> None:
        if not 0 < samples <= recorder.most:
            raise ValueError(f"it holds {samples} samples, expected 1 to {recorder.most}")
        tails = []
        for replica in range(recorder.replicas):
            with TrajectoryReader(self._file(replica)) as file:
                for row in range(samples):
                    recorder.recall(replica, row, file[row])
                if len(file) > samples:
                    tails.append(replica)
        recorder.samples = self._written = samples
        for replica in tails:
            part = self._file(replica).with_suffix(".part")
            _write(part, "w", recorder, replica, range(samples))
            part.replace(self._file(replica))

    def _append(self, recorder: Recorder, samples: int) -> None:
        assert self._folder is not None
        if not self._written:
            text = json.dumps(self._about, indent=2, ensure_ascii=False)
            (self._folder / "about.json").write_text(text + "\n", encoding="utf-8")
        for replica in range(recorder.replicas):
            mode = "a" if self._written else "w"
            _write(self._file(replica), mode, recorder, replica, range(self._written, samples))
        self._written = samples


def _taken(lock: FileLock, folder: Path) -> str | None:
    """Take the lock and return None, or return why this trajectory cannot be kept."""
    try:
        make_pytest_cache(folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        return f"this trajectory is not kept: another process is simulating the same in {folder}"
    except (OSError, NotImplementedError) as error:
        return f"this trajectory is not kept in {folder}: {describe(error)}"
    return None


def identity(
    calculator: Calculator, protocol: SimulationSettings, start: Atoms, engine: str, case_id: str
) -> dict[str, Any]:
    """All that a trajectory depends on, as plain values."""
    model = calculator.identity
    source = {"sha256": model.sha256} if model.sha256 else {"spec": model.spec}
    carried = state(start)
    start_bytes = b"".join(
        np.ascontiguousarray(array).tobytes()
        for array in (start.numbers, start.positions, start.cell.array, start.pbc, start.get_masses())
    )
    return {
        "format": FORMAT,
        "calculator": {
            "label": model.label,
            **source,
            **model.model_dump(mode="json", include=OF_MODEL),
        },
        "case": case_id,
        "engine": engine,
        "protocol": protocol.model_dump(mode="json", include=set(SimulationSettings.model_fields)),
        "start": {
            "formula": start.get_chemical_formula(),
            "sha256": hashlib.sha256(start_bytes).hexdigest(),
            **({"carries": json.loads(json.dumps(carried, default=str))} if carried else {}),
        },
    }


def key(about: dict[str, Any]) -> str:
    """The hash of an `identity`."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def folder_name(about: dict[str, Any]) -> str:
    """A name that people can read and that no other simulation has."""
    protocol = about["protocol"]
    parts = (about["calculator"]["label"], about["case"], protocol["ensemble"], f"{protocol['temperature']:g}K")
    readable = re.sub(r"[^\w.+-]+", "_", "-".join(part for part in parts if part))
    return f"{readable}-{key(about)[:HASH_DIGITS]}"


def _write(path: Path, mode: str, recorder: Recorder, replica: int, rows: range) -> None:
    with TrajectoryWriter(path, mode) as file:
        for row in rows:
            file.write(recorder.atoms(replica, row))
