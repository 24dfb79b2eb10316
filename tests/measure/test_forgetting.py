"""Two copies of a model share all their features; one that forgot an element lost those of its atoms."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from faults import ForgottenElement, load
from scipy.stats import ortho_group
from sound import Sound
from support import refusal

from mlff_probes import load_calculator
from mlff_probes.calculators.base import Features, as_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.representation.protocols import Forgetting

FRAMES = []
for origin, name in (("hop", "migration/cr_sb2te3_deep"), ("slide", "sliding/sb2te3_fixed_gap_0.0")):
    FRAMES += [
        frame for frame in ase.io.read(DIRECTORY / f"{name}.extxyz", ":") if not frame.info.update(origin=origin)
    ]
CASE = Case(
    id="mine", family="representation", title="mine", tier="quick", protocol=Forgetting(kind="forgetting"),
    frames=tuple(FRAMES), stored=None, level_of_theory="exact", source="here", expectations=(),
)  # fmt: skip


def measured(tuned, foundation):
    return measure_case(replace(tuned, foundation=foundation), CASE).values


def changed(how):
    """The sound calculator with features that went through a function."""
    own = load()
    return replace(
        own, features=lambda frames: [Features({"all": how(f.layers["shells"])}) for f in own.features(frames)]
    )


def test_a_copy_has_changed_nothing():
    values = measured(load(), load())
    for part in ("", "_Cr", "_Sb", "_Te", "_of_hop", "_of_slide"):
        assert values[f"cka{part}"].value == pytest.approx(1)
        assert values[f"cka{part}"].uncertainty == pytest.approx(0, abs=1e-9)
        assert values[f"drift{part}"].value == 0


def test_a_rotated_copy_is_alike_but_has_drifted():
    matrix = ortho_group.rvs(20, random_state=0)
    values = measured(changed(lambda x: x @ matrix), load())
    assert values["cka"].value == pytest.approx(1)
    assert values["drift"].value > 1


def test_a_forgotten_element_shows_and_the_others_are_kept():
    noise = np.random.default_rng(0)
    values = measured(load(ForgottenElement), load())
    assert (values["drift_Sb"].value, values["drift_Cr"].value) == (0, 0)
    assert values["drift"].value == values["drift_Te"].value > 1
    assert values["drift"].caveat == "that of Te, the largest of Cr, Sb, Te"
    assert values["cka_Te"].problem.reason == "Te: a representation does not vary"
    lost = measured(changed(lambda x: noise.normal(size=x.shape)), load())
    assert abs(lost["cka"].value) < 0.2 + lost["cka"].uncertainty


def test_where_nothing_is_compared_it_is_said_why():
    none = measured(load(), None)["cka"].problem
    assert none.by_nature
    assert none.reason.endswith("add ,foundation=SPEC to the calculator")
    assert "Sound shows no features of its own" in measured(load(), as_calculator(Sound()))["cka"].problem.reason
    other = measured(changed(lambda x: x[:, :7]), load())
    assert other["cka"].value is not None
    assert "7 features here and 20 there" in other["drift"].problem.reason


def test_frames_that_one_of_both_does_not_know_are_left_out_and_counted():
    tuned = replace(load(), identity=load().identity.model_copy(update={"elements": ("Sb", "Te")}))
    values = measured(tuned, load())
    assert values["drift"].samples.left_out == {"with an element that one of both does not know": 9}
    assert values["drift_of_slide"].samples.used == values["drift_of_slide"].samples.of == 12
    reason = "each of its 9 frames is one with an element that one of both does not know"
    assert values["drift_of_hop"].problem.reason == values["cka_Cr"].problem.reason == reason


def test_a_foundation_is_loaded_with_its_model_and_named():
    tuned = load_calculator("chgnet:0.3.0,foundation=chgnet:0.2.0")
    assert tuned.foundation.label == tuned.identity.options["foundation"] == "chgnet-0.2.0"
    assert tuned.identity.files == {"foundation chgnet-0.2.0": tuned.foundation.identity.sha256}
    assert tuned.fresh().foundation is None
    assert "its foundation chgnet:9: there is no CHGNet '9'" in refusal("chgnet,foundation=chgnet:9")
