"""Distances of frames from training frames in a space of descriptors, and whether these can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.descriptors import Descriptors, descriptors
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value, as_lists
from mlff_probes.core.structures import derived
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.parity.measurement import frame_force_rmse, labelled_forces
from mlff_probes.measure.rank_correlation import rank_correlation
from mlff_probes.measure.representation.protocols import OF_ORIGIN, SHARE, Extrapolation
from mlff_probes.measure.results import Result, not_supplied
from mlff_probes.methods.analysis.subspace import STEADY, NoSubspaceError, Subspace, Training

Floats = NDArray[np.float64]

FOLDS = 5
"""Parts of the training frames, each of which is once held against the others."""

PERCENT = 100.0

Describe = Callable[[Sequence[Atoms]], Descriptors]

TURN = (0.3, 0.5, 0.7)
"""Rotation vector, radians, by which a frame is turned: no symmetry of a crystal."""


def extrapolation(calculator: Calculator, case: Case[Extrapolation], conditions: Conditions = QUIET) -> Result:
    """Measure how far the frames of a case lie from its training frames.

    Descriptors of the atoms of each element in the training frames, standardised, span a principal subspace. A frame
    is as far outside as its farthest atom: `Q / limit`, where the limit holds for an atom with the confidence c^(1/n),
    so that a share c of frames of n atoms like those of training lie within; T^2 likewise (see `Subspace`).

    - `q_beyond`, `t2_beyond` share of frames beyond the limit of Q and of T^2, %;
    - `q_ratio` median over frames of Q / limit;
    - `force_error_correlation` Spearman's rank correlation, over frames, of Q / limit with the root mean square force
      error, which says whether Q tells where this model is wrong;
    - `held_out_beyond` share of training frames beyond the limit of Q that the others have, each part of the training
      frames held out once, %: near 100 (1 - c) where the limit holds;
    - `invariance` largest change of a descriptor under a rotation, another order of the atoms, or a doubling of the
      cell, in the spread of the descriptors over the training atoms: 0 by definition;
    - `blind_elements` elements whose descriptors stay the same when all atoms move: 0, or nothing is seen of them.

    `…_of_o` are over the frames of origin o.
    """
    protocol, calls = case.protocol, Calls()
    elements = sorted({*case.elements, *(symbol for frame in case.training for symbol in frame.symbols)})
    describe = partial(descriptors, calculator, which=protocol.descriptors, elements=elements)
    training = _training_frames(calculator, case)
    conditions.report(f"descriptors of {len(training)} training frames and {len(case.frames)} others")
    learned, asked = describe(training), describe(case.frames)
    calls.add(learned.evaluation)
    calls.add(asked.evaluation)
    spaces = Spaces.of(training, learned.atoms, protocol)
    far = spaces.distances(case.frames, asked.atoms)
    conditions.report(f"forces on {len(case.frames)} frames")
    evaluation = calls.add(evaluate(calculator, case.frames, forces=calculator.supplies("forces")))
    errors = _force_errors(case, evaluation)
    values = _of_frames(case, far, errors)
    values["held_out_beyond"] = _held_out(training, learned.atoms, protocol, spaces)
    values["blind_elements"] = _blind(case, describe, calls)
    values["invariance"] = _invariance(case, learned, describe, calls)
    note = _note(case, learned, training)
    values = {name: value.model_copy(update={"note": value.note or note}) for name, value in values.items()}
    return Result(values, _arrays(case, far, evaluation, errors), calls.evaluation(), _found(learned, spaces, training))


@dataclass(frozen=True)
class Far:
    """How far frames lie outside, by frame: Q and T^2 over their limits, NaN with the reason where they have none."""

    q: Floats
    t2: Floats
    why_not: tuple[str, ...]


@dataclass(frozen=True)
class Spaces:
    """The subspace of each element, or why it has none."""

    by_element: Mapping[str, Subspace]
    why_not: Mapping[str, str]
    confidence: float

    @classmethod
    def of(cls, frames: Sequence[Atoms], atoms: Sequence[Floats], protocol: Extrapolation) -> Spaces:
        """Those of training frames and the descriptors of their atoms."""
        training: dict[str, Training] = {}
        for frame, rows in zip(frames, atoms, strict=True):
            symbols = np.array(frame.get_chemical_symbols())
            for symbol in np.unique(symbols):
                training.setdefault(str(symbol), Training()).add(rows[symbols == symbol])
        found, why_not = {}, {}
        for symbol, samples in training.items():
            try:
                found[symbol] = samples.subspace(protocol.explained)
            except NoSubspaceError as error:
                why_not[symbol] = f"{symbol}: {error}"
        return cls(found, why_not, protocol.confidence)

    def distances(self, frames: Sequence[Atoms], atoms: Sequence[Floats]) -> Far:
        """How far frames lie outside, from the descriptors of their atoms."""
        rows = [self._frame(frame, each) for frame, each in zip(frames, atoms, strict=True)]
        q, t2, why = zip(*rows, strict=True) if rows else ((), (), ())
        return Far(np.array(q), np.array(t2), why)

    def _frame(self, frame: Atoms, atoms: Floats) -> tuple[float, float, str]:
        """Q and T^2 of the farthest atom of a frame over its limits, or why there are none."""
        symbols = np.array(frame.get_chemical_symbols())
        elements = [str(symbol) for symbol in np.unique(symbols)]
        reasons = [
            self.why_not.get(e, f"{e}: not among the training frames") for e in elements if e not in self.by_element
        ]
        if reasons:
            return np.nan, np.nan, "; ".join(reasons)
        confidence = self.confidence ** (1 / len(frame))
        worst = np.zeros(2)
        for element in elements:
            space = self.by_element[element]
            limits = space.q_limit(confidence), space.t2_limit(confidence)
            found = [
                d.max() / limit for d, limit in zip(space.distances(atoms[symbols == element]), limits, strict=True)
            ]
            worst = np.maximum(worst, found)
        return float(worst[0]), float(worst[1]), ""


def _training_frames(calculator: Calculator, case: Case[Extrapolation]) -> list[Atoms]:
    """The training frames whose elements the model knows, and rattled copies of them."""
    protocol, rng = case.protocol, np.random.default_rng(case.protocol.seed)
    own = calculator.features is not None and protocol.descriptors == "model"
    known = [f for f in case.training if not (own and calculator.unknown_elements(frozenset(f.symbols)))]
    found = []
    for frame in known:
        found.append(derived(frame, constraints=False))
        for _ in range(protocol.rattled):
            moved = frame.positions + rng.normal(scale=protocol.rattle_a, size=(len(frame), 3))
            found.append(derived(frame, positions=moved, constraints=False))
    return found


def _force_errors(case: Case[Extrapolation], evaluation: Evaluation) -> Floats | None:
    """Root mean square force error of each frame, eV/A; NaN for one without labels, None without any forces."""
    if evaluation.forces is None or case.stored is None or case.stored.forces is None:
        return None
    return frame_force_rmse(evaluation.forces, labelled_forces(case.frames, case.stored.forces))


def _of_frames(case: Case[Extrapolation], far: Far, errors: Floats | None) -> dict[str, Value]:
    """What is measured of the frames of each origin, and of all."""
    origins = np.array([str(frame.info["origin"]) for frame in case.frames])
    parts = {"": np.full(len(origins), True)} | {f"_of_{o}": origins == o for o in dict.fromkeys(origins.tolist())}
    return {
        f"{name}{part}": _of_part(name, unit, far, errors, mine)
        for part, mine in parts.items()
        for name, unit in OF_ORIGIN.items()
    }


def _of_part(name: str, unit: str, far: Far, errors: Floats | None, mine: NDArray[np.bool_]) -> Value:
    known = mine & ~np.isnan(far.q)
    lacking = [why for why, asked in zip(far.why_not, mine, strict=True) if asked and why]
    if not known.any():
        return not_supplied(unit, "; ".join(dict.fromkeys(lacking)) or "no frame")
    if name == "force_error_correlation":
        if errors is None:
            return not_supplied(unit, "the calculator implements no forces, or no frame is labelled with them")
        return rank_correlation(far.q[known], errors[known], name="Q")
    counts = {why: lacking.count(why) for why in dict.fromkeys(lacking)}
    samples = Samples(used=int(known.sum()), of=int(mine.sum()), what="frames", left_out=counts)
    if name == "q_ratio":
        return Value(value=float(np.median(far.q[known])), unit=unit, samples=samples)
    ratios = far.q if name == "q_beyond" else far.t2
    return Value(value=PERCENT * float((ratios[known] > 1).mean()), unit=unit, samples=samples)


def _held_out(frames: Sequence[Atoms], atoms: Sequence[Floats], protocol: Extrapolation, spaces: Spaces) -> Value:
    """The share of training frames beyond the limit of the others, one part after the other held out."""
    part = np.random.default_rng(protocol.seed).permutation(len(frames)) % FOLDS
    ratios, reasons = list[float](), list[str]()
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(part != fold).tolist(), np.flatnonzero(part == fold).tolist()
        some = Spaces.of([frames[i] for i in inside], [atoms[i] for i in inside], protocol)
        far = some.distances([frames[i] for i in outside], [atoms[i] for i in outside])
        ratios += far.q[~np.isnan(far.q)].tolist()
        reasons += [why for why in far.why_not if why]
    if not ratios:
        return not_supplied(SHARE, "; ".join(spaces.why_not.values()) or "too few training frames to hold some out")
    counts = {why: reasons.count(why) for why in dict.fromkeys(reasons)}
    samples = Samples(used=len(ratios), of=len(frames), what="training frames", left_out=counts)
    return Value(value=PERCENT * float((np.array(ratios) > 1).mean()), unit=SHARE, samples=samples)


def _blind(case: Case[Extrapolation], describe: Describe, calls: Calls) -> Value:
    """The number of elements whose descriptors stay the same when all atoms of a frame are displaced at random."""
    holds = {symbol: frame for frame in reversed(case.frames) for symbol in set(frame.symbols)}
    frames = list({id(frame): frame for frame in holds.values()}.values())
    rng, pairs = np.random.default_rng(case.protocol.seed), list[Atoms]()
    for frame in frames:
        moved = frame.positions + rng.normal(scale=case.protocol.rattle_a, size=(len(frame), 3))
        pairs += [derived(frame, constraints=False), derived(frame, positions=moved, constraints=False)]
    found = describe(pairs)
    calls.add(found.evaluation)
    seen: set[str] = set()
    for frame, still, moving in zip(frames, found.atoms[::2], found.atoms[1::2], strict=True):
        changed = np.abs(moving - still).max(axis=1) > STEADY * np.abs(still).max()
        seen |= {symbol for symbol, seen in zip(frame.get_chemical_symbols(), changed, strict=True) if seen}
    blind = sorted(set(holds) - seen)
    note = f"descriptors of {', '.join(blind)} stay the same when all atoms move" if blind else ""
    return Value(value=float(len(blind)), unit=PURE, note=note)


def _invariance(case: Case[Extrapolation], learned: Descriptors, describe: Describe, calls: Calls) -> Value:
    """The largest change of a descriptor of one frame that is written otherwise, in their spread over training."""
    spread = float(np.sqrt(np.concatenate(learned.atoms).var(axis=0).mean()))
    frame = max(case.frames, key=lambda each: len(set(each.symbols)))
    order = np.random.default_rng(0).permutation(len(frame))
    shortest = np.where(frame.pbc, frame.cell.lengths(), np.inf).argmin()
    others = {
        "turned": derived(frame, turned=Rotation.from_rotvec(TURN).as_matrix(), constraints=False),
        "in another order": derived(frame, order=order.tolist(), constraints=False),
    }
    if frame.pbc.any():
        twice = (1 + (np.arange(3) == shortest)).tolist()
        others["in a doubled cell"] = derived(frame, repeat=twice, constraints=False)
    found = describe([derived(frame, constraints=False), *others.values()])
    calls.add(found.evaluation)
    own, *rest = found.atoms
    expected = {"turned": own, "in another order": own[order], "in a doubled cell": np.concatenate([own, own])}
    off = {how: float(np.abs(each - expected[how]).max()) for how, each in zip(others, rest, strict=True)}
    worst = max(off, key=off.__getitem__)
    if off[worst] > 0 and not spread > 0:
        return not_supplied(PURE, f"they change {worst}, and not at all over the training atoms")
    return Value(value=off[worst] / spread if off[worst] else 0.0, unit=PURE, note=f"largest {worst}")


def _note(case: Case[Extrapolation], learned: Descriptors, training: Sequence[Atoms]) -> str:
    """What the numbers were seen on."""
    files = ", ".join(dict.fromkeys(_file(frame) for frame in training))
    copies = case.protocol.rattled
    each = f", each with {copies} copies rattled by {case.protocol.rattle_a:g} A" if copies else ""
    because = f", since {learned.soap_because}" if learned.soap_because else ""
    return f"{learned.name}{because}; training set: {len(training) // (copies + 1)} frames of {files}{each}"


def _found(learned: Descriptors, spaces: Spaces, training: Sequence[Atoms]) -> dict[str, Any]:
    return {
        "descriptors": learned.name,
        "soap_because": learned.soap_because,
        "training_frames": len(training),
        "subspaces": {
            symbol: {
                "training_atoms": space.samples,
                "features": len(space.mean),
                "components": space.components,
                "explained": round(space.explained, 4),
                "q_limit": space.q_limit(spaces.confidence),
                "t2_limit": space.t2_limit(spaces.confidence),
            }
            for symbol, space in spaces.by_element.items()
        },
        "without_subspace": dict(spaces.why_not),
    }


def _file(frame: Atoms) -> str:
    """The file that a frame was read from."""
    return str(frame.info.get("taken_from", "unnamed frames")).rpartition(":")[0] or "unnamed frames"


def _arrays(case: Case[Extrapolation], far: Far, evaluation: Evaluation, errors: Floats | None) -> dict[str, list[Any]]:
    """What is drawn: path, energy and distances of each frame that has these, and force errors of the labelled ones."""
    known = np.flatnonzero(~np.isnan(far.q))
    origins = [str(case.frames[i].info["origin"]) for i in known]
    paths = [_file(case.frames[i]) for i in known]
    first: dict[str, float] = {}
    energy = [
        float(evaluation.energies[i]) - first.setdefault(p, float(evaluation.energies[i]))
        for i, p in zip(known, paths, strict=True)
    ]
    found: dict[str, list[Any]] = {
        "origin": origins,
        "path": paths,
        **as_lists({"energy": energy, "q_ratio": far.q[known], "t2_ratio": far.t2[known]}),
    }
    if errors is not None:
        labelled = [i for i in known if not np.isnan(errors[i])]
        found["error_origin"] = [str(case.frames[i].info["origin"]) for i in labelled]
        found |= as_lists({"error_q_ratio": far.q[labelled], "force_rmse": errors[labelled]})
    return found
