"""Training frames, the subspaces of the descriptors of their atoms, and how far other frames lie outside these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.descriptors import Descriptors, descriptors
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.records import Samples, Value
from mlff_probes.core.structures import derived, in_parts, rattled
from mlff_probes.measure.representation.protocols import SHARE, TrainingSet
from mlff_probes.measure.results import not_supplied
from mlff_probes.methods.analysis.subspace import NoSubspaceError, Subspace, Training

Floats = NDArray[np.float64]

FOLDS = 5
"""Parts of the training frames, each of which is once held against the others."""

PERCENT = 100.0

PART_ATOMS = 20_000
"""Atoms that are described together, which bounds memory (to 0.3 GB for SOAP of three elements), and of which the
descriptors are kept to be held out."""

Describe = Callable[[Sequence[Atoms]], Descriptors]


def describer(calculator: Calculator, protocol: TrainingSet, frames: Sequence[Atoms], calls: Calls) -> Describe:
    """What describes frames of the elements of `frames`, and adds to `calls` what it takes."""
    elements = sorted({symbol for frame in frames for symbol in frame.symbols})
    ask = partial(descriptors, calculator, which=protocol.descriptors, elements=elements)

    def describe(some: Sequence[Atoms]) -> Descriptors:
        found = ask(some)
        calls.add(found.evaluation)
        return found

    return describe


def learn(calculator: Calculator, protocol: TrainingSet, training: Sequence[Atoms], describe: Describe) -> Learned:
    """The atoms of training frames and of their rattled copies."""
    learned = Learned(protocol)
    for part in in_parts(_with_copies(calculator, protocol, training), PART_ATOMS):
        learned.add(part, describe(part))
    return learned


def share_beyond(ratios: Floats) -> float:
    """The share of frames beyond their limit, %, from distances over limits."""
    return PERCENT * float((ratios > 1).mean())


def distance(name: str, far: Far, known: NDArray[np.bool_]) -> float:
    """`q_beyond`, `t2_beyond` (shares, %) or `q_ratio` (median) of some frames."""
    if name == "q_ratio":
        return float(np.median(far.q[known]))
    return share_beyond((far.q if name == "q_beyond" else far.t2)[known])


@dataclass(frozen=True)
class Far:
    """How far frames lie outside, by frame: Q and T^2 over their limits, NaN with the reason where they have none.

    `farthest` is the atom with the largest Q over its limit, as "Te 17" (symbol and number in the frame).
    """

    q: Floats
    t2: Floats
    why_not: tuple[str, ...]
    farthest: tuple[str, ...]

    @classmethod
    def joined(cls, some: Sequence[Far]) -> Far:
        """Those of some frames, and those of the frames after them."""
        q, t2 = (np.concatenate([np.empty(0), *each]) for each in ([f.q for f in some], [f.t2 for f in some]))
        why_not, farthest = (tuple(chain(*each)) for each in ([f.why_not for f in some], [f.farthest for f in some]))
        return cls(q, t2, why_not, farthest)


@dataclass(frozen=True)
class Spaces:
    """The subspace of each element, or why it has none."""

    by_element: Mapping[str, Subspace]
    why_not: Mapping[str, str]
    confidence: float

    @classmethod
    def of(cls, training: Mapping[str, Training], protocol: TrainingSet) -> Spaces:
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
        q, t2, why, farthest = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Far(np.array(q), np.array(t2), why, farthest)

    def _frame(self, frame: Atoms, atoms: Floats) -> tuple[float, float, str, str]:
        """Q and T^2 of the farthest atom of a frame over its limits, or why there are none, and which atom it is."""
        symbols = np.array(frame.get_chemical_symbols())
        elements = [str(symbol) for symbol in np.unique(symbols)]
        reasons = [
            self.why_not.get(e, f"{e}: not among the training frames") for e in elements if e not in self.by_element
        ]
        if reasons:
            return np.nan, np.nan, "; ".join(reasons), ""
        confidence = self.confidence ** (1 / len(frame))
        ratios = np.zeros((2, len(frame)))
        for element in elements:
            space = self.by_element[element]
            limits = space.q_limit(confidence), space.t2_limit(confidence)
            ratios[:, symbols == element] = [
                d / limit for d, limit in zip(space.distances(atoms[symbols == element]), limits, strict=True)
            ]
        atom = int(ratios[0].argmax())
        return float(ratios[0].max()), float(ratios[1].max()), "", f"{symbols[atom]} {atom}"


class Learned:
    """The atoms of training frames, which come in parts: all of them, and `FOLDS` times all but one part in so many."""

    def __init__(self, protocol: TrainingSet) -> None:
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
            self.files[file_of(frame)] = None
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
        return Value(value=share_beyond(known), unit=SHARE, samples=samples)


def _with_copies(calculator: Calculator, protocol: TrainingSet, training: Sequence[Atoms]) -> Iterator[Atoms]:
    """The training frames whose elements the model knows, and rattled copies of them."""
    rng = np.random.default_rng(protocol.seed)
    own = calculator.features is not None and protocol.descriptors == "model"
    for frame in training:
        if own and calculator.unknown_elements(frozenset(frame.symbols)):
            continue
        yield derived(frame, constraints=False)
        for _ in range(protocol.rattled):
            yield rattled(frame, protocol.rattle_a, rng)


def seen_on(protocol: TrainingSet, learned: Learned, held_out: Value) -> str:
    """What distances were seen on, and how far their limits can be trusted."""
    copies = protocol.rattled
    each = f", each with {copies} copies rattled by {protocol.rattle_a:g} A" if copies else ""
    because = f", since {learned.soap_because}" if learned.soap_because else ""
    trust = "" if held_out.value is None else f"; of those held out, {held_out.value:.0f} % lie beyond the limit of Q"
    number = learned.frames // (copies + 1)
    frames = f"{number} frame{'s' * (number != 1)} of {', '.join(learned.files)}" if number else "no frame"
    return f"{learned.name or 'no descriptors'}{because}; training set: {frames}{each}{trust}"


def facts(learned: Learned, spaces: Spaces) -> dict[str, Any]:
    """What is kept of the subspaces, as the diagnostics of a measurement."""
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


def file_of(frame: Atoms) -> str:
    """The file that a frame was read from."""
    return str(frame.info.get("taken_from", "unnamed frames")).rpartition(":")[0] or "unnamed frames"
