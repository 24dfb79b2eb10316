"""Every structure that a probe makes of a case's frame asks the model about the same charge, spin and head."""

from __future__ import annotations

import pytest
from ase.build import bulk
from cards import card_of
from faults import load
from sound import Sound

from mlff_probes.core.case import Case
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.measurement import measure_case
from mlff_probes.scorecard.reports import terminal

STATED = {"charge": -2, "spin": 3, "head": "surfaces"}


class Asking(Sound):
    """Insists on charge, spin and head, and notes what it was asked for: (atoms, charge, spin, head)."""

    asked: set[tuple]

    def evaluated(self, atoms):
        spin = atoms.info["spin"] if atoms.info["charge"] else None  # what is made of nothing states none
        self.asked.add((len(atoms), atoms.info["charge"], spin, atoms.info["head"]))
        return super().evaluated(atoms)


def asked_in(kind: str, **protocol) -> set[tuple]:
    """What a model is asked for in a measurement on one anion of four aluminium atoms."""
    frame = bulk("Al", a=4.05, cubic=True)
    frame.rattle(0.03, seed=1)
    frame.info |= {**STATED, "REF_energy": 1.0}
    made = BY_KIND[kind].protocol(kind=kind, **protocol)
    case = Case(
        id="anion", family=made.family, title="anion", tier="quick", protocol=made, frames=(frame,), stored=None,
        level_of_theory="exact", source="exact", expectations=(), reports=("survival",),
    )  # fmt: skip
    noting = type("Noting", (Asking,), {"asked": set()})
    found = measure_case(load(noting), case)
    assert found.problem is None, found.problem
    assert "dropped" not in found.diagnostics
    return noting.asked


ANION = {(4, -2, 3, "surfaces")}
LAW = {"random_structures": False, "examples": 3}
SIMULATION = {
    "ensemble": "NVE", "temperature": 50.0, "timestep_fs": 2.0, "equilibration_steps": 4, "steps": 8, "sample_every": 2,
    "seeds": (0,),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "protocol", "expected"),
    [
        ("derivatives", LAW, ANION),
        ("reproducibility", LAW, ANION),
        ("smoothness", LAW, ANION | {(4, 0, None, "surfaces")}),
        ("short_range_wall", LAW, {(2, 0, None, "surfaces")}),
        ("path_agreement", {}, ANION),
        ("molecular_dynamics", SIMULATION, ANION),
        ("molecular_dynamics", SIMULATION | {"supercell": (2, 1, 1)}, {(8, -4, 5, "surfaces")}),
        ("speed", {"repeats": ((1, 1, 1), (2, 1, 1))}, ANION | {(8, -4, 5, "surfaces")}),
    ],
)
def test_what_the_frame_states_is_asked_for(kind, protocol, expected):
    assert asked_in(kind, **protocol) == expected


def test_symmetry_scales_what_it_repeats():
    asked = asked_in("symmetry", **LAW)
    assert asked > ANION
    assert all((charge, spin) == (-2 * atoms / 4, 2 * atoms / 4 + 1) for atoms, charge, spin, _ in asked)


def test_random_structures_are_neutral():
    asked = asked_in("derivatives", examples=6)
    assert {charge for _, charge, _, _ in asked - ANION} == {0}
    assert {head for *_, head in asked} == {"surfaces"}


def test_what_cannot_be_carried_is_said_once():
    frame = bulk("Al", a=4.05, cubic=True)
    frame.info["charge"] = "unknown"
    protocol = BY_KIND["speed"].protocol(kind="speed", repeats=((1, 1, 1), (2, 1, 1), (2, 2, 1)))
    case = Case(
        id="odd", family="inference", title="odd", tier="quick", protocol=protocol, frames=(frame,), stored=None,
        level_of_theory="exact", source="exact", expectations=(), reports=("latency_4",),
    )  # fmt: skip
    card = card_of([load()], cases=[case], kinds=["speed"])
    said = "charge=unknown: it is no number that could grow with the number of copies"
    assert card.measurements[0].diagnostics["dropped"] == [said]
    text = " ".join(terminal.render(card).split())
    assert text.count(f"note: dropped from structures made of others in odd: {said}") == 1
