"""The parts of a batched pass: marked in the families that are timed, and free of cost where nobody looks."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from mace_models import random_mace

from mlff_probes import evaluate, load_calculator
from mlff_probes.calculators.stages import STAGES, Stopwatch, stage
from mlff_probes.core.data import DIRECTORY

pytestmark = pytest.mark.usefixtures("one_thread")


class Clock:
    """One second later at each reading; notes whether the device was waited for before it."""

    def __init__(self):
        self.now, self.waited, self.readings = 0.0, False, 0

    def synchronize(self):
        self.waited = True

    def __call__(self):
        assert self.waited
        self.waited = False
        self.readings += 1
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module", params=["chgnet", "mace"])
def calculator(request, tmp_path_factory):
    if request.param == "chgnet":
        return load_calculator("chgnet", device="cpu")
    return load_calculator(str(random_mace(tmp_path_factory.mktemp("mace") / "tiny.model")), device="cpu")


@pytest.fixture(scope="module")
def frames():
    return [
        frame
        for name in ("migration/cr_sb2te3_in_gap", "sliding/sb2te3_fixed_gap_0.0")
        for frame in ase.io.read(DIRECTORY / f"{name}.extxyz", ":3")
    ]


def test_seconds_add_up_stage_by_stage():
    clock = Clock()
    watch = Stopwatch(clock, clock.synchronize)
    with watch.looking():
        with stage("model"):
            clock.now += 5.0
        with stage("copies"):
            pass
        with stage("model"):
            clock.now += 2.0
    with stage("model"):
        clock.now += 100.0
    assert watch.seconds == {"model": 9.0, "copies": 1.0}
    assert clock.readings == 6


@pytest.mark.parametrize("forces", [True, False])
def test_a_batched_pass_is_all_stages_and_the_same_watched_or_not(calculator, frames, forces):
    plain = evaluate(calculator, frames, forces=forces)
    clock = Clock()
    with Stopwatch(clock, clock.synchronize).looking() as watch:
        watched = evaluate(calculator, frames, forces=forces)
    assert watch.seconds == {"neighbours": 1.0, "copies": 2.0, "model": 1.0}
    assert list(watch.seconds) == ["neighbours", "copies", "model"] == list(STAGES)
    assert (plain.energies == watched.energies).all()
    if forces:
        assert all((a == b).all() for a, b in zip(plain.forces, watched.forces, strict=True))


@pytest.mark.parametrize("forces", [True, False])
@pytest.mark.parametrize("count", [1, 4])
def test_chgnet_in_stages_is_what_its_own_prediction_gives(frames, forces, count):
    from pymatgen.io.ase import AseAtomsAdaptor

    calculator = load_calculator("chgnet", device="cpu")
    model = calculator.ase.model
    graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(frame)) for frame in frames[:count]]
    found = model.predict_graph(graphs, task="ef" if forces else "e", batch_size=count)
    mine = calculator.batch(frames[:count], forces)
    assert len(mine) == count
    for theirs, (energy, f), frame in zip(found if count > 1 else [found], mine, frames, strict=False):
        assert energy == float(np.asarray(theirs["e"]).item()) * len(frame)
        assert (theirs["f"] == f).all() if forces else f is None
