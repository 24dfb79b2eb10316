"""What fine-tuning moved: the features of a model, its energies and its forces, against those of its foundation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.descriptors import Descriptors, descriptors
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value, as_lists
from mlff_probes.core.structures import derived, rattled
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.representation.protocols import Forgetting, parts_of
from mlff_probes.measure.results import Result, missing, not_supplied
from mlff_probes.methods.analysis.similarity import Similarity, linear_cka_interval, within_groups

Floats = NDArray[np.float64]

UNKNOWN = "with an element that one of both does not know"

NO_FOUNDATION = "nobody says what the model was fine-tuned from; add ,foundation=SPEC to the calculator"

NO_FEATURES = "{} shows no features of its own, and SOAP knows nothing of a model"

NO_FORCES = "{} implements no forces"

MEV = 1000.0

Number = Callable[[str, str, str], tuple[float, float | None]]
"""(what, element, origin) -> CKA or drift of these atoms, and half the width of its interval."""


def forgetting(calculator: Calculator, case: Case[Forgetting], conditions: Conditions = QUIET) -> Result:
    """Compare a model with its foundation on the atoms of rattled frames.

    Its features, where both show any:

    - `cka_X` linear CKA (`linear_cka`) of both over the atoms of element X, with an interval from resampling frames: 1
      where one is a rotated and scaled copy of the other, 0 where they have nothing in common;
    - `drift_X` mean over these atoms of the distance of both features, in the spread of the foundation's (root mean
      square distance from the mean of the element): 0 where nothing changed, about 1.4 where the one says nothing of
      the other. It asks for features of the same neurons, as fine-tuning leaves them;
    - `cka_of_o`, `drift_of_o` of the element of the frames of origin o for which it is lowest, or largest; `cka` and
      `drift` of all frames. Elements of few frames are taken together, each about its own mean.

    What it makes of them:

    - `force_change`, `force_change_of_o`, `force_change_X` root mean square difference of both forces, component by
      component, meV/A;
    - `energy_change`, `energy_change_of_o` root mean square difference, over frames, of what both say the rattling
      costs, meV/atom: energies of isolated atoms, which fine-tuning often changes, have no part in it.
    """
    units, foundation = case.protocol.units(case.frames), calculator.foundation
    if foundation is None:
        return _nothing(units, NO_FOUNDATION)
    models = calculator, foundation
    if all(_unknown(frame, *models) for frame in case.frames):
        return _nothing(units, f"all frames are {UNKNOWN}", by_nature=False)
    pair = Pair.of(models, case, conditions)

    @cache  # an interval is had once, whichever quantities it is for
    def number(what: str, part: str, origin: str) -> tuple[float, float | None]:
        assert pair.described is not None
        return _number(what, pair.described.part(pair.atoms(part, origin)), case.protocol.seed)

    values = {name: _value(name, unit, pair, case, number) for name, unit in units.items()}
    said = {"foundation": foundation.label} | ({"descriptors": pair.features} if pair.features else {})
    return Result(values, pair.arrays(), pair.evaluation, said)


@dataclass(frozen=True)
class Both:
    """Some numbers of the atoms of some frames, one row an atom: those of a model and those of its foundation.

    Any model tells one element from another: alike are those that tell atoms of one element apart alike.
    """

    frames: NDArray[np.int_]
    symbols: NDArray[np.str_]
    own: Floats
    theirs: Floats

    def part(self, mine: NDArray[np.bool_]) -> Both:
        """Those of some atoms."""
        return Both(self.frames[mine], self.symbols[mine], self.own[mine], self.theirs[mine])

    def columns(self, own: slice, theirs: slice) -> Both:
        """Some of the numbers of each atom."""
        return Both(self.frames, self.symbols, self.own[:, own], self.theirs[:, theirs])

    def drift(self) -> float:
        """The mean distance of both, in the spread of the foundation's within each element.

        Raises
        ------
        ValueError
            If they have different numbers of features, or the foundation's do not vary.
        """
        if self.own.shape != self.theirs.shape:
            raise ValueError(f"{self.own.shape[1]} features here and {self.theirs.shape[1]} there")
        spread = float(np.sqrt((within_groups(self.theirs, self.symbols) ** 2).sum(axis=1).mean()))
        if not spread > 0:
            raise ValueError("the features of the foundation do not vary")
        return float(np.linalg.norm(self.own - self.theirs, axis=1).mean()) / spread

    def cka(self, seed: int) -> Similarity:
        """How alike both are within each element; raises `ValueError` as `linear_cka_interval`."""
        own, theirs = (within_groups(rows, self.symbols) for rows in (self.own, self.theirs))
        return linear_cka_interval(own, theirs, self.frames, seed=seed)

    def difference(self) -> float:
        """The root mean square difference of both, number by number."""
        return float(np.sqrt(((self.own - self.theirs) ** 2).mean()))


@dataclass(frozen=True)
class Pair:
    """What a model and its foundation say of some frames.

    Attributes
    ----------
    foundation
        The name of what the model is compared with.
    known
        The frames whose elements both know.
    part_of
        By origin, "" for all: `parts_of` its frames in the case.
    symbols, origins
        Of each atom: its element; the origin of its frame.
    described, forces
        Features and forces, eV/A, of the atoms; None where one of both has none.
    energies
        Energy that the rattling costs, eV/atom, one row a frame.
    why_not
        Why there are no features, or no forces.
    features
        What the features are; empty where there are none.
    layers
        By the name of a layer that both have, its columns here and there.
    seed
        Of the halves from which intervals are had.
    evaluation
        What both were asked.
    """

    foundation: str
    known: tuple[Atoms, ...]
    part_of: dict[str, dict[str, str]]
    symbols: NDArray[np.str_]
    origins: NDArray[np.str_]
    described: Both | None
    forces: Both | None
    energies: Both
    why_not: dict[str, str]
    features: str
    layers: dict[str, tuple[slice, slice]]
    seed: int
    evaluation: Evaluation

    @classmethod
    def of(cls, models: tuple[Calculator, Calculator], case: Case[Forgetting], conditions: Conditions) -> Pair:
        """Ask a model and its foundation of the frames of a case whose elements both know, as they are and rattled."""
        calls, rng = Calls(), np.random.default_rng(case.protocol.seed)
        all_moved = [rattled(frame, case.protocol.rattle_a, rng) for frame in case.frames]  # the same for all models
        known = [row for row, frame in enumerate(case.frames) if not _unknown(frame, *models)]
        frames, moved = ([some[row] for row in known] for some in (case.frames, all_moved))
        still = [derived(frame, constraints=False) for frame in frames]
        by_origin: dict[str, list[Atoms]] = {"": list(case.frames)}
        for frame in case.frames:
            by_origin.setdefault(str(frame.info["origin"]), []).append(frame)
        sizes = np.array([len(frame) for frame in frames])
        featureless = [model.label for model in models if model.features is None]
        forceless = [model.label for model in models if not model.supplies("forces")]
        why_not = {"features": NO_FEATURES.format(featureless[0])} if featureless else {}
        why_not |= {"forces": NO_FORCES.format(forceless[0])} if forceless else {}
        found, forces, costs = list[Descriptors](), list[Any](), list[Floats]()
        for model in models:
            conditions.report(f"{model.label} on {len(frames)} frames")
            if not featureless:
                found.append(descriptors(model, moved))
                calls.add(found[-1].evaluation)
            after = calls.add(evaluate(model, moved, forces=not forceless))
            forces.append(after.forces)
            before = calls.add(evaluate(model, still, forces=False))
            costs.append((after.energies - before.energies) / sizes)
        rows = np.repeat(np.arange(len(frames)), sizes)
        symbols = np.array([symbol for frame in frames for symbol in frame.get_chemical_symbols()])
        shared = [name for name in found[0].layers if name in found[1].layers] if found else []
        return cls(
            models[1].label,
            tuple(frames),
            {origin: parts_of(some) for origin, some in by_origin.items()},
            symbols,
            np.repeat([str(frame.info["origin"]) for frame in frames], sizes),
            Both(rows, symbols, *(np.concatenate(each.atoms) for each in found)) if found else None,
            None if forceless else Both(rows, symbols, *(np.concatenate(each) for each in forces)),
            Both(np.arange(len(frames)), np.full(len(frames), ""), *(cost[:, None] for cost in costs)),
            why_not,
            "" if featureless else found[0].name,
            {name: (found[0].layers[name], found[1].layers[name]) for name in shared},
            case.protocol.seed,
            calls.evaluation(),
        )

    def atoms(self, part: str, origin: str) -> NDArray[np.bool_]:
        """Which atoms are of an element, in the frames of an origin; "" for all."""
        found: NDArray[np.bool_] = np.full(len(self.symbols), True)
        if part:
            found &= np.isin(self.symbols, [s for s, its_part in self.part_of[origin].items() if its_part == part])
        return found & ((self.origins == origin) if origin else True)

    def parts(self, origin: str) -> list[str]:
        """The elements of the frames of an origin, by their names in `part_of`."""
        held = set(self.symbols[self.atoms("", origin)].tolist())
        return sorted({part for symbol, part in self.part_of[origin].items() if symbol in held})

    def arrays(self) -> dict[str, list[Any]]:
        """What is drawn: CKA and drift of each element in each layer, and by how much the forces on a frame changed."""
        found: dict[str, list[Any]] = {}
        if self.described is not None:
            found |= {name: [] for name in ("layer", "element", "cka", "cka_half_width", "drift")}
            for layer, part in product(self.layers, self.parts("")):
                both = self.described.columns(*self.layers[layer]).part(self.atoms(part, ""))
                row: list[Any] = [layer, part, None, None, None]  # no number where there is none
                with suppress(ValueError):
                    row[2:4] = _number("cka", both, self.seed)
                with suppress(ValueError):
                    row[4] = both.drift()
                for name, number in zip(found, row, strict=True):
                    found[name].append(number)
        if self.forces is not None:
            changes = [self.forces.part(self.forces.frames == row).difference() for row in range(len(self.known))]
            found["frame"] = [str(frame.info.get("formula", frame.info["taken_from"])) for frame in self.known]
            found |= as_lists({"force_change": MEV * np.array(changes)})
        return found


def _value(name: str, unit: str, pair: Pair, case: Case[Forgetting], number: Number) -> Value:
    """One quantity: of an element, of an origin, or of all."""
    what = next(each for each in Forgetting.quantities if name.startswith(each))
    rest = name.removeprefix(what).removeprefix("_")
    origin = rest.removeprefix("of_") if rest.startswith("of_") else ""
    part = "" if origin else rest
    asked, used = ([f for f in some if _belongs(f, part, origin, pair)] for some in (case.frames, pair.known))
    if not used:
        return missing(unit, f"each of its {len(asked)} frames is one {UNKNOWN}", unresolved=True)
    left_out = {UNKNOWN: len(asked) - len(used)} if len(used) < len(asked) else {}
    samples = Samples(used=len(used), of=len(asked), what="frames", left_out=left_out, by_nature=tuple(left_out))
    if what in ("cka", "drift"):
        found = _of_features(what, pair, part, origin, number)
    elif what == "energy_change":
        rows = np.array([_belongs(frame, part, origin, pair) for frame in pair.known])
        found = Value(value=MEV * pair.energies.part(rows).difference(), unit=unit)
    elif pair.forces is None:
        found = not_supplied(unit, pair.why_not["forces"])
    else:
        found = Value(value=MEV * pair.forces.part(pair.atoms(part, origin)).difference(), unit=unit)
    if found.value is None:
        return found
    return found.model_copy(update={"samples": samples, "note": f"against {pair.foundation}"})


def _of_features(what: str, pair: Pair, part: str, origin: str, number: Number) -> Value:
    """CKA or drift of an element, or of the element that changed most."""
    if pair.described is None:
        return not_supplied(PURE, pair.why_not["features"])
    parts = [part] if part else pair.parts(origin)
    found, why = list[tuple[float, float | None, str]](), list[str]()
    for each in parts:
        try:
            found.append((*number(what, each, origin), each))
        except ValueError as error:
            why.append(f"{each}: {error}")
    if not found:
        return missing(PURE, "; ".join(why), unresolved=True)
    value, uncertainty, which = (max if what == "drift" else min)(found)
    most = f"that of {which}, the {'largest' if what == 'drift' else 'lowest'} of {', '.join(parts)}"
    return Value(value=value, unit=PURE, uncertainty=uncertainty, caveat="; ".join([most] * (len(parts) > 1) + why))


def _number(what: str, part: Both, seed: int) -> tuple[float, float | None]:
    """CKA or drift of some atoms, and half the width of its interval, if it has one."""
    if what == "drift":
        return part.drift(), None
    cka = part.cka(seed)
    return cka.value, max(cka.high - cka.value, cka.value - cka.low)


def _belongs(frame: Atoms, part: str, origin: str, pair: Pair) -> bool:
    """Whether a frame holds an element, or is of an origin; "" for any."""
    held = {pair.part_of[""][symbol] for symbol in frame.symbols} if part else {""}
    return part in held and origin in ("", str(frame.info["origin"]))


def _nothing(units: dict[str, str], why: str, *, by_nature: bool = True) -> Result:
    values = {name: not_supplied(unit, why, by_nature=by_nature) for name, unit in units.items()}
    return Result(values, {}, Calls().evaluation())


def _unknown(frame: Atoms, *models: Calculator) -> bool:
    return any(model.unknown_elements(frozenset(frame.symbols)) for model in models)
