"""Training frames of one's own, in a notebook as on the command line."""

from __future__ import annotations

import ase.io
import pytest
from faults import load
from sound import Sound

from mlff_probes import Benchmark, InputError
from mlff_probes.core.data import DIRECTORY

PATH = DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    file = tmp_path_factory.mktemp("learned") / "learned.extxyz"
    frames = [frame.copy() for frame in ase.io.read(PATH, ":") for _ in range(4)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
    ase.io.write(file, frames)
    return file


def test_they_take_the_place_of_those_of_the_case_and_are_not_rattled(learned, tmp_path):
    found = Benchmark(model={"own": load(Sound)}, training_frames=learned)
    picture = found.plot_representation(tmp_path / "picture.png")
    assert picture is not None
    (measurement,) = [each for each in found.scorecard.measurements if each.case == "sb2te3_paths"]
    caveat = measurement.values["q_ratio_of_in_gap"].caveat
    assert caveat.startswith("features; training set: 20 frames of learned.extxyz; of those held out")
    assert caveat in " ".join(repr(found).split())
    values = {name: value.value for name, value in measurement.values.items()}
    assert values["q_ratio_of_in_gap"] < values["q_ratio_of_deep"]
    assert found.scorecard.options.training_frames == (str(learned),)


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="there is no such file of frames"):
        Benchmark(model={"own": load(Sound)}, training_frames=[tmp_path / "none.extxyz"])
