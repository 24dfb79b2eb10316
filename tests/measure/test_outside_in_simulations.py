"""How far a simulation went from training frames: inside where it is like them, outside where it is not."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from faults import load
from sound import Sound

from mlff_probes.cases.load import load_case
from mlff_probes.core.errors import InputError
from mlff_probes.measure.measurement import measure_case
from mlff_probes.session.assemble import trained_on

CASE = """schema_version = 1
title = "copper moves"
tier = "quick"
report = [{report}]

[protocol]
kind = "molecular_dynamics"
ensemble = "NVT"
temperature = {kelvin}
timestep_fs = 5.0
friction_per_fs = 0.05
equilibration_steps = 40
steps = 160
sample_every = 4
seeds = [0, 1]
{table}

[reference]
level_of_theory = "exact"
source = "here"
"""

TABLE = """
[protocol.extrapolation]
training = ["train.extxyz"]
rattled = 80
rattle_a = 0.03
"""


def crystal():
    return bulk("Cu", a=3.407, cubic=True).repeat((2, 1, 1))


def case(folder, *, kelvin=50.0, training=None, table=TABLE, report="'q_beyond', 'q_ratio'"):
    place = folder / "dynamics"
    place.mkdir(exist_ok=True)
    ase.io.write(place / "mine.extxyz", crystal(), format="extxyz")
    ase.io.write(place / "train.extxyz", training or crystal(), format="extxyz")
    file = place / "mine.toml"
    file.write_text(CASE.format(kelvin=kelvin, table=table, report=report))
    return load_case(file)


def test_cold_atoms_stay_within_and_hot_ones_leave(tmp_path):
    cold, hot = (measure_case(load(), case(tmp_path, kelvin=kelvin)) for kelvin in (50.0, 900.0))
    assert cold.values["q_ratio"].value < 1 < hot.values["q_ratio"].value
    assert cold.values["q_beyond"].value < 20 < 80 < hot.values["q_beyond"].value
    assert str(cold.values["q_beyond"].samples) == "60 of 60 evenly spaced frames of the simulation"
    assert cold.values["t2_beyond"].value < hot.values["t2_beyond"].value
    assert cold.values["q_ratio"].caveat.startswith(
        "features; training set: 1 frame of train.extxyz, each with 80 copies"
    )
    assert len(hot.arrays["q_time_ps"]) == len(hot.arrays["q_ratio"]) == 30
    assert max(hot.arrays["q_ratio"]) >= hot.values["q_ratio"].value


def test_without_the_elements_among_the_training_frames_there_is_no_distance(tmp_path):
    other = bulk("Al", a=4.3, cubic=True)
    found = measure_case(load(), case(tmp_path, training=other))
    assert found.values["q_beyond"].problem.state == "not applicable"
    assert found.values["q_ratio"].problem.reason == "Cu: not among the training frames"
    assert "q_time_ps" not in found.arrays


def test_a_case_without_training_frames_has_no_such_quantity(tmp_path):
    with pytest.raises(InputError, match="q_beyond"):
        case(tmp_path, table="")
    assert "q_beyond" not in measure_case(load(), case(tmp_path, table="", report="'temperature'")).values


def test_training_frames_of_the_user_take_the_place_of_those_of_the_case(tmp_path):
    mine = case(tmp_path)
    rng, learned = np.random.default_rng(0), tmp_path / "learned.extxyz"
    frames = []
    for _ in range(30):
        frames.append(crystal())
        frames[-1].positions += 0.3 * rng.normal(size=frames[-1].positions.shape)
    ase.io.write(learned, frames, format="extxyz")
    (given,) = trained_on([mine], [str(learned)])
    theirs, own = (measure_case(load(), each).values["q_ratio"] for each in (given, mine))
    assert theirs.caveat.startswith("features; training set: 30 frames of learned.extxyz; of those held out")
    assert theirs.value < own.value
    bare = case(tmp_path, table="", report="'temperature'")
    assert trained_on([bare], [str(learned)]) == [bare]


class Vanishing(Sound):
    """Its features are NaN; its forces are sound."""

    @staticmethod
    def described(atoms):
        return np.full((len(atoms), 3), np.nan)


def test_features_that_are_nan_cost_no_other_quantity(tmp_path):
    found = measure_case(load(Vanishing), case(tmp_path))
    assert "not finite" in found.values["q_ratio"].problem.reason
    assert found.values["survival"].value == 1


class Bursting(Sound):
    """Atoms push each other apart once they have moved."""

    def evaluated(self, atoms):
        found = super().evaluated(atoms)
        return found | {"forces": found["forces"] - 30 * (atoms.positions - atoms.positions.mean(axis=0))}


def test_what_ends_early_shows_how_it_left_the_training_frames(tmp_path):
    found = measure_case(load(Bursting), case(tmp_path))
    assert found.values["survival"].value < 1
    assert found.values["q_ratio"].value is None
    if found.arrays.get("time_ps", [-1])[-1] > 0:
        assert found.arrays["q_ratio"][-1] > 1
