"""Bands that converge to a known saddle, and bands that explode, each in its own way and called by its name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import ase.build
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from pydantic import ValidationError

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import Case
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.migration.protocols import RelaxedPath
from mlff_probes.measure.migration.relaxed_path import _Path, relaxed_path
from mlff_probes.methods.bands import outcomes
from mlff_probes.methods.bands.interpolation import interpolate_band
from mlff_probes.methods.bands.outcomes import Outcome, Watch
from mlff_probes.methods.bands.relax import BandRun, BandSettings
from mlff_probes.methods.neighbours import closest_pair, widest_gap

HEIGHT = 0.7
STIFF = 4.0
"""eV/A^2: of the springs that hold the host, and the mover on its line."""


class Hop(Calculator):
    """The last atom in a double well along x, 1.5 A to either side; four host atoms on springs. Saddle: 0.7 eV."""

    implemented_properties = ("energy", "forces")

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

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
        bump = 40 * self.scale * np.exp(-((away[-1] ** 2).sum() / 0.3**2))
        forces[-1] += -bump * 2 * away[-1] / 0.3**2
        return -bump


class Runaway(Hop):
    """Off its line the mover is pushed away ever harder."""

    def more(self, away, forces):
        y = away[-1, 1]
        inside = 1 - (away[-1, 0] / 1.5) ** 2
        if inside <= 0.1:
            return 0.0
        push = 3.0 * STIFF * self.scale
        forces[-1, 1] += push * y + 0.3 * self.scale
        return -push * y**2 / 2 - 0.3 * self.scale * y


def near_the_top(away):
    """1 with the mover on top of the barrier, 0 from 0.8 A away, and its slope along x."""
    x = away[-1, 0] / 0.8
    return (1 - x**2) ** 2 if abs(x) < 1 else 0.0


class Fusing(Hop):
    """Near the top the mover is drawn into a host atom."""

    def more(self, away, forces):
        to = HOST[0] - HOST[-1] - away[-1]
        forces[-1] += 25.0 * self.scale * near_the_top(away) * to / np.linalg.norm(to)
        return 0.0


class Parting(Hop):
    """With the mover near the top, a host atom is let go and pushed out."""

    def more(self, away, forces):
        forces[2] += self.scale * near_the_top(away) * (STIFF * away[2] + [0, 0, 1.5])
        return -self.scale * near_the_top(away) * STIFF / 2 * (away[2] ** 2).sum()


class Merged(Hop):
    """The barrier is gone and with it the two minima: a single well, as far as `scale` goes."""

    def more(self, away, forces):
        x = away[-1, 0] / 1.5
        forces[-1, 0] += self.scale * (4 * HEIGHT * x * (x**2 - 1) / 1.5 - STIFF * away[-1, 0])
        return self.scale * (STIFF / 2 * away[-1, 0] ** 2 - HEIGHT * (1 - x**2) ** 2)


class NotANumber(Hop):
    """No number on top of the barrier."""

    def more(self, away, forces):
        return float("nan") if abs(away[-1, 0]) < 0.3 * self.scale else 0.0


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
    "image collapse": Merged,
    "non-finite": NotANumber,
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_explosion_is_called_by_its_name(kind):
    found, result = outcome(FAULTS[kind](), places=(-1.5, 1.5))
    assert found == kind, result.diagnostics
    for name in ("outcome", "barrier", "reverse_barrier", "reaction_energy", "saddle_position", "path_distance"):
        assert result.values[name].value is None
        assert result.values[name].problem.state == "error"
        assert result.values[name].problem.reason.startswith(f"{kind}: ")
    assert result.values["model_calls"].value > 0


MILD = {
    "energy spike": (Hole, 0.005),
    "fmax divergence": (Runaway, 0.05),
    "close contact": (Fusing, 0.05),
    "fragments separated": (Parting, 0.3),
    "image collapse": (Merged, 0.05),
    "non-finite": (NotANumber, 0.0),
}


@pytest.mark.parametrize("kind", MILD)
def test_the_same_model_without_its_fault_converges(kind):
    faulty, scale = MILD[kind]
    found, result = outcome(faulty(scale))
    assert found == "converged", result.diagnostics


def test_a_straight_line_through_another_atom():
    """The classic: interpolated naively, the mover passes through its neighbour."""
    frames = [site(-3.2), site(3.2)]
    for frame in frames:
        frame.append("Te")
        frame.positions[-1] = [5, 5.05, 5]
    straight, round_it = (interpolate_band(frames, 5, idpp=idpp) for idpp in (False, True))
    watch = Watch((0.0, 0.0), straight)
    found = watch.geometry(0, straight)
    assert (found.kind, found.image) == ("close contact", 2)
    assert "Cr 4 and Te 5" in found.reason
    assert watch.geometry(0, round_it) is None


def test_two_images_that_have_become_one():
    band = [site(x) for x in (-1.5, -0.75, 0.0, 0.75, 1.5)]
    watch = Watch((0.0, 0.0), band)
    assert watch.geometry(7, band) is None
    band[2].positions[-1, 0] += 0.7
    found = watch.geometry(7, band)
    assert (found.kind, found.step, found.image) == ("image collapse", 7, 3)
    assert found.reason == "images 2 and 3 have become one"


def test_one_step_too_far_is_no_divergence():
    band = [site(x) for x in (-1.5, 0.0, 1.5)]
    watch = Watch((0.0, 0.0), band)
    energies = np.array([0.0, 0.7, 0.0])
    forces = [0.4, 9.0, 9.0, 0.3, 9.0, 9.0]
    assert [watch.forces(step, energies, fmax) for step, fmax in enumerate(forces)] == [None] * 6
    assert watch.forces(6, energies, 9.0).kind == "fmax divergence"


def test_no_atom_takes_the_long_way_round():
    frames = [Atoms("Cu", positions=[[x, 0, 0]], cell=[10, 10, 10], pbc=True) for x in (9.0, 1.0)]
    band = interpolate_band(frames, 5)
    assert [image.positions[0, 0] for image in band] == pytest.approx([9.0, 9.5, 10.0, 10.5, 11.0])


def test_contacts_and_gaps_of_a_crystal():
    crystal = ase.build.bulk("Cu", cubic=True).repeat(2)
    ratio, _ = closest_pair(crystal)
    assert ratio == pytest.approx(3.61 / np.sqrt(2) / 2.64, abs=1e-3)
    assert widest_gap(crystal) == pytest.approx(ratio)
    slab = ase.build.fcc111("Cu", (2, 2, 2), vacuum=10)
    slab.positions[4:, 2] += 6.0
    assert widest_gap(slab) == pytest.approx(np.hypot(2.084 + 6, 2.553 / np.sqrt(3)) / 2.64, abs=0.01)


class Raises(Hop):
    """Works on the endpoints, and fails on the band."""

    def more(self, away, forces):
        if abs(away[-1, 0]) < 0.3:
            raise RuntimeError("out of memory")
        return 0.0


def test_a_model_that_raises_names_image_and_step():
    measurement = measure_case(as_calculator(Raises()), case_of([site(-1.4), site(1.4)]))
    assert measurement.problem.state == "error"
    assert "image 2 in step 0" in measurement.problem.reason
    assert "RuntimeError: out of memory" in measurement.problem.reason


def test_endpoints_that_relax_into_one():
    kind, result = outcome(Hop(), places=(1.2, 1.6))
    assert kind == "image collapse"
    assert "both endpoints relaxed to the same structure" in result.values["barrier"].problem.reason


def test_a_waypoint_that_rests_on_the_saddle_ends_no_band_and_is_said():
    kind, result = outcome(Hop(), places=(-1.4, 0.0, 1.4))
    assert kind == "converged"
    assert result.values["barrier"].value == pytest.approx(HEIGHT, abs=1e-3)
    assert len(result.arrays["band_steps"]) == 1
    curvature = -4 * HEIGHT / 1.5**2
    assert result.values["barrier"].caveat == (
        f"frame 1 is no minimum: relaxed, it rests on a saddle ({curvature:.2f} eV/A^2 along the path), and its band "
        "leads through it"
    )


def test_a_waypoint_that_relaxes_into_a_site_is_said():
    _, result = outcome(Hop(), places=(-1.4, -0.5, 1.4))
    assert result.values["barrier"].caveat.startswith("frame 1 relaxes into the site before it")
    assert outcome(Hop())[1].values["barrier"].caveat == ""


@pytest.mark.parametrize("late", [(0.5,), (0.4, 0.9), (0.8, 0.0), (0.0, 0.5, 0.9)])
def test_waypoints_beyond_the_saddle_lead_the_band_to_the_last_site(late):
    kind, result = outcome(Hop(), places=(-1.4, *late, 1.4))
    assert kind == "converged"
    assert result.values["barrier"].value == pytest.approx(HEIGHT, abs=1e-3)
    assert len(result.arrays["band_steps"]) == 1
    notes = result.values["barrier"].caveat.split("; ")
    for index, (place, note) in enumerate(zip(late, notes, strict=True), 1):
        what = "relaxes into the site after it" if place else "is no minimum"
        assert note.startswith(f"frame {index} {what}")
        assert note.endswith(", and its band leads through it")


def test_a_path_that_comes_back_to_its_first_site_has_no_barrier():
    for places in ((-1.4, 1.4, -1.6), (-1.4, 1.4, -1.6, -1.5), (-1.4, -1.6, -1.5)):
        kind, result = outcome(Hop(), places=places)
        assert kind == "image collapse"
        assert "both endpoints relaxed to the same structure" in result.values["barrier"].problem.reason


@pytest.mark.parametrize("places", [(0.0, 1.4), (-1.4, 0.0)])
def test_an_endpoint_that_rests_on_a_saddle_has_no_barrier(places):
    kind, result = outcome(Hop(), places=places)
    assert kind == "no minimum"
    reason = result.values["barrier"].problem.reason
    assert reason.startswith(f"no minimum: frame {places.index(0.0)}, relaxed, rests on a saddle (-1.24 eV/A^2")


@pytest.mark.parametrize(("places", "far"), [((-2.3, 1.6), (0,)), ((-1.4, 2.2), (1,)), ((-2.1, 0.5, 2.4), (0, 2))])
def test_a_site_that_relaxes_far_from_where_it_is_stated_is_said_beside_the_numbers(places, far):
    kind, result = outcome(Hop(), places=places)
    assert kind == "converged"
    told = result.values["reaction_energy"].caveat
    ways = re.findall(r"frame (\d) relaxed far: Cr 4 went (\S+) A from where it is stated", told)
    assert tuple(int(index) for index, _ in ways) == far
    assert [float(way) for _, way in ways] == pytest.approx([abs(abs(places[index]) - 1.5) for index in far], abs=0.02)
    for name in ("reverse_barrier", "saddle_position"):
        assert result.values[name].caveat == told
    assert set(told.split("; ")) <= set(result.values["barrier"].caveat.split("; "))


def test_how_far_a_site_goes_is_counted_without_the_drift_of_the_crystal():
    crystal = ase.build.bulk("Cu", cubic=True).repeat(2)
    drifted = crystal.copy()
    drifted.positions += [0.0, 0.9, 0.3]
    path = _Path()
    path.note_way(crystal, drifted, 0)
    assert path.notes == {}
    drifted.positions[5, 2] -= 0.7
    path.note_way(crystal, drifted, 0)
    assert path.notes[0].startswith("relaxed far: Cu 5 went 0.70 A")


def test_a_band_without_a_top_has_no_saddle():
    def run(*energies):
        return BandRun(Outcome("converged", "", 3), [], np.array(energies) - 80.0)

    rising, humped = run(0.0, 0.2, 0.4), run(0.4, 0.9, 0.1)
    assert _Path(runs=[rising]).saddle_problem().kind == "no saddle"
    assert _Path(runs=[run(0.0, 0.4, 0.4 - 1e-6)]).saddle_problem().kind == "no saddle"
    assert _Path(runs=[rising, humped]).saddle_problem() is None


class Kinked(Hop):
    """Beside the sites the mover feels a force that changes its sign at once: a cutoff without a taper."""

    def more(self, away, forces):
        y = away[-1, 1] - 0.03
        forces[-1, 1] -= self.scale * np.sign(y)
        return self.scale * abs(y)


def test_a_site_that_finds_no_rest_where_the_forces_jump_says_so():
    kind, result = outcome(Kinked(0.15), endpoint_steps=40)
    assert kind == "unconverged"
    said = re.search(
        r"frame 0 did not relax to 0.02 eV/A in 40 steps; beside it the forces jump from \+(\d+) to -(\d+) meV/A "
        r"within (\S+) A, so that no optimizer comes to rest",
        result.values["barrier"].problem.reason,
    )
    assert int(said[1]) + int(said[2]) == pytest.approx(300, abs=20)
    assert float(said[3]) < 1e-3


def test_a_site_that_only_lacks_steps_has_no_jump():
    kind, result = outcome(Hop(), endpoint_steps=1)
    assert kind == "unconverged"
    assert result.values["barrier"].problem.reason == "unconverged: frame 0 did not relax to 0.02 eV/A in 1 steps"


def other(change):
    frames = [site(-1.5), site(1.5)]
    change(frames)
    return frames


@pytest.mark.parametrize(
    ("frames", "settings", "says"),
    [
        ([site(-1.5)], {}, "at least 2 images"),
        (other(lambda f: f[1].append("Te")), {}, "frame 1 has 6 atoms, frame 0 has 5"),
        (other(lambda f: f[1].set_atomic_numbers([24, 52, 52, 52, 52])), {}, "other elements, or in another order"),
        (other(lambda f: f[1].set_cell([11, 10, 10])), {}, "must have the same cell"),
        ([site(-1.5), site(-1.5)], {}, "images 0 and 1 are the same structure"),
        ([site(-1.5 + 0.5 * i) for i in range(6)], {}, "images = 5, but 6 frames are given"),
    ],
)
def test_frames_that_are_no_path(frames, settings, says):
    case = case_of(frames, **settings)
    assert says in case.protocol.frame_problem(case.frames)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (-2.5, 2.3, "atom 4 moves by 0.48 of cell vector 1 from image 0 to 1"),
        (-3.0, 3.0, "atom 4 moves by 0.60 of cell vector 1 from image 0 to 1"),
        (-4.6, 4.4, None),  # wrapped at the edge of the cell: one angstrom
        (-1.5, 1.5, None),
    ],
)
def test_a_hop_over_half_the_cell_does_not_say_which_way(start, end, says):
    frames = [site(start), site(end)]
    for frame in frames:
        frame.pbc = True
    problem = case_of(frames).protocol.frame_problem(frames)
    assert problem is None if says is None else says in problem


def test_atoms_without_a_cell_hop_as_far_as_they_like():
    frames = [Atoms("H2", positions=[[0, 0, 0], [x, 0, 0]]) for x in (1.0, 30.0)]
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    assert RelaxedPath(kind="relaxed_path", migrating_atom=1, path_made_by="hand").frame_problem(frames) is None


def test_fewer_than_three_images_are_no_band():
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        case_of([site(-1.5), site(1.5)], images=2)


def test_a_spent_budget_is_unconverged_and_has_no_barrier():
    kind, result = outcome(Hop(), max_steps=2)
    assert kind == "unconverged"
    assert result.values["barrier"].value is None
    assert "after 2 steps" in result.values["barrier"].problem.reason
    assert len(result.arrays["energy_history"]) == 2


def test_the_documentation_names_every_outcome_and_threshold():
    text = (Path(__file__).parents[2] / "docs" / "bands.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert rows.keys() == set(get_args(outcomes.Kind))
    for kind, numbers in {
        "fmax divergence": (outcomes.DIVERGED_EV_A, outcomes.DIVERGED_FACTOR, outcomes.DIVERGED_STEPS),
        "energy spike": (outcomes.SPIKE_EV,),
        "close contact": (outcomes.CONTACT,),
        "image collapse": (outcomes.COLLAPSED,),
        "fragments separated": (outcomes.SEPARATED,),
        "converged": (BandSettings().fmax, BandSettings().saddle_fmax),
        "unconverged": (BandSettings().max_steps,),
    }.items():
        assert all(f"{number:g}" in rows[kind] for number in numbers), kind


def test_neighbours_are_found_without_torch():
    """It takes a second or two to import, and models that do without it should not wait for it."""
    code = (
        "import sys; from ase.build import bulk; from mlff_probes.methods.neighbours import near_pairs\n"
        "print(len(near_pairs(bulk('Cu'), 1.2).first), 'torch' in sys.modules); import torch; print(torch.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["12", "False", "torch"]
