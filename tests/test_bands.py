"""Bands that converge to a known saddle, and bands that explode, each in its own way and called by its name."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from scipy.interpolate import PchipInterpolator

from mlff_probes.bands.interpolation import interpolate_band
from mlff_probes.bands.outcomes import Watch, closest_contact, widest_gap
from mlff_probes.bands.relax import BandSettings, Calls
from mlff_probes.calculators.base import as_calculator
from mlff_probes.measure.relaxed import relaxed_path
from mlff_probes.protocols import RelaxedPath
from mlff_probes.records import Case

HEIGHT = 0.7
STIFF = 4.0
"""eV/A^2: of the springs that hold the host, and the mover on its line."""


class Hop(Calculator):
    """The last atom in a double well along x, 1.5 A to either side; four host atoms on springs. Saddle: 0.7 eV."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - HOST
        x = away[-1, 0] / 1.5
        forces = -STIFF * away
        forces[-1, 0] = 4 * HEIGHT * x * (1 - x**2) / 1.5
        energy = HEIGHT * (1 - x**2) ** 2 + STIFF / 2 * ((away**2).sum() - away[-1, 0] ** 2)
        self.results = {"energy": energy + self.more(away, forces), "forces": forces}

    def more(self, away, forces):
        """What a fault adds: an energy, and forces in place."""
        return 0.0


HOST = np.array([[5, 8, 5], [5, 2, 5], [5, 5, 8], [5, 5, 2], [5, 5, 5]], dtype=float)


def site(x, y=0.0):
    atoms = Atoms("Te4Cr", positions=HOST, cell=[10, 10, 10], pbc=False)
    atoms.positions[-1] += [x, y, 0]
    return atoms


class Hole(Hop):
    """A hole in the model: on top of the barrier the energy falls 40 eV."""

    def more(self, away, forces):
        bump = 40 * np.exp(-((away[-1] ** 2).sum() / 0.3**2))
        forces[-1] += -bump * 2 * away[-1] / 0.3**2
        return -bump


class Runaway(Hop):
    """Off its line the mover is pushed away ever harder."""

    def more(self, away, forces):
        y = away[-1, 1]
        inside = 1 - (away[-1, 0] / 1.5) ** 2
        if inside <= 0.1:
            return 0.0
        push = 3.0 * STIFF
        forces[-1, 1] += push * y + 0.3
        return -push * y**2 / 2 - 0.3 * y


def near_the_top(away):
    """1 with the mover on top of the barrier, 0 from 0.8 A away, and its slope along x."""
    x = away[-1, 0] / 0.8
    return (1 - x**2) ** 2 if abs(x) < 1 else 0.0


class Fusing(Hop):
    """Near the top the mover is drawn into a host atom."""

    def more(self, away, forces):
        to = HOST[0] - HOST[-1] - away[-1]
        forces[-1] += 25.0 * near_the_top(away) * to / np.linalg.norm(to)
        return 0.0


class Parting(Hop):
    """With the mover near the top, a host atom is let go and pushed out."""

    def more(self, away, forces):
        forces[2] += near_the_top(away) * (STIFF * away[2] + [0, 0, 1.5])
        return -near_the_top(away) * STIFF / 2 * (away[2] ** 2).sum()


class Cliff(Hop):
    """The energy rises slowly and falls off a cliff just before the third inner image, which the climber reaches."""

    profile = PchipInterpolator([-1.6, -1.5, -1.0, 0.735, 0.745, 1.5, 1.6], [0.05, 0, 0.1, 1.2, 0.15, 0, 0.05])

    def more(self, away, forces):
        x = away[-1, 0]
        own = HEIGHT * (1 - (x / 1.5) ** 2) ** 2
        forces[-1, 0] = -float(self.profile(x, 1))
        return float(self.profile(x)) - own


class NotANumber(Hop):
    """No number on top of the barrier."""

    def more(self, away, forces):
        return float("nan") if abs(away[-1, 0]) < 0.3 else 0.0


def case_of(frames, **protocol):
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    settings = {"images": 5, "fmax": 0.02, **protocol}
    return Case(
        id="hop", family="migration", title="A hop", tier="quick", frames=tuple(frames), stored=None,
        protocol=RelaxedPath(kind="relaxed_path", migrating_atom=4, path_made_by="hand", **settings),
        level_of_theory="none", source="test", expectations=(), reports=("barrier",),
    )  # fmt: skip


def outcome(calculator, places=(-1.4, 1.4), **protocol):
    result = relaxed_path(as_calculator(calculator), case_of([site(x) for x in places], **protocol))
    return result.diagnostics["outcome"], result


def test_a_sound_model_converges_to_the_known_saddle():
    kind, result = outcome(Hop())
    assert kind == "converged"
    values = {name: value.value for name, value in result.values.items()}
    assert values["outcome"] == 1.0
    assert values["barrier"] == pytest.approx(HEIGHT, abs=1e-3)
    assert values["reverse_barrier"] == pytest.approx(HEIGHT, abs=1e-3)
    assert values["reaction_energy"] == pytest.approx(0.0, abs=1e-3)
    assert values["saddle_position"] == pytest.approx(0.5, abs=0.02)
    assert values["model_calls"] == result.evaluation.calls > 5
    steps = len(result.arrays["energy_history"])
    assert len(result.arrays["fmax_history"]) == steps
    assert [len(result.arrays["energy_history"][0]), len(result.arrays["fmax_history"][0])] == [5, 3]


FAULTS = {
    "energy spike": Hole,
    "fmax divergence": Runaway,
    "close contact": Fusing,
    "fragments separated": Parting,
    "image collapse": Cliff,
    "non-finite": NotANumber,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_explosion_is_called_by_its_name(kind):
    weak = {"spring_ev_a2": 1e-4, "places": (-1.5, -0.75, 0, 0.75, 1.5)} if kind == "image collapse" else {}
    found, result = outcome(FAULTS[kind](), **weak)
    assert found == kind, result.diagnostics
    for name in ("outcome", "barrier", "reverse_barrier", "reaction_energy", "saddle_position", "path_distance"):
        assert result.values[name].value is None
        assert result.values[name].problem.state == "error"
        assert result.values[name].problem.reason.startswith(f"{kind}: ")
    assert result.values["model_calls"].value > 0


def test_a_spent_budget_is_unconverged_and_has_no_barrier():
    kind, result = outcome(Hop(), max_steps=2)
    assert kind == "unconverged"
    assert result.values["barrier"].value is None
    assert "after 2 steps" in result.values["barrier"].problem.reason
    assert len(result.arrays["energy_history"]) == 2
