"""Distances of frames from training frames in a space of descriptors, and whether these can be trusted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from mlff_probes.core.structures import derived, in_parts, rattled
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

PART_ATOMS = 20_000
"""Atoms that are described together, which bounds memory (to 0.3 GB for SOAP of three elements), and of which the
descriptors are kept to be held out."""

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
      cell, in the spread of the descriptors over the atoms of a frame: 0 by definition;
    - `blind_elements` elements whose descriptors stay the same when all atoms move: 0, or nothing is seen of them.

    `…_of_o` are over the frames of origin o.
    """
    protocol, calls = case.protocol, Calls()
    elements = sorted({*case.elements, *(symbol for frame in case.training for symbol in frame.symbols)})
    ask = partial(descriptors, calculator, which=protocol.descriptors, elements=elements)

    def describe(frames: Sequence[Atoms]) -> Descriptors:
        found = ask(frames)
        calls.add(found.evaluation)
        return found

    conditions.report("descriptors of the training frames")
    learned = Learned(protocol)
    for part in in_parts(_training_frames(calculator, case), PART_ATOMS):
        learned.add(part, describe(part))
    conditions.report(f"descriptors of {len(case.frames)} frames")
    spaces = learned.spaces()
    far = Far.joined([spaces.distances(part, describe(part).atoms) for part in in_parts(case.frames, PART_ATOMS)])
    conditions.report(f"forces on {len(case.frames)} frames")
    evaluation = calls.add(evaluate(calculator, case.frames, forces=calculator.supplies("forces")))
    errors = _force_errors(case, evaluation)
    held_out = learned.held_out_beyond()
    values = _of_frames(case, far, errors) | {"held_out_beyond": held_out}
    caveat = _seen_on(case, learned, held_out)
    values = {name: value.model_copy(update={"caveat": caveat}) for name, value in values.items()}
    values |= _laws(case, describe)
    return Result(values, _arrays(case, far, evaluation, errors), calls.evaluation(), _found(learned, spaces))


@dataclass(frozen=True)
class Far:
    """How far frames lie outside, by frame: Q and T^2 over their limits, NaN with the reason where they have none."""

    q: Floats
    t2: Floats
    why_not: tuple[str, ...]

    @classmethod
    def joined(cls, some: Sequence[Far]) -> Far:
        """Those of some frames, and those of the frames after them."""
        q, t2 = (np.concatenate([np.empty(0), *each]) for each in ([f.q for f in some], [f.t2 for f in some]))
        return cls(q, t2, tuple(why for far in some for why in far.why_not))


@dataclass(frozen=True)
class Spaces:
    """The subspace of each element, or why it has none."""

    by_element: Mapping[str, Subspace]
    why_not: Mapping[str, str]
    confidence: float

    @classmethod
    def of(cls, training: Mapping[str, Training], protocol: Extrapolation) -> Spaces:
        """Those of training atoms, by element."""
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


class Learned:
    """The atoms of training frames, which come in parts: all of them, and `FOLDS` times all but one part in so many."""

    def __init__(self, protocol: Extrapolation) -> None:
        self.protocol = protocol
        self.frames = 0
        self.files: dict[str, None] = {}
        self.name = self.soap_because = ""
        self._rng = np.random.default_rng(protocol.seed)
        self._all, *self._without = (defaultdict[str, Training](Training) for _ in range(FOLDS + 1))
        self._held: list[tuple[int, Atoms, Floats]] = []

    def add(self, frames: Sequence[Atoms], described: Descriptors) -> None:
        """Take frames in."""
        self.name, self.soap_because = described.name, described.soap_because
        for frame, atoms in zip(frames, described.atoms, strict=True):
            fold = int(self._rng.integers(FOLDS))
            symbols = np.array(frame.get_chemical_symbols())
            for symbol in map(str, np.unique(symbols)):
                rows = atoms[symbols == symbol]
                for training in (self._all, *(each for n, each in enumerate(self._without) if n != fold)):
                    training[symbol].add(rows)
            if sum(len(each) for _, each, _ in self._held) < PART_ATOMS:
                self._held.append((fold, frame, atoms))
            self.files[_file(frame)] = None
            self.frames += 1

    def spaces(self) -> Spaces:
        """The subspaces of all of them."""
        return Spaces.of(self._all, self.protocol)

    def held_out_beyond(self) -> Value:
        """The share of them beyond the limit of those of the other folds, of the first `PART_ATOMS`."""
        some = [Spaces.of(training, self.protocol) for training in self._without]
        far = Far.joined([some[fold].distances([frame], [atoms]) for fold, frame, atoms in self._held])
        reasons = [why for why in far.why_not if why]
        known = far.q[~np.isnan(far.q)]
        if not known.size:
            return not_supplied(SHARE, "; ".join(dict.fromkeys(reasons)) or "there is no training frame")
        counts = {why: reasons.count(why) for why in dict.fromkeys(reasons)}
        samples = Samples(used=known.size, of=len(self._held), what="training frames", left_out=counts)
        return Value(value=PERCENT * float((known > 1).mean()), unit=SHARE, samples=samples)


