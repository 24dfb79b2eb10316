"""The frames of a case and the energies and forces stored with them, read strictly."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from mlff_probes.errors import InputError
from mlff_probes.evaluation import Evaluation, describe
from mlff_probes.protocols import Parity, Protocol, frame_key

LABELS = {"energy": "REF_energy", "forces": "REF_forces"}
"""Keys under which training sets for MACE carry what ASE calls energy and forces."""


def read_case_frames(file: Path, protocol: Protocol) -> tuple[tuple[Atoms, ...], Evaluation | None]:
    """The frames of the case in `file` (a TOML) in the order that `protocol` wants, and what is stored with them.

    Raises
    ------
    InputError
        If they are missing, cannot be read, or are not what the protocol needs.
    """
    if isinstance(protocol, Parity):
        labelled = labelled_frames(_parity_sources(file, protocol), where=str(file))
        return tuple(labelled), stored_evaluation(labelled, file)
    beside = file.with_suffix(".extxyz")
    frames = read_frames(beside, format="extxyz")
    for index, frame in enumerate(frames):
        absent = [key for key in protocol.frame_keys if key not in frame.info]
        if absent:
            raise InputError(f"{beside}: frame {index} has no '{absent[0]}' in its comment line")
        for key in protocol.frame_keys:
            if not np.isscalar(frame.info[key]) or isinstance(frame.info[key], str | bool | np.bool_):
                raise InputError(f"{beside}: frame {index} has {key}={frame.info[key]}, expected a number")
            if not np.isfinite(frame.info[key]):
                raise InputError(f"{beside}: frame {index} has {key}={frame.info[key]}, which is not finite")
    # the order of frames in a file means nothing; their keys say what they are
    frames = sorted(frames, key=lambda frame: [frame_key(frame, key) for key in protocol.frame_keys])
    problem = protocol.frame_problem(frames)
    if problem:
        raise InputError(f"{beside}: {problem} ([protocol] of {file.name})")
    return tuple(frames), stored_evaluation(frames, beside)


def read_frames(file: Path, *, format: str | None = None) -> list[Atoms]:
    """All structures of a file; `format` as ASE names it, or None to go by name and content.

    Raises
    ------
    InputError
        If the file is missing, empty or unreadable, or holds a position or cell that is not finite.
    """
    if not file.is_file():
        raise InputError(f"{file}: the frames of the case are missing")
    try:
        read: Any = ase.io.read(file, ":", format=format)
    except Exception as error:  # ASE's readers raise whatever a malformed line provokes
        raise InputError(f"{file}: cannot be read as {format or 'structures'} ({describe(error)})") from error
    frames = read if isinstance(read, list) else [read]
    if not frames:
        raise InputError(f"{file}: holds no frame")
    for index, frame in enumerate(frames):
        if not np.isfinite(frame.positions).all() or not np.isfinite(frame.cell.array).all():
            raise InputError(f"{file}: frame {index} has a position or cell that is not finite")
    return frames


def stored_evaluation(frames: Sequence[Atoms], file: Path) -> Evaluation | None:
    """The energies and forces stored with all of `frames`; None where no frame carries an energy.

    Raises
    ------
    InputError
        If some frames carry what others lack, or a number is not finite.
    """
    rows = [_labels(frame, file, index) for index, frame in enumerate(frames)]
    with_energy = ["energy" in row for row in rows]
    if not any(with_energy):
        return None
    if not all(with_energy):
        raise InputError(f"{file}: frame {with_energy.index(False)} has no energy, but others have one")
    energies = np.array([float(row["energy"]) for row in rows])
    forces = tuple(np.asarray(row["forces"], dtype=float) for row in rows if "forces" in row)
    if forces and len(forces) < len(frames):
        raise InputError(f"{file}: some frames have forces and others have none")
    for index in range(len(frames)):
        if not np.isfinite(energies[index]) or (forces and not np.isfinite(forces[index]).all()):
            raise InputError(f"{file}: frame {index} has an energy or a force that is not finite")
    return Evaluation(energies=energies, forces=forces or None)


def _labels(frame: Atoms, file: Path, index: int) -> dict[str, Any]:
    """Stored energy and forces: ASE's own, or those under MACE's names; both only if they agree."""
    found = {key: value for key, value in (frame.calc.results if frame.calc else {}).items() if key in LABELS}
    for key, name in LABELS.items():
        named = frame.info.get(name) if key == "energy" else frame.arrays.get(name)
        if named is None:
            continue
        if key in found and not np.allclose(found[key], named, atol=1e-6):
            raise InputError(f"{file}: frame {index} has two different labels, '{key}' and '{name}'; keep one")
        found[key] = named
    return found


def labelled_frames(sources: Sequence[tuple[str | None, Path]], *, where: str) -> list[Atoms]:
    """All frames of some files that carry an energy and forces, each structure once, with its `origin`.

    Parameters
    ----------
    sources
        (origin, file); without an origin each frame names its own as `origin` or `config_type`.
    where
        Named in what is raised.

    Raises
    ------
    InputError
        If a file cannot be read, a label is not finite, or no frame is labelled.
    """
    found = [frame for origin, file in sources for frame in _with_labels(read_frames(file), file, origin)]
    if not found:
        raise InputError(f"{where}: no frame carries both an energy and forces, so there is nothing to compare with")
    unique = {_fingerprint(frame): frame for frame in reversed(found)}  # the first of two equal ones stays
    return [frame for frame in found if unique[_fingerprint(frame)] is frame]


def _parity_sources(file: Path, protocol: Parity) -> list[tuple[str | None, Path]]:
    if not protocol.origins:
        return [(None, file.with_suffix(".extxyz"))]
    return [(origin, source) for origin, pattern in protocol.origins.items() for source in _matching(file, pattern)]


def _matching(file: Path, pattern: str) -> list[Path]:
    names = sorted(glob.glob(str(file.parent / Path(pattern).expanduser())))  # noqa: PTH207 - Path.glob knows no '..'
    if not names:
        raise InputError(f"{file}: no file matches '{pattern}' (looked from {file.parent})")
    return [Path(name) for name in names]


def _with_labels(frames: list[Atoms], file: Path, origin: str | None = None) -> list[Atoms]:
    """Those of `frames` that carry an energy and forces, each with its origin."""
    found = []
    for index, frame in enumerate(frames):
        labels = _labels(frame, file, index)
        if set(labels) < set(LABELS):
            continue
        if not all(np.isfinite(label).all() for label in labels.values()):
            raise InputError(f"{file}: frame {index} has an energy or a force that is not finite")
        frame.info["origin"] = origin or _origin(frame)
        found.append(frame)
    return found


def _origin(frame: Atoms) -> str:
    named = frame.info.get("origin", frame.info.get("config_type", "all"))
    return re.sub(r"[^A-Za-z0-9_.+]+", "_", str(named)).strip("_.+") or "all"


def _fingerprint(frame: Atoms) -> tuple[bytes, bytes, bytes]:
    """Equal for two copies of one structure, as files of limited precision write it."""
    return frame.numbers.tobytes(), frame.positions.round(6).tobytes(), frame.cell.array.round(6).tobytes()
