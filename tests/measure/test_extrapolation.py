"""Distances from training frames, on features with a known answer; what cannot be had says why."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from faults import load
from sound import Sound

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.core.errors import InputError
from mlff_probes.measure.measurement import measure_case

HEAD = """schema_version = 1
title = "aluminium and copper"
tier = "quick"
report = ["q_beyond"]

[protocol]
kind = "extrapolation"
training = {training}
rattled = {rattled}
{more}

[reference]
level_of_theory = "PBE"
source = "the sound calculator of the tests"
"""


def crystal(symbol="Al", *, strain=0.0, rattle=0.05, seed=0, origin="near", labelled=True):
    found = bulk(symbol, a={"Al": 4.3, "Cu": 3.4}[symbol] * (1 + strain), cubic=True)
    found.rattle(rattle, seed=seed)
    found.info["origin"] = origin
    if labelled:
        found.calc = Sound()
        found.get_forces()
    return found


def write_case(folder, frames, *, training=None, rattled=50, more=""):
    place = folder / "representation"
    place.mkdir(exist_ok=True)
    for name, some in {"mine": frames, "train": training or [crystal(rattle=0.0)]}.items():
        ase.io.write(place / f"{name}.extxyz", some, format="extxyz")
    file = place / "mine.toml"
    file.write_text(HEAD.format(training=["train.extxyz"], rattled=rattled, more=more))
    return load_case(file)


class Noisy(Sound):
    """Forces are wrong by as much as a crystal is strained."""

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        off = abs(atoms.cell.volume ** (1 / 3) / 4.3 - 1)
        return results | {"forces": results["forces"] + off}


FAR = [crystal(strain=0.01 * n, seed=n, origin="far") for n in range(1, 9)]
NEAR = [crystal(seed=100 + n) for n in range(40)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return measure_case(load(Noisy), write_case(tmp_path_factory.mktemp("case"), [*NEAR, *FAR], more="rattle_a = 0.05"))


def test_near_is_within_and_far_is_beyond(found):
    values = {name: value.value for name, value in found.values.items()}
    assert values["q_ratio_of_near"] < 1 < 4 < values["q_ratio_of_far"]
    assert values["q_beyond_of_near"] < 30 < 60 < values["q_beyond_of_far"]
    assert values["q_beyond"] == pytest.approx((40 * values["q_beyond_of_near"] + 8 * values["q_beyond_of_far"]) / 48)
    assert values["t2_beyond_of_far"] > values["t2_beyond_of_near"]
    assert values["held_out_beyond"] < 30
    assert (values["blind_elements"], values["invariance"]) == (0, pytest.approx(0, abs=1e-9))


def test_errors_that_grow_with_the_distance_correlate_with_it(found):
    far, whole = (found.values[f"q_error_correlation{part}"] for part in ("_of_far", ""))
    assert far.value == pytest.approx(1)
    assert 0.3 < whole.value < 1
    assert (whole.samples.used, far.samples.used) == (48, 8)


def test_it_is_said_what_the_numbers_stand_on(found):
    held_out = found.values["held_out_beyond"]
    assert found.values["q_beyond"].caveat == (
        "features; training set: 1 frame of train.extxyz, each with 50 copies rattled by 0.05 A; "
        f"of those held out, {held_out.value:.0f} % lie beyond the limit of Q"
    )
    assert held_out.samples.used == held_out.samples.of == 51
    space = found.diagnostics["subspaces"]["Al"]
    assert (space["training_atoms"], space["features"]) == (204, 20)
    assert 0.95 <= space["explained"] <= 1
    arrays = found.arrays
    assert len(arrays["energy"]) == len(arrays["q_ratio"]) == len(arrays["force_rmse"]) == 48
    assert arrays["energy"][0] == 0


def test_other_seeds_rattle_otherwise(found, tmp_path):
    case = write_case(tmp_path, FAR, more="rattle_a = 0.05")
    values = [measure_case(load(), case, seed=seed).values["q_ratio"].value for seed in (0, 0, 1)]
    assert values[0] == values[1] == pytest.approx(found.values["q_ratio_of_far"].value)
    assert values[2] != values[0]


def test_frames_without_labels_have_distances_and_no_errors(tmp_path):
    frames = [*NEAR[:6], *(crystal(seed=n, labelled=False, origin="run") for n in range(5))]
    values = measure_case(load(), write_case(tmp_path, frames)).values
    assert values["q_beyond_of_run"].samples.used == 5
    assert "0 frames have an error" in values["q_error_correlation_of_run"].problem.reason
    assert values["q_error_correlation"].samples is None or values["q_error_correlation"].samples.used == 6


def test_a_calculator_without_features_is_described_by_soap_and_says_so(tmp_path):
    found = measure_case(as_calculator(Sound()), write_case(tmp_path, FAR[:4], rattled=10))
    note = found.values["q_beyond"].caveat
    assert note.startswith("SOAP (5 A, n = 8, l = 4, sigma 0.3 A), since Sound shows no features of its own; training")
    assert found.values["q_beyond"].value == 100
    assert found.values["invariance"].value < 1e-5


@pytest.mark.parametrize(
    ("training", "rattled", "why"),
    [
        ([crystal()], 1, "Al: 8 training atoms, at least 10 are needed"),
        ([crystal("Cu")], 50, "Al: not among the training frames"),
        ([crystal(rattle=0.0)] * 1, 0, "Al: 4 training atoms, at least 10 are needed"),
        ([crystal(rattle=0.0).repeat((3, 1, 1))], 0, "Al: the descriptors do not vary over the training atoms"),
    ],
)
def test_what_cannot_be_said_is_not_applicable_with_the_reason(training, rattled, why, tmp_path):
    values = measure_case(load(), write_case(tmp_path, FAR[:4], training=training, rattled=rattled)).values
    for name in ("q_beyond", "t2_beyond", "q_ratio", "q_error_correlation", "q_beyond_of_far"):
        assert values[name].problem.state == "not applicable"
        assert values[name].problem.reason == why
    assert values["blind_elements"].value == 0


def test_an_element_that_was_never_seen_leaves_out_its_frames_alone(tmp_path):
    frames = [*FAR[:3], *(crystal("Cu", seed=n, origin="copper") for n in range(2))]
    values = measure_case(load(), write_case(tmp_path, frames)).values
    assert values["q_beyond"].samples.left_out == {"Cu: not among the training frames": 2}
    assert values["q_beyond_of_copper"].problem.reason == "Cu: not among the training frames"


class NotANumber(Sound):
    """Features of the second atom are NaN."""

    @staticmethod
    def described(atoms):
        found = Sound.described(atoms)
        found[1] = np.nan
        return found


def test_features_that_are_nan_are_an_error(tmp_path):
    problem = measure_case(load(NotANumber), write_case(tmp_path, FAR[:2])).problem
    assert problem.state == "error"
    assert "features of frame 0 are not finite: atom 1 (Al), 1 of 4" in problem.reason


def test_an_empty_or_missing_training_file_is_refused(tmp_path):
    write_case(tmp_path, FAR[:2])
    file = tmp_path / "representation" / "train.extxyz"
    file.write_text("")
    with pytest.raises(InputError, match=r"train.extxyz: "):
        load_case(file.with_name("mine.toml"))
    file.unlink()
    with pytest.raises(InputError, match=r"train.extxyz"):
        load_case(file.with_name("mine.toml"))