def _training_frames(calculator: Calculator, case: Case[Extrapolation]) -> Iterator[Atoms]:
    """The training frames whose elements the model knows, and rattled copies of them."""
    protocol, rng = case.protocol, np.random.default_rng(case.protocol.seed)
    own = calculator.features is not None and protocol.descriptors == "model"
    for frame in case.training:
        if own and calculator.unknown_elements(frozenset(frame.symbols)):
            continue
        yield derived(frame, constraints=False)
        for _ in range(protocol.rattled):
            yield rattled(frame, protocol.rattle_a, rng)


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


def _laws(case: Case[Extrapolation], describe: Describe) -> dict[str, Value]:
    """What holds for any descriptors, on frames that hold all elements of the case."""
    holds = {symbol: frame for frame in reversed(case.frames) for symbol in set(frame.symbols)}
    still = list({id(frame): frame for frame in holds.values()}.values())
    rng = np.random.default_rng(case.protocol.seed)
    moved = [rattled(frame, case.protocol.rattle_a, rng) for frame in still]
    found = describe([*(derived(frame, constraints=False) for frame in still), *moved]).atoms
    changes = list(zip(still, found[: len(still)], found[len(still) :], strict=True))
    richest = max(range(len(still)), key=lambda row: len(set(still[row].symbols)))
    return {
        "blind_elements": _blind(sorted(holds), changes),
        "invariance": _invariance(moved[richest], found[len(still) + richest], describe),
    }


def _blind(elements: Sequence[str], changes: Sequence[tuple[Atoms, Floats, Floats]]) -> Value:
    """The number of elements whose descriptors stay the same when all atoms of a frame are displaced at random."""
    seen: set[str] = set()
    for frame, before, after in changes:
        changed = np.abs(after - before).max(axis=1) > STEADY * np.abs(before).max()
        seen |= set(np.array(frame.get_chemical_symbols())[changed].tolist())
    blind = [element for element in elements if element not in seen]
    note = f"descriptors of {', '.join(blind)} stay the same when all atoms move" if blind else ""
    return Value(value=float(len(blind)), unit=PURE, note=note)


def _invariance(frame: Atoms, own: Floats, describe: Describe) -> Value:
    """The largest change of a descriptor of a frame that is written otherwise, in their spread over its atoms."""
    order = np.random.default_rng(0).permutation(len(frame))
    others = {
        "turned": (derived(frame, turned=Rotation.from_rotvec(TURN).as_matrix()), own),
        "in another order": (derived(frame, order=order.tolist()), own[order]),
    }
    if frame.pbc.any():
        shortest = np.where(frame.pbc, frame.cell.lengths(), np.inf).argmin()
        twice = (1 + (np.arange(3) == shortest)).tolist()
        others["in a doubled cell"] = derived(frame, repeat=twice), np.concatenate([own, own])
    found = describe([other for other, _ in others.values()]).atoms
    off = {how: float(np.abs(each - others[how][1]).max()) for how, each in zip(others, found, strict=True)}
    worst = max(off, key=off.__getitem__)
    spread = float(np.sqrt(own.var(axis=0).mean()))
    if off[worst] > 0 and not spread > 0:
        return not_supplied(PURE, f"they change {worst}, and not at all from atom to atom")
    return Value(value=off[worst] / spread if off[worst] else 0.0, unit=PURE, note=f"largest {worst}")


def _seen_on(case: Case[Extrapolation], learned: Learned, held_out: Value) -> str:
    """What the distances were seen on, and how far their limits can be trusted."""
    copies = case.protocol.rattled
    each = f", each with {copies} copies rattled by {case.protocol.rattle_a:g} A" if copies else ""
    because = f", since {learned.soap_because}" if learned.soap_because else ""
    trust = "" if held_out.value is None else f"; of those held out, {held_out.value:.0f} % lie beyond the limit of Q"
    number = learned.frames // (copies + 1)
    frames = f"{number} frame{'s' * (number != 1)} of {', '.join(learned.files)}" if number else "no frame"
    return f"{learned.name or 'no descriptors'}{because}; training set: {frames}{each}{trust}"


def _found(learned: Learned, spaces: Spaces) -> dict[str, Any]:
    return {
        "descriptors": learned.name,
        "soap_because": learned.soap_because,
        "training_frames": learned.frames,
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
