"""Distances of frames from training frames in a space of descriptors, and whether these can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value, as_lists
from mlff_probes.core.structures import derived, in_parts, rattled
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.parity.measurement import frame_force_rmse, labelled_forces
from mlff_probes.measure.rank_correlation import rank_correlation
from mlff_probes.measure.representation.maps import AtomSample
from mlff_probes.measure.representation.protocols import OF_ORIGIN, Extrapolation
from mlff_probes.measure.representation.training import (
    PART_ATOMS,
    Describe,
    Far,
    describer,
    distance,
    facts,
    file_of,
    learn,
    seen_on,
)
from mlff_probes.measure.results import Result, not_supplied
from mlff_probes.methods.analysis.subspace import STEADY

Floats = NDArray[np.float64]

TURN = (0.3, 0.5, 0.7)
"""Rotation vector, radians, by which a frame is turned: no symmetry of a crystal."""


def extrapolation(calculator: Calculator, case: Case[Extrapolation], conditions: Conditions = QUIET) -> Result:
    """Measure how far the frames of a case lie from its training frames.

    Descriptors of the atoms of each element in the training frames, standardised, span a principal subspace. A frame
    is as far outside as its farthest atom: `Q / limit`, where the limit holds for an atom with the confidence c^(1/n),
    so that a share c of frames of n atoms like those of training lie within; T^2 likewise (see `Subspace`).

    - `q_beyond`, `t2_beyond` share of frames beyond the limit of Q and of T^2, %;
    - `q_ratio` median over frames of Q / limit;
    - `q_error_correlation` Spearman's rank correlation, over frames, of Q / limit with the root mean square force
      error, which says whether Q tells where this model is wrong;
    - `held_out_beyond` share of training frames beyond the limit of Q that the others have, each part of the training
      frames held out once, %: near 100 (1 - c) where the limit holds;
    - `invariance` largest change of a descriptor under a rotation, another order of the atoms, or a doubling of the
      cell, in the spread of the descriptors over the atoms of a frame: 0 by definition;
    - `blind_elements` elements whose descriptors stay the same when all atoms move: 0, or nothing is seen of them.

    `…_of_o` are over the frames of origin o.
    """
    protocol, calls = case.protocol, Calls()
    describe = describer(calculator, protocol, [*case.training, *case.frames], calls)
    conditions.report("descriptors of the training frames")
    learned = learn(calculator, protocol, case.training, describe)
    conditions.report(f"descriptors of {len(case.frames)} frames")
    spaces = learned.spaces()
    parts, drawn = list[Far](), AtomSample(case.frames, protocol.seed)
    for part in in_parts(case.frames, PART_ATOMS):
        described = describe(part)
        parts.append(spaces.distances(part, described.atoms))
        drawn.take(described)
    far, kept = Far.joined(parts), drawn.map()
    conditions.report(f"forces on {len(case.frames)} frames")
    evaluation = calls.add(evaluate(calculator, case.frames, forces=calculator.supplies("forces")))
    errors = _force_errors(case, evaluation)
    held_out = learned.held_out_beyond()
    values = _of_frames(case, far, errors) | {"held_out_beyond": held_out}
    caveat = seen_on(protocol, learned, held_out)
    values = {name: value.model_copy(update={"caveat": caveat}) for name, value in values.items()}
    values |= _laws(case, describe)
    arrays = _arrays(case, far, evaluation, errors) | (kept.arrays() if kept else {})
    return Result(values, arrays, calls.evaluation(), facts(learned, spaces))


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
    if name == "q_error_correlation":
        if errors is None:
            return not_supplied(unit, "the calculator implements no forces, or no frame is labelled with them")
        return rank_correlation(far.q[known], errors[known], name="Q")
    counts = {why: lacking.count(why) for why in dict.fromkeys(lacking)}
    samples = Samples(used=int(known.sum()), of=int(mine.sum()), what="frames", left_out=counts)
    return Value(value=distance(name, far, known), unit=unit, samples=samples)


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


def _arrays(case: Case[Extrapolation], far: Far, evaluation: Evaluation, errors: Floats | None) -> dict[str, list[Any]]:
    """What is drawn: path, energy and distances of each frame that has these, and force errors of the labelled ones."""
    known = np.flatnonzero(~np.isnan(far.q))
    origins = [str(case.frames[i].info["origin"]) for i in known]
    paths = [file_of(case.frames[i]) for i in known]
    first: dict[str, float] = {}
    energy = [
        float(evaluation.energies[i]) - first.setdefault(p, float(evaluation.energies[i]))
        for i, p in zip(known, paths, strict=True)
    ]
    found: dict[str, list[Any]] = {
        "origin": origins,
        "path": paths,
        "place": [str(case.frames[i].info.get("taken_from", "")).rpartition(":")[2] for i in known],
        "farthest": [far.farthest[i] for i in known],
        **as_lists({"energy": energy, "q_ratio": far.q[known], "t2_ratio": far.t2[known]}),
    }
    if errors is not None:
        labelled = [i for i in known if not np.isnan(errors[i])]
        found["error_origin"] = [str(case.frames[i].info["origin"]) for i in labelled]
        found |= as_lists({"error_q_ratio": far.q[labelled], "force_rmse": errors[labelled]})
    return found
