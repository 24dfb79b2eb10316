"""Descriptors of atoms and structures: the features of a model where it shows them, SOAP for any other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator, Features, as_calculator
from mlff_probes.calculators.evaluation import evaluate, passes
from mlff_probes.core.errors import EvaluationError, InputError, NonFiniteError
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.structures import cell_out_of_reach, derived, in_parts

if TYPE_CHECKING:
    from ase import Atoms

Floats = NDArray[np.float64]

CUTOFF_A, RADIAL, ANGULAR, WIDTH_A = 5.0, 8, 4, 0.3
"""Of SOAP: cutoff, radial functions, highest angular momentum, width of the Gaussians (Cao and Clancy, arXiv
2509.00090, appendix B.7)."""

SMOOTHED_A = 0.5
"""Width of the shell below the cutoff in which a neighbour fades, so that none appears at once."""

SOAP_ATOMS = 4096
"""Atoms whose SOAP is made together, which bounds memory: 60 MB where there are three elements."""

SOAP_NAME = f"SOAP ({CUTOFF_A:g} A, n = {RADIAL}, l = {ANGULAR}, sigma {WIDTH_A:g} A)"

RDF_BINS = 100
"""Shells up to the cutoff in which the neighbours of an atom are counted."""

STEP_A = 0.01
"""Displacement for the derivatives of forces."""

PHYSICAL_NAME = "energy, force, force derivatives, RDF histogram and SOAP"

EQUIVARIANT_NAME = "with those that turn with the structure"

Which = Literal["model", "equivariant", "soap", "physical"]


@dataclass(frozen=True)
class Descriptors:
    """What describes some frames, in their order; the same however a frame is turned or repeated.

    Equivariant features alone turn with a frame.

    Attributes
    ----------
    name
        What they are, in words.
    atoms
        One array of shape (n_atoms, n_features) for each frame, rows in the order of its atoms.
    frames
        Shape (n_frames, n_features): what a model has of a structure as a whole, else the mean over its atoms.
    soap_because
        Why they are SOAP and not the features of the model; empty where they were asked for, or are not.
    layers
        The columns of each layer of the model; empty where they are no features of a model.
    evaluation
        How often the model was asked, and for how long.
    """

    name: str
    atoms: tuple[Floats, ...]
    frames: Floats
    soap_because: str = ""
    layers: Mapping[str, slice] = field(default_factory=dict)
    evaluation: Evaluation = field(default_factory=lambda: Calls().evaluation())


def descriptors(
    calculator: Calculator | Any,
    frames: Sequence[Atoms],
    *,
    which: Which = "model",
    layer: str | None = None,
    elements: Iterable[str] = (),
) -> Descriptors:
    """Descriptors of all atoms of some frames.

    Memory grows with the descriptors of these frames alone; a long trajectory is described in parts.

    Parameters
    ----------
    calculator
        A loaded `Calculator`, or any bare ASE calculator.
    frames
        ASE atoms; never modified.
    which
        "model": its own features (the invariant node features of MACE, the features of sites and crystals of CHGNet,
        the scalar node features of SevenNet); SOAP where it has none, or shows none. "equivariant": the same beside its
        vectors and tensors, which turn with a frame (all node features of MACE). "soap": SOAP. "physical", for each
        atom: energy of the frame per atom (eV), size of the force (eV/A), the three eigenvalues of the derivative of
        the force with respect to its own place (eV/A^2, central differences of `STEP_A`), the density of neighbours in
        `RDF_BINS` shells up to `CUTOFF_A` (1/A^3), SOAP; it takes six calls for each atom, and a cell that is wider
        than the model sees, since the images of an atom move with it.
    layer
        Of the model; None for all layers, side by side.
    elements
        Symbols that SOAP has columns for, besides those of the frames: descriptors of other frames are to be compared.

    Raises
    ------
    InputError
        If the model has no such layer, or no equivariant features.
    EvaluationError
        If the calculator raises, or returns an array of the wrong shape; a `NonFiniteError` if a descriptor is NaN or
        infinite.
    """
    model = as_calculator(calculator)
    symbols = sorted({*elements, *(symbol for frame in frames for symbol in frame.symbols)})
    if which == "soap":
        return _described(SOAP_NAME, frames, soap(frames, symbols))
    if which == "physical":
        return _physical(model, frames, symbols)
    if which == "equivariant":
        return _of_model(model, frames, layer, equivariant=True)
    if model.features is None:
        why = f"{model.label} shows no features of its own"
        return _described(SOAP_NAME, frames, soap(frames, symbols), soap_because=why)
    return _of_model(model, frames, layer)


def soap(frames: Sequence[Atoms], symbols: Sequence[str]) -> list[Floats]:
    """The SOAP power spectrum of each atom of some frames, by featomic: shape (n_atoms, n_features) for each frame.

    p(a n, b m, l) for all pairs of the elements `symbols`, each once; without units.
    """
    if not frames:
        return []
    from featomic import SoapPowerSpectrum  # with its imports, three quarters of a second
    from metatensor import Labels

    calculator = SoapPowerSpectrum(
        cutoff={"radius": CUTOFF_A, "smoothing": {"type": "ShiftedCosine", "width": SMOOTHED_A}},
        density={"type": "Gaussian", "width": WIDTH_A},
        basis={
            "type": "TensorProduct",
            "max_angular": ANGULAR,
            "radial": {"type": "Gto", "max_radial": RADIAL - 1},  # they are counted from 0
        },
    )
    numbers = sorted(atomic_numbers[symbol] for symbol in symbols)
    pairs = np.array([(a, b) for a in numbers for b in numbers if a <= b])
    columns = Labels(["neighbor_1_type", "neighbor_2_type"], pairs)
    found = []
    for part in in_parts(frames, SOAP_ATOMS):
        spectrum = calculator.compute([_without_vacuum(frame) for frame in part])
        block = spectrum.keys_to_samples("center_type").keys_to_properties(columns).block()
        found += np.split(_once(block), np.cumsum([len(frame) for frame in part])[:-1])
    return found


def _once(block: Any) -> Floats:
    """The spectrum with one row an atom, in order, and each pair of one element once: n m and m n are the same."""
    rows = np.lexsort((block.samples.column("atom"), block.samples.column("system")))
    a, b, n, m = (block.properties.column(name) for name in ("neighbor_1_type", "neighbor_2_type", "n_1", "n_2"))
    kept = (a != b) | (n <= m)
    twice = np.where((a == b) & (n < m), np.sqrt(2), 1.0)  # scalar products stay what they are
    return np.asarray((block.values * twice)[rows][:, kept], dtype=float)


def _without_vacuum(frame: Atoms) -> Atoms:
    """The frame as featomic takes it: periodic in all directions, its images out of reach where it was not, or in none.

    Of charges, moments and all else SOAP takes no notice.
    """
    if frame.pbc.all():
        return frame
    if not frame.pbc.any():
        return derived(frame, cell=np.zeros((3, 3)), pbc=False, constraints=False)
    return derived(frame, cell=cell_out_of_reach(frame, 2 * CUTOFF_A), pbc=True, constraints=False)


def _of_model(
    model: Calculator, frames: Sequence[Atoms], layer: str | None, *, equivariant: bool = False
) -> Descriptors:
    """The features of a model, one layer or all."""
    found, calls = _features(model, frames)
    layers = [each.equivariant if equivariant else each.layers for each in found]
    if equivariant and (model.features is None or not all(layers)):
        raise InputError("", f"{model.label} shows no features that turn with a structure", 'take which="model"')
    known = list(layers[0]) if layers else []
    if found and layer is not None and layer not in known:
        raise InputError("", f"{model.label} has no layer '{layer}'", f"it has {', '.join(known)}")
    names = [layer] if layer else known
    parts = [
        [_checked(each[name], frame, f"frame {row}") for name in names]
        for row, (each, frame) in enumerate(zip(layers, frames, strict=True))
    ]
    ends = np.cumsum([part.shape[1] for part in parts[0]]).tolist() if parts else []
    columns = {name: slice(*ends_of) for name, *ends_of in zip(names, [0, *ends], ends, strict=False)}
    atoms = [np.concatenate(part, axis=1) for part in parts]
    wholes = [each.whole for each in found]
    whole = None if equivariant or any(each is None for each in wholes) else wholes
    said = [model.features_name, *([layer] if layer else []), *([EQUIVARIANT_NAME] if equivariant else [])]
    return _described(", ".join(said), frames, atoms, whole=whole, layers=columns, evaluation=calls)


def _features(model: Calculator, frames: Sequence[Atoms]) -> tuple[Sequence[Features], Evaluation]:
    """What a model shows of some frames, and what it took; nothing of a model that shows nothing."""
    if model.features is None:
        return [], Calls().evaluation()
    start = time.perf_counter()
    with model.state.during():
        name, most = "frame {}".format, model.batch_atoms if model.batch else 0
        found, batches = passes(model, frames, partial(_answers, model), name, most_atoms=most)
        elapsed = model.device.now(time.perf_counter) - start
    return found, Evaluation(np.empty(0), None, calls=len(frames), batches=batches, model_s=elapsed)


def _answers(model: Calculator, frames: Sequence[Atoms]) -> Sequence[Features]:
    assert model.features is not None
    found = list(model.features(frames))
    if len(found) != len(frames):
        raise EvaluationError(f"the model gave features of {len(found)} structures, of {len(frames)} it was asked for")
    return found


def _physical(model: Calculator, frames: Sequence[Atoms], symbols: Sequence[str]) -> Descriptors:
    """Energy, force, force derivatives, neighbours and SOAP of each atom, side by side."""
    calls = Calls()
    found = calls.add(evaluate(model, frames))
    assert found.forces is not None
    atoms = []
    for frame, energy, forces, spectrum in zip(
        frames, found.energies, found.forces, soap(frames, symbols), strict=True
    ):
        own = np.column_stack([np.full(len(frame), energy / len(frame)), np.linalg.norm(forces, axis=1)])
        atoms.append(np.hstack([own, _stiffness(model, frame, calls), _neighbours(frame), spectrum]))
    return _described(PHYSICAL_NAME, frames, atoms, evaluation=calls.evaluation())


def _stiffness(model: Calculator, frame: Atoms, calls: Calls) -> Floats:
    """Eigenvalues of -dF/dr of each atom with respect to its own place, eV/A^2, shape (n_atoms, 3), rising."""
    moves = [(atom, axis, sign) for atom in range(len(frame)) for axis in range(3) for sign in (1, -1)]
    displaced = []
    for atom, axis, sign in moves:
        positions = np.array(frame.positions)
        positions[atom, axis] += sign * STEP_A
        displaced.append(derived(frame, positions=positions))
    forces = calls.add(evaluate(model, displaced)).forces
    assert forces is not None
    own = np.array([force[atom] for force, (atom, _, _) in zip(forces, moves, strict=True)]).reshape(-1, 3, 2, 3)
    matrix = -(own[:, :, 0] - own[:, :, 1]) / (2 * STEP_A)
    return np.asarray(np.linalg.eigvalsh((matrix + matrix.transpose(0, 2, 1)) / 2))


def _neighbours(frame: Atoms) -> Floats:
    """The density of neighbours of each atom in shells, 1/A^3, shape (n_atoms, RDF_BINS)."""
    edges = np.linspace(0, CUTOFF_A, RDF_BINS + 1)
    atom, distance = neighbor_list("id", frame, CUTOFF_A)
    counts = np.histogram2d(atom, distance, bins=[np.arange(len(frame) + 1) - 0.5, edges])[0]
    return np.asarray(counts / (4 / 3 * np.pi * np.diff(edges**3)))


def _checked(features: Any, frame: Atoms, where: str) -> Floats:
    """The features of a frame as numbers of the right shape."""
    found = np.asarray(features, dtype=float)
    if found.ndim != 2 or len(found) != len(frame):
        raise EvaluationError(f"the features of {where} have shape {found.shape}, expected ({len(frame)}, n)")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if bad.size:
        symbol = frame.get_chemical_symbols()[int(bad[0])]
        raise NonFiniteError(
            f"the features of {where} are not finite: atom {bad[0]} ({symbol}), {bad.size} of {len(frame)} atoms in all"
        )
    return found


def _described(
    name: str, frames: Sequence[Atoms], atoms: Sequence[Floats], *, whole: Sequence[Any] | None = None, **rest: Any
) -> Descriptors:
    """A record of descriptors; of a frame as a whole they are the mean over its atoms where there is nothing else."""
    wholes = [each.mean(axis=0) for each in atoms] if whole is None else [np.asarray(w, dtype=float) for w in whole]
    return Descriptors(name, tuple(atoms), np.array(wholes).reshape(len(frames), -1 if frames else 0), **rest)
