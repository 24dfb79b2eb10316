"""The frames of a case and the energies and forces stored with them, read strictly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from mlff_probes.cases.files import beside, matching, read_frames
from mlff_probes.cases.importers.trajectory import dynamics_case
from mlff_probes.cases.labels import (
    NEEDED,
    SAME_LABEL,
    FrameLabels,
    frame_labels,
    how_to_map,
    labels_note,
    require_stated,
)
from mlff_probes.core.errors import InputError
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import BaseProtocol, FramesFrom, LabelKeys, frame_key
from mlff_probes.core.structures import copied, is_lattice, state_of
from mlff_probes.core.trajectory import ReferenceDynamics
from mlff_probes.measure.laws.protocols import Law
from mlff_probes.measure.parity.measurement import UNLABELLED

Fingerprint = tuple[bytes, bytes, tuple[bytes, ...], tuple[str, ...]]

ALL = "all"
"""The origin of frames that name none."""

ALONE_A = 8.0
"""A single atom whose periodic images are farther away than this, A, is taken as isolated."""


@dataclass(frozen=True)
class CaseFrames:
    """The frames of a case in the order its protocol wants, what is stored with them, and what a reader must know."""

    frames: tuple[Atoms, ...]
    stored: Evaluation | None
    notes: tuple[str, ...] = ()
    dynamics: ReferenceDynamics | None = None
    unlabelled: tuple[Atoms, ...] = ()
    training: tuple[Atoms, ...] = ()


def read_case_frames(file: Path, protocol: BaseProtocol) -> CaseFrames:
    """The frames of the case in `file` (a TOML).

    Raises
    ------
    InputError
        If they are missing, cannot be read, or are not what the protocol needs.
    """
    read = READERS[protocol.frames_from](file, protocol)
    return read if protocol.uses_constraints else _free(read)


def _free(read: CaseFrames) -> CaseFrames:
    """The frames without constraints, which no probe but those of migration and of labels takes notice of."""
    if not any(frame.constraints for frame in read.frames):
        return read
    frames = list(map(copied, read.frames))
    for frame, given in zip(frames, read.frames, strict=True):
        frame.set_constraint()
        frame.calc = given.calc
    return replace(read, frames=tuple(frames), notes=(*read.notes, "Constraints of its structures are not used."))


def _labelled(file: Path, protocol: Any) -> CaseFrames:
    """All labelled frames of some files, as a `Parity` wants them."""
    read = labelled_frames(_sources(file, protocol.origins), where=str(file), keys=protocol)
    if problem := protocol.frame_problem(read.frames):
        raise InputError(file, problem)
    return read


def _any(file: Path, protocol: Any) -> CaseFrames:
    """All frames of some files, labelled or not, as a `PathAgreement` wants them."""
    return CaseFrames(tuple(_unlabelled_frames(_sources(file, protocol.origins))), None)


def _with_training(file: Path, protocol: Any) -> CaseFrames:
    """Frames, each once in its origin, and training frames, as an `Extrapolation` wants them."""
    of_origins = [labelled_frames(sources, where=str(file), keys=protocol, needed=False)
                  for sources in _by_origin(_sources(file, protocol.origins))]  # fmt: skip
    return _joined(of_origins, _training_of(file, protocol))


def _by_origin(sources: Sequence[tuple[str | None, Path]]) -> list[list[tuple[str | None, Path]]]:
    """Sources of one origin together."""
    found: dict[str | None, list[tuple[str | None, Path]]] = {}
    for origin, source in sources:
        found.setdefault(origin, []).append((origin, source))
    return list(found.values())


def _joined(parts: Sequence[CaseFrames], training: Sequence[Atoms]) -> CaseFrames:
    """All frames of some parts; energies and forces of those that are not labelled are NaN."""
    frames, energies, forces = list[Atoms](), list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for part in parts:
        known = part.stored
        frames += [*part.frames, *part.unlabelled]
        energies += [known.energies if known else np.empty(0), np.full(len(part.unlabelled), np.nan)]
        forces += [*((known.forces if known else None) or ()), *(np.full((len(u), 3), np.nan) for u in part.unlabelled)]
    stored = Evaluation(np.concatenate(energies), tuple(forces)) if any(part.stored for part in parts) else None
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return CaseFrames(tuple(frames), stored, notes, training=tuple(training))


def _training_of(file: Path, protocol: Any) -> list[Atoms]:
    """The training frames that the `TrainingSet` of a case names."""
    return training_frames([source for pattern in protocol.training for source in matching(file, pattern)])


def training_frames(files: Sequence[Path]) -> list[Atoms]:
    """All structures of some files, each once, with the place that each was taken from.

    Raises
    ------
    InputError
        If a file is missing, empty or cannot be read.
    """
    return _unlabelled_frames([("training", file) for file in files])


def _of_law(file: Path, protocol: Any) -> CaseFrames:
    """The structures that a `Law` is tried on."""
    return CaseFrames(tuple(_law_structures(file, protocol)), None)


def _of_simulation(file: Path, protocol: Any) -> CaseFrames:
    """What a `MolecularDynamics` starts from, and what it is compared with."""
    training = _training_of(file, protocol.extrapolation) if protocol.extrapolation else ()
    return CaseFrames(*dynamics_case(file, protocol), training=tuple(training))


def _beside(file: Path, protocol: BaseProtocol) -> CaseFrames:
    """The frames in the file beside the case, ordered by their keys, or the frames that the protocol builds."""
    source = beside(file)
    if built := protocol.built_frames():
        if source.exists():
            raise InputError(source, f"a case of kind '{protocol.kind}' builds its own cells", "remove this file")
        return CaseFrames(built, None)
    frames, notes = checked_frames(read_frames(source, format="extxyz"), source, file, protocol)
    stored, said = stored_evaluation(frames, source, protocol if isinstance(protocol, LabelKeys) else LabelKeys())
    return CaseFrames(tuple(frames), stored, (*notes, *said))


def checked_frames(
    frames: Sequence[Atoms], source: Path, file: Path, protocol: BaseProtocol
) -> tuple[list[Atoms], tuple[str, ...]]:
    """The frames of a case in the order and form that its protocol wants, and what a reader must know of them.

    `source` is where they were read from, `file` the case.

    Raises
    ------
    InputError
        If they are not what the protocol needs.
    """
    for index, frame in enumerate(frames):
        absent = [key for key in protocol.frame_keys if key not in frame.info]
        if absent:
            raise InputError(source, f"frame {index} has no '{absent[0]}' in its comment line")
        for key in protocol.frame_keys:
            if not np.isscalar(frame.info[key]) or isinstance(frame.info[key], str | bool | np.bool_):
                raise InputError(source, f"frame {index} has {key}={frame.info[key]}, expected a number")
            if not np.isfinite(frame.info[key]):
                raise InputError(source, f"frame {index} has {key}={frame.info[key]}, which is not finite")
    # the order of frames in a file means nothing; their keys say what they are
    ordered = sorted(frames, key=lambda frame: [frame_key(frame, key) for key in protocol.frame_keys])
    frames, changed = protocol.prepared(ordered)
    problem = protocol.frame_problem(frames)
    if problem:
        raise InputError(source, f"{problem} ([protocol] of {file.name})")
    return frames, (*changed, *protocol.frame_notes(frames))


READERS: dict[FramesFrom, Callable[[Path, Any], CaseFrames]] = {
    "file beside the case": _beside,
    "labelled frames": _labelled,
    "any frames": _any,
    "frames and training frames": _with_training,
    "structures of a law": _of_law,
    "start of a simulation": _of_simulation,
}
"""How the frames of a case are read, by `BaseProtocol.frames_from`."""


def stored_evaluation(
    frames: Sequence[Atoms], file: Path, keys: LabelKeys
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """The energies and forces stored with all of `frames`, None where no frame carries an energy, and a note on them.

    `keys` are the names that the user states (`frame_labels`); `file` is named in what is raised.

    Raises
    ------
    InputError
        If some frames carry what others lack, or a number is not finite.
    """
    found = [frame_labels(frame, keys, file, index) for index, frame in enumerate(frames)]
    rows = [labels.values for labels in found]
    with_energy = ["energy" in row for row in rows]
    require_stated(found, keys, frames, file)
    if not any(with_energy):
        return None, ()
    if not all(with_energy):
        raise _without_energy([index for index, there in enumerate(with_energy) if not there], frames, file)
    energies = np.array([row["energy"] for row in rows])
    forces = tuple(row["forces"] for row in rows if "forces" in row)
    if forces and len(forces) < len(frames):
        raise InputError(file, "some frames have forces and others have none")
    for index in range(len(frames)):
        if not np.isfinite(energies[index]) or (forces and not np.isfinite(forces[index]).all()):
            raise InputError(file, f"frame {index} has an energy or a force that is not finite")
    return Evaluation(energies=energies, forces=forces or None), labels_note(found)


def _without_energy(indices: Sequence[int], frames: Sequence[Atoms], file: Path) -> InputError:
    """Which frames have no energy where others have one; of a folder of a band, what to add to it."""
    places = [str(frames[index].info.get("taken_from", "")) for index in indices]
    said = ", ".join(
        f"frame {index}" + (f" ({place})" if place else "") for index, place in zip(indices, places, strict=True)
    )
    geometries = [
        Path(place).parent.name for place in places if Path(place).name.partition(".")[0] in ("POSCAR", "CONTCAR")
    ]
    remedy = f"put the OUTCAR of that structure into {' and into '.join(geometries)}" if geometries else "add it"
    verb = "has" if len(indices) == 1 else "have"
    return InputError(file, f"{said} {verb} no energy, but others have one", remedy)


def labelled_frames(
    sources: Sequence[tuple[str | None, Path]],
    *,
    where: str,
    keys: LabelKeys | None = None,
    name: Callable[[Atoms, Path], str] | None = None,
    read: Callable[[Path], list[Atoms]] = read_frames,
    needed: bool = True,
) -> CaseFrames:
    """All frames of some files that carry an energy and forces, each structure once, and those that do not.

    Each frame gets its `origin` and the place it was `taken_from`. Isolated atoms (`config_type` is ``IsolatedAtom``,
    ``isolated_atom`` or alike, or a single atom without neighbours) are left out: their energies are the zero of some
    training sets, and no force acts on them.

    Parameters
    ----------
    sources
        (origin, file); without an origin each frame names its own as `origin` or `config_type`.
    where
        Named in what is raised.
    keys
        Names that the user states for labels; None to go by the usual ones (`frame_labels`).
    name
        Says where a frame of a file that comes without an origin is from; None for `origin_of`.
    read
        Gives the structures of a file.
    needed
        Whether one at least must be labelled.

    Raises
    ------
    InputError
        If a file cannot be read, a label is unusable, two copies of a structure have different labels, or no
        frame is labelled and one is `needed`.
    """
    unique: dict[Fingerprint, tuple[Atoms, FrameLabels]] = {}
    left_out, unlabelled, seen = Counter[str](), list[Atoms](), set[str]()
    for frame, labels, file, index in _with_labels(sources, keys or LabelKeys(), where, name, read):
        if _is_isolated_atom(frame):
            left_out["isolated atoms"] += 1
        elif not set(NEEDED) <= set(labels.values):
            left_out[UNLABELLED] += 1
            unlabelled.append(frame)
            seen |= set(labels.values)
        else:
            if not all(np.isfinite(labels.values[what]).all() for what in NEEDED):
                raise InputError(file, f"frame {index} has an energy or a force that is not finite")
            _keep_stress(frame, labels)
            first, known = unique.setdefault(fingerprint(frame), (frame, labels))
            if first is not frame:
                _check_copy(first, known, labels, file, index)
                left_out["copies"] += 1
    if not unique and needed:
        raise InputError(
            where,
            "no frame carries both an energy and forces, so there is nothing to compare with",
            how_to_map(unlabelled, [what for what in NEEDED if what not in seen]),
        )
    note = ", ".join(f"{count} {what}" for what, count in left_out.items())
    return CaseFrames(
        frames=tuple(frame for frame, _ in unique.values()),
        stored=_evaluation(*map(list, zip(*unique.values(), strict=True))) if unique else None,
        notes=(
            *labels_note([labels for _, labels in unique.values()]),
            *((f"Frames left out: {note}.",) if note else ()),
        ),
        unlabelled=tuple(unlabelled),
    )


def _with_labels(
    sources: Sequence[tuple[str | None, Path]],
    keys: LabelKeys,
    where: str,
    name: Callable[[Atoms, Path], str] | None,
    read: Callable[[Path], list[Atoms]],
) -> list[tuple[Atoms, FrameLabels, Path, int]]:
    """All frames of some files with their places, and the labels, file and number of each."""
    found, names = [], dict[str, str]()
    for origin, file in sources:
        for index, frame in enumerate(read(file)):
            labels = frame_labels(frame, keys, file, index)
            said = origin or (name(frame, file) if name else origin_of(frame))
            frame.info |= _place(said, file, index)
            if (other := names.setdefault(frame.info["origin"], said)) != said:
                problem = f"the origins '{other}' and '{said}' would both be called '{frame.info['origin']}'"
                raise InputError(file, problem, "give one of them another name")
            found.append((frame, labels, file, index))
    require_stated([labels for _, labels, _, _ in found], keys, [frame for frame, *_ in found], where)
    return found


def _keep_stress(frame: Atoms, labels: FrameLabels) -> None:
    """Put a stress that was found under another name where ASE has it: who writes the frame on writes it too."""
    if labels.names.get("stress", "stress") != "stress":
        results = getattr(frame.calc, "results", None) or {}
        frame.calc = SinglePointCalculator(frame, **{**results, "stress": labels.values["stress"]})


def _evaluation(frames: Sequence[Atoms], labels: Sequence[FrameLabels]) -> Evaluation:
    stresses = np.array(list(map(_stress, frames, labels)))
    return Evaluation(
        energies=np.array([row.values["energy"] for row in labels]),
        forces=tuple(row.values["forces"] for row in labels),
        stresses=stresses if np.isfinite(stresses).any() else None,
    )


def _stress(frame: Atoms, labels: FrameLabels) -> NDArray[np.float64]:
    """The stress of a frame, eV/A^3, shape (6,); NaN without one: one of exactly zero was not computed."""
    stress = labels.values.get("stress")
    known = stress is not None and stress.any() and is_lattice(frame)
    return stress if known and stress is not None else np.full(6, np.nan)


def _unlabelled_frames(sources: Sequence[tuple[str | None, Path]]) -> list[Atoms]:
    """All structures of some files, each once, with the place that each was taken from."""
    unique: dict[Fingerprint, Atoms] = {}
    for origin, file in sources:
        for index, frame in enumerate(read_frames(file)):
            frame.info |= _place(origin or origin_of(frame), file, index)
            unique.setdefault(fingerprint(frame), frame)
    return list(unique.values())


def _place(origin: str, file: Path, index: int) -> dict[str, str]:
    return {"origin": slug(origin), "taken_from": f"{file.name}:{index}"}


def _check_copy(first: Atoms, known: FrameLabels, labels: FrameLabels, file: Path, index: int) -> None:
    if not all(np.allclose(known.values[what], labels.values[what], atol=SAME_LABEL) for what in NEEDED):
        raise InputError(
            file,
            f"frame {index} is the structure of {first.info['taken_from']} with another energy or other forces",
            "keep the right one",
        )


def _is_isolated_atom(frame: Atoms) -> bool:
    if len(frame) != 1:  # whatever it is called
        return False
    named = re.fullmatch(r"isolated[ _-]?atoms?", str(frame.info.get("config_type", "")), re.IGNORECASE)
    return named is not None or all(length > ALONE_A for length in frame.cell.lengths()[frame.pbc])


def _law_structures(file: Path, protocol: Law) -> list[Atoms]:
    """The structures a law is tried on, each once; without any it is tried on random ones alone."""
    source = beside(file)
    if protocol.structures and source.exists():
        raise InputError(file, f"both `structures` and {source.name} are given", "keep one")
    files = [each for pattern in protocol.structures for each in matching(file, pattern)]
    files += [source] if source.exists() else []
    structures = _structures(tuple((source.resolve(), source.stat().st_mtime_ns) for source in files))
    problem = protocol.frame_problem(structures)
    if problem:
        raise InputError(file, problem)
    return list(structures)


@lru_cache(maxsize=4)
def _structures(files: tuple[tuple[Path, int], ...]) -> tuple[Atoms, ...]:
    """The structures in some files, each once; `files` with their times of change, since several laws share them."""
    return tuple({fingerprint(frame): frame for file, _ in files for frame in read_frames(file)}.values())


def _sources(file: Path, origins: Mapping[str, str]) -> list[tuple[str | None, Path]]:
    if not origins:
        return [(None, beside(file))]
    return [(origin, source) for origin, pattern in origins.items() for source in matching(file, pattern)]


def origin_of(frame: Atoms) -> str:
    """The origin that a frame names itself, as `origin` or `config_type`; `ALL` where it names none."""
    return str(frame.info.get("origin", frame.info.get("config_type", ALL)))


def slug(name: str) -> str:
    """A name that can stand in the name of a quantity."""
    return re.sub(r"[^A-Za-z0-9_.+]+", "_", name).strip("_.+") or ALL


def fingerprint(frame: Atoms) -> Fingerprint:
    """Equal for two copies of one structure, as files of limited precision write it."""
    numbers = [frame.positions, frame.cell.array, frame.get_initial_charges(), frame.get_initial_magnetic_moments()]
    state = tuple(f"{key}={value}" for key, value in state_of(frame).items())
    rounded = tuple((array.round(6) + 0.0).tobytes() for array in numbers)  # + 0.0: no minus zero
    return frame.numbers.tobytes(), frame.pbc.tobytes(), rounded, state
