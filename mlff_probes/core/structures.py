"""Structures made of others, with all that a model may read beside positions: the one place that makes and copies them.

A force field may read more of a structure than elements, positions and cell: a total charge, a spin multiplicity, the
head that is to answer, magnetic moments, tags. Whatever is made of a structure goes on carrying what still makes sense
of it, so that the model is asked about the same system; what makes no sense any more is dropped, and that is said.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cell import Cell
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESULTS = re.compile(r"(^|_)(energ(y|ies)|forces?|stress(es)?|virials?|dipoles?)$", re.IGNORECASE)
"""Names under which a structure carries what was once computed for it, whoever computed it: ``REF_energy``, ``forces``,
``dft_stress``. They hold for no other structure."""

MOTION = {"momenta", "velocities", "velo", "vel"}
"""Names under which atoms carry how they move, which they do in no other structure."""

CHARGES = {"charge", "total_charge", "net_charge"}
"""Names of a total charge in units of e."""

ELECTRONS = {"nelect", "nelectrons", "n_electrons", "num_electrons", "number_of_electrons"}
UNPAIRED = {"uhf", "n_unpaired", "num_unpaired", "unpaired_electrons", "total_magmom"}
"""Names of a number of electrons, and of that of unpaired ones (2S), which is also the moment in Bohr magnetons."""

EXTENSIVE = CHARGES | ELECTRONS | UNPAIRED
"""What grows with the number of copies."""

MULTIPLICITIES = {"spin", "total_spin", "multiplicity", "spin_multiplicity"}
"""Names of a spin multiplicity 2S + 1 (of UMA and of MACE with charges, say); 0 where a model shall not look at it."""

STATE = EXTENSIVE | MULTIPLICITIES | {"head"}
"""What makes two structures out of one geometry: another charge, another spin, another head that is to answer."""

COUNTED = CHARGES | UNPAIRED | MULTIPLICITIES
"""Of these a structure that states 0 has no other than one that states nothing."""

POLAR = {"electric_field", "external_field", "external_electric_field", "efield", "e_field"}
AXIAL = {
    "initial_magmoms", "magmoms", "magnetic_moments", "spins", "magnetic_field", "external_magnetic_field", "b_field",
}  # fmt: skip
"""Names of polar vectors, which turn with the structure, and of axial ones, which a mirror turns as well."""

SYSTEM = {"initial_magmoms", "initial_charges", "tags", "masses"}
"""ASE's own arrays that say what the atoms are."""


class DroppedState(UserWarning):
    """Something that a model may read was dropped from a structure that was made of another one."""


def derived(
    atoms: Atoms,
    *,
    positions: ArrayLike | None = None,
    cell: ArrayLike | None = None,
    scale_atoms: bool = False,
    turned: Floats | None = None,
    pbc: ArrayLike | None = None,
    order: Sequence[int] | None = None,
    repeat: Sequence[int] | None = None,
    constraints: bool = True,
) -> Atoms:
    """A structure made of `atoms`, which stay as they are; what is not named is the same in both.

    It carries `info` and arrays, but no results (`RESULTS`, a calculator) and no momenta (`MOTION`). In n copies a
    total charge and other `EXTENSIVE` numbers become n times as large, and a spin multiplicity m becomes n (m - 1) + 1:
    all spins are parallel, as in the cell.

    Parameters
    ----------
    atoms
        What it is made of.
    positions
        A, shape (n_atoms, 3), of the structure that is made.
    cell
        A, shape (3, 3), rows are vectors.
    scale_atoms
        Whether the atoms move with the cell.
    turned
        Orthogonal matrix, shape (3, 3), that cell, positions, and the vectors named in `POLAR` and `AXIAL` are turned
        by. Any other three numbers, of the structure or of each atom, that are not whole are dropped.
    pbc
        Directions in which it is periodic, shape (3,).
    order
        Index of each atom, shape (n,); a part of the atoms is a cut.
    repeat
        How often it is repeated along each cell vector.
    constraints
        Whether the constraints are carried.

    Warns
    -----
    DroppedState
        If a charge, a multiplicity, constraints, or what may be a vector had to be dropped.
    """
    found: Atoms = atoms.copy()
    _forget_results(found)
    if not constraints:
        found.set_constraint()
    if order is not None:
        found = _reordered(found, order)
    if repeat is not None:
        found = _repeated(found, repeat)
    if turned is not None:
        _turn(found, turned)
    if cell is not None:
        found.set_cell(cell, scale_atoms=scale_atoms, apply_constraint=False)
    if pbc is not None:
        found.pbc = pbc
    if positions is not None:
        found.positions = positions
    return found


