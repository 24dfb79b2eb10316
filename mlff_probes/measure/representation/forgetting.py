"""How far the features of a fine-tuned model drifted from those of its foundation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.descriptors import descriptors
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value
from mlff_probes.core.structures import rattled
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.representation.protocols import Forgetting
from mlff_probes.measure.results import Result, missing, not_supplied
from mlff_probes.methods.analysis.similarity import Similarity, linear_cka_interval

Floats = NDArray[np.float64]

UNKNOWN = "with an element that one of both does not know"

NO_FOUNDATION = "nobody says what the model was fine-tuned from; add ,foundation=SPEC to the calculator"

NO_FEATURES = "{} shows no features of its own, and SOAP knows nothing of a model"


def forgetting(calculator: Calculator, case: Case[Forgetting], conditions: Conditions = QUIET) -> Result:
    """Compare the features of a model with those of its foundation, on the atoms of rattled frames.

    - `cka_X` linear CKA (`linear_cka`) of both over the atoms of element X, with an interval from resampling frames: 1
      where one is a rotated and scaled copy of the other, 0 where they have nothing in common;
    - `drift_X` mean over these atoms of the distance of both features, in the spread of the foundation's (root mean
      square distance from their mean): 0 where nothing changed, about 1.4 where the one says nothing of the other. It
      asks for features of the same neurons, as fine-tuning leaves them;
    - `cka_of_o`, `drift_of_o` of the element of the frames of origin o for which it is lowest, or largest; `cka` and
      `drift` of all frames.
    """
    units, calls = case.protocol.units(case.frames), Calls()
    foundation = calculator.foundation
    if foundation is None:
        return _nothing(units, calls, NO_FOUNDATION, by_nature=True)
    for model in (calculator, foundation):
        if model.features is None:
            return _nothing(units, calls, NO_FEATURES.format(model.label))
    frames = [f for f in case.frames if not _unknown(f, calculator, foundation)]
    if not frames:
        return _nothing(units, calls, f"all frames are {UNKNOWN}")
    rng = np.random.default_rng(case.protocol.seed)
    moved = [rattled(frame, case.protocol.rattle_a, rng) for frame in frames]
    found = []
    for model in (calculator, foundation):
        conditions.report(f"features of {model.label} on {len(frames)} frames")
        found.append(descriptors(model, moved))
        calls.add(found[-1].evaluation)
    both = Both.of(frames, found[0].atoms, found[1].atoms)
    values = {name: _value(name, both, case, frames) for name in units}
    return Result(values, {}, calls.evaluation(), {"descriptors": found[0].name, "foundation": foundation.label})


@dataclass(frozen=True)
class Both:
    """The atoms of some frames: element, frame, origin, and the features of a model and of its foundation."""

    symbols: NDArray[np.str_]
    frames: NDArray[np.int_]
    origins: NDArray[np.str_]
    own: Floats
    theirs: Floats

    @classmethod
    def of(cls, frames: Sequence[Atoms], own: Sequence[Floats], theirs: Sequence[Floats]) -> Both:
        """Those of frames, from the features of the atoms of each."""
        sizes = [len(frame) for frame in frames]
        symbols = np.array([symbol for frame in frames for symbol in frame.get_chemical_symbols()])
        origins = np.repeat([str(frame.info["origin"]) for frame in frames], sizes)
        rows = np.repeat(np.arange(len(frames)), sizes)
        return cls(symbols, rows, origins, np.concatenate(own), np.concatenate(theirs))

    def part(self, symbol: str, origin: str = "") -> Both:
        """The atoms of an element, in the frames of an origin; "" for all."""
        mine = (self.symbols == symbol) & ((self.origins == origin) if origin else True)
        return Both(self.symbols[mine], self.frames[mine], self.origins[mine], self.own[mine], self.theirs[mine])

    def drift(self) -> float:
        """The mean distance of both features, in the spread of the foundation's.

        Raises
        ------
        ValueError
            If they have different numbers of features, or the foundation's do not vary.
        """
        if self.own.shape != self.theirs.shape:
            raise ValueError(f"{self.own.shape[1]} features here and {self.theirs.shape[1]} there")
        spread = float(np.sqrt(((self.theirs - self.theirs.mean(axis=0)) ** 2).sum(axis=1).mean()))
        if not spread > 0:
            raise ValueError("the features of the foundation do not vary")
        return float(np.linalg.norm(self.own - self.theirs, axis=1).mean()) / spread

    def cka(self, seed: int) -> Similarity:
        """How alike both features are; raises `ValueError` as `linear_cka_interval`."""
        return linear_cka_interval(self.own, self.theirs, self.frames, seed=seed)


def _value(name: str, both: Both, case: Case[Forgetting], known: Sequence[Atoms]) -> Value:
    """One quantity: of an element, or of the element that changed most."""
    what, _, rest = name.partition("_")
    origin = rest.removeprefix("of_") if rest.startswith("of_") else ""
    element = "" if origin else rest
    asked, used = ([f for f in some if _belongs(f, element, origin)] for some in (case.frames, known))
    symbols = [element] if element else sorted({symbol for frame in used for symbol in set(frame.symbols)})
    found, why = list[tuple[float, float | None, str]](), list[str]()
    for symbol in symbols if used else ():
        part = both.part(symbol, origin)
        try:
            found.append((*_number(what, part, case.protocol.seed), symbol))
        except ValueError as error:
            why.append(f"{symbol}: {error}")
    if not found:
        return missing(PURE, "; ".join(why) or f"each of its {len(asked)} frames is one {UNKNOWN}", unresolved=True)
    value, uncertainty, symbol = (max if what == "drift" else min)(found)
    most = f"that of {symbol}, the {'largest' if what == 'drift' else 'lowest'} of {', '.join(symbols)}"
    caveat = "; ".join([most] * (len(symbols) > 1) + why)
    left_out = {UNKNOWN: len(asked) - len(used)} if len(used) < len(asked) else {}
    samples = Samples(used=len(used), of=len(asked), what="frames", left_out=left_out, by_nature=tuple(left_out))
    return Value(value=value, unit=PURE, uncertainty=uncertainty, samples=samples, caveat=caveat)


def _number(what: str, part: Both, seed: int) -> tuple[float, float | None]:
    """CKA or drift of some atoms, and half the width of its interval, if it has one."""
    if what == "drift":
        return part.drift(), None
    cka = part.cka(seed)
    return cka.value, max(cka.high - cka.value, cka.value - cka.low)


def _belongs(frame: Atoms, element: str, origin: str) -> bool:
    """Whether a frame holds an element, or is of an origin; "" for any."""
    return (not element or element in frame.get_chemical_symbols()) and origin in ("", str(frame.info["origin"]))


def _nothing(units: dict[str, str], calls: Calls, why: str, *, by_nature: bool = False) -> Result:
    return Result(
        {name: not_supplied(u, why, by_nature=by_nature) for name, u in units.items()}, {}, calls.evaluation()
    )


def _unknown(frame: Atoms, *models: Calculator) -> bool:
    return any(model.unknown_elements(frozenset(frame.symbols)) for model in models)
