"""What a parity case of a labelled test set judges: the whole, its elements and its origins, where they are enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlff_probes.cases.frames import CaseFrames
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.records import Value
from mlff_probes.measure.parity.measurement import parity
from mlff_probes.measure.parity.protocols import Parity

JUDGED = ("energy_mae", "energy_rmse", "force_mae", "force_rmse", "stress_mae")
"""Of all frames. A mean cosine is reported: how well that of the labels is known, nobody states."""

JUDGED_OF_PARTS = ("energy_mae", "force_mae", "stress_mae")
"""Of each element and each origin."""

FEWEST = 10
"""What fewer frames than this show of a part is reported: one odd frame would decide."""

MOST_PARTS = 12
"""Origins that get rows of their own, the largest: a scorecard of hundreds of rows is not read."""


@dataclass(frozen=True)
class Part:
    """The frames of one origin: how many of them there are, and what they are like.

    Attributes
    ----------
    name
        Of the origin.
    frames, unlabelled, stressed
        How many are judged, lack labels, and carry a stress.
    sizes
        Fewest and most atoms.
    elements
        Their symbols, sorted.
    force_rms
        Root mean square force component, eV/A: what force errors are to be compared with.
    """

    name: str
    frames: int
    unlabelled: int
    stressed: int
    sizes: tuple[int, int]
    elements: tuple[str, ...]
    force_rms: float


def parts_of(read: CaseFrames) -> tuple[Part, ...]:
    """The origins of a set, the largest first."""
    assert read.stored is not None
    assert read.stored.forces is not None
    rows: dict[str, list[int]] = {}
    for row, frame in enumerate(read.frames):
        rows.setdefault(str(frame.info["origin"]), []).append(row)
    unlabelled = Counter(str(frame.info["origin"]) for frame in read.unlabelled)
    stressed = read.stored.stressed
    parts = []
    for name in dict.fromkeys([*rows, *unlabelled]):
        mine = rows.get(name, [])
        frames = [read.frames[row] for row in mine]
        sizes = [len(frame) for frame in frames]
        squares = [float((read.stored.forces[row] ** 2).sum()) for row in mine]
        parts.append(
            Part(
                name,
                len(mine),
                unlabelled[name],
                int(stressed[mine].sum()) if mine else 0,
                (min(sizes, default=0), max(sizes, default=0)),
                tuple(sorted({symbol for frame in frames for symbol in frame.symbols.species()})),
                float(np.sqrt(sum(squares) / (3 * sum(sizes)))) if mine else float("nan"),
            )
        )
    return tuple(sorted(parts, key=lambda part: -part.frames))


def quantities_of(
    protocol: Parity, read: CaseFrames, parts: Sequence[Part]
) -> tuple[dict[str, str], list[str], list[str]]:
    """What is judged, with its unit, what is reported, and notes on what is not judged and why."""
    assert read.stored is not None
    case = Case(
        id="new", family="parity", title="-", tier="quick", protocol=protocol, frames=read.frames, stored=read.stored,
        level_of_theory="-", source="-", expectations=(), unlabelled=read.unlabelled,
    )  # fmt: skip
    known = parity(case, read.stored).values
    many = _of_many(read, parts)
    judged, reported = dict[str, str](), list[str]()
    for name, unit in protocol.units(read.frames).items():
        metric, element, origin = protocol.split(name)
        whole = not element and not origin
        row = whole or (metric in JUDGED_OF_PARTS and (element in many or origin in many))
        if known[name].value is None or not row:
            continue
        if metric in JUDGED and (whole or many[origin or element]) and _enough(name, known[name], protocol):
            judged[name] = unit
        else:
            reported.append(name)
    notes = [why for name in JUDGED if name not in judged and (why := _not_judged(name, known[name]))]
    if len(parts) > MOST_PARTS:
        notes.append(f"Of {len(parts)} origins, the {MOST_PARTS} largest have rows of their own; all are in the whole.")
    return judged, reported, notes


def _of_many(read: CaseFrames, parts: Sequence[Part]) -> dict[str, bool]:
    """The elements and origins that have rows of their own, and whether they are in enough frames to be judged."""
    elements = Counter(symbol for frame in read.frames for symbol in frame.symbols.species())
    origins = {part.name: part.frames for part in parts[:MOST_PARTS]} if len(parts) > 1 else {}
    return {name: frames >= FEWEST for name, frames in {**elements, **origins}.items()}


def _enough(name: str, value: Value, protocol: Parity) -> bool:
    """Whether a number stands on as many samples as the policy asks for."""
    share = load_policy().minimum_share("parity", protocol.policy_name(name))
    return value.samples is None or share is None or value.samples.share >= share.value


def _not_judged(name: str, value: Value) -> str:
    """Why a quantity of the whole set is not judged; "" for a stress that no frame carries."""
    if value.value is not None:
        return f"{name} is only reported: it stands on {value.samples}."
    if name == "stress_mae" or value.problem is None:
        return ""
    return f"{name} is not measured: {value.problem.reason}."