def rattled(atoms: Atoms, amplitude: float, rng: np.random.Generator) -> Atoms:
    """The same structure without constraints, each coordinate moved by a normal deviate of `amplitude`, A."""
    moved = atoms.positions + rng.normal(scale=amplitude, size=(len(atoms), 3))
    return derived(atoms, positions=moved, constraints=False)


def state_of(atoms: Atoms) -> dict[str, str]:
    """What `STATE` an `info` gives a structure, by name in lower case; a charge of 0 is none."""
    stated = {key.lower(): _number(value) for key, value in atoms.info.items() if key.lower() in STATE}
    return {key: value for key, value in sorted(stated.items()) if not (key in COUNTED and value == "0")}


def _number(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def copied(atoms: Atoms) -> Atoms:
    """The same structure once more, with all results and momenta that it carries, but without its calculator."""
    found: Atoms = atoms.copy()
    return found


def renumbered(atoms: Atoms, order: Sequence[int] | NDArray[np.int64]) -> Atoms:
    """The same structure with its atoms in another order, shape (n_atoms,), and the results of its calculator too.

    Results of a calculator that was used for other atoms since are left behind with it.
    """
    found: Atoms = atoms[list(order)]
    calc = atoms.calc
    if calc is not None and not (hasattr(calc, "check_state") and calc.check_state(atoms)):
        whole = {name: np.asarray(result) for name, result in (getattr(calc, "results", None) or {}).items()}
        of_atoms = {name for name, result in whole.items() if result.shape[:1] == (len(atoms),) and name != "stress"}
        results = {name: whole[name][list(order)] if name in of_atoms else calc.results[name] for name in whole}
        found.calc = SinglePointCalculator(found, **results)
    return found


def made(
    symbols: Any,
    *,
    positions: ArrayLike | None = None,
    scaled_positions: ArrayLike | None = None,
    cell: ArrayLike,
    pbc: ArrayLike = True,
    masses: ArrayLike | None = None,
    info: Mapping[str, Any] | None = None,
) -> Atoms:
    """A structure made of nothing else, as `ase.Atoms` takes it; it states that it is neutral (``charge`` 0)."""
    return Atoms(
        symbols, positions=positions, scaled_positions=scaled_positions, cell=cell, pbc=pbc, masses=masses,
        info={"charge": 0, **(info or {})},
    )  # fmt: skip


def in_parts(frames: Iterable[Atoms], most_atoms: int) -> Iterator[list[Atoms]]:
    """Frames in their order, in parts of `most_atoms` at most; a larger one goes alone."""
    part, atoms = list[Atoms](), 0
    for frame in frames:
        if part and atoms + len(frame) > most_atoms:
            yield part
            part, atoms = [], 0
        part.append(frame)
        atoms += len(frame)
    if part:
        yield part


def cell_out_of_reach(frame: Atoms, apart: float) -> Floats:
    """A cell, A, that may repeat in all directions: along those in which `frame` does not, images are `apart` A away.

    The vectors along which it repeats are its own; the others are at right angles to them and to each other.
    """
    cell = np.array(Cell(np.where(frame.pbc[:, None], frame.cell.array, 0.0)).complete().array)
    for axis in np.flatnonzero(~frame.pbc):  # a unit vector
        cell[axis] *= np.ptp(frame.positions @ cell[axis]) + apart
    return cell


def is_lattice(atoms: Atoms) -> bool:
    """Whether a structure is periodic in all directions, so that it has a stress."""
    return bool(atoms.pbc.all() and atoms.cell.rank == 3)


def settings(frames: Sequence[Atoms]) -> dict[str, Any]:
    """What all of some structures tell a model in words, in `info`: the head that shall answer, or the task."""
    if not frames:
        return {}
    first = frames[0].info
    return {
        name: said
        for name, said in first.items()
        if isinstance(said, str) and all(frame.info.get(name) == said for frame in frames)
    }


def state(atoms: Atoms) -> dict[str, Any]:
    """What a structure carries beside elements, positions, cell and masses, as plain values, but for results."""
    arrays = {name: array.tolist() for name, array in atoms.arrays.items() if name in SYSTEM - {"masses"}}
    info = {name: said for name, said in atoms.info.items() if not RESULTS.search(name)}
    return {name: said.tolist() if isinstance(said, np.ndarray) else said for name, said in (info | arrays).items()}


def _forget_results(atoms: Atoms) -> None:
    for there in (atoms.info, atoms.arrays):
        for name in [name for name in there if RESULTS.search(name)]:
            del there[name]
    for name in MOTION & set(atoms.arrays):
        del atoms.arrays[name]


def _reordered(atoms: Atoms, order: Sequence[int]) -> Atoms:
    found: Atoms = atoms[list(order)]
    if sorted(order) != list(range(len(atoms))):
        for name in [name for name, said in found.info.items() if _is_state(name) and said != 0]:
            _drop(found, name, "nobody knows how much of it belongs to a part of the atoms")
    return found


def _repeated(atoms: Atoms, repeat: Sequence[int]) -> Atoms:
    copies = int(np.prod(repeat))
    try:
        found: Atoms = atoms.repeat(tuple(repeat))
    except NotImplementedError:  # of a constraint on internal coordinates, say
        found = derived(atoms, constraints=False).repeat(tuple(repeat))
        _say("constraints: ASE cannot repeat them")
    for name in filter(_is_state, list(found.info)):
        said = found.info[name]
        if not isinstance(said, int | float | np.integer | np.floating):
            _drop(found, name, "it is no number that could grow with the number of copies")
        elif name.lower() in EXTENSIVE:
            found.info[name] = said * copies
        elif said != 0:
            found.info[name] = copies * (said - 1) + 1
    return found


def _turn(atoms: Atoms, turned: Floats) -> None:
    atoms.set_cell(atoms.cell.array @ turned.T, apply_constraint=False)
    atoms.positions = atoms.positions @ turned.T
    turns = dict.fromkeys(POLAR, turned) | dict.fromkeys(AXIAL, turned * np.linalg.det(turned).round())
    of_atoms = [name for name, array in atoms.arrays.items() if array.ndim > 1 and name != "positions"]
    for there, names in ((atoms.arrays, of_atoms), (atoms.info, list(atoms.info))):
        for name in names:
            numbers = _by_three(there[name])
            if numbers is None:
                continue
            if name.lower() in turns:
                there[name] = numbers @ turns[name.lower()].T
            elif numbers.dtype.kind == "f":
                del there[name]
                _say(f"{name}: it may be a vector, and nobody knows how it turns")


def _by_three(said: Any) -> NDArray[Any] | None:
    """What is said as numbers whose last dimension is that of space, or None."""
    if not isinstance(said, np.ndarray | list | tuple):
        return None
    try:
        array = np.asarray(said)
    except ValueError:  # of unequal lengths
        return None
    return array if array.dtype.kind in "iuf" and array.shape[-1:] == (3,) else None


def _is_state(name: str) -> bool:
    return name.lower() in EXTENSIVE | MULTIPLICITIES


def _drop(atoms: Atoms, name: str, why: str) -> None:
    _say(f"{name}={atoms.info.pop(name)}: {why}")


def _say(what: str) -> None:
    warnings.warn(what, DroppedState, stacklevel=4)
