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
from mlff_probes.cases.load import load_case
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import State
from mlff_probes.core.structures import rattled
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.representation.protocols import Forgetting
from mlff_probes.session.suite import Suite

PULL = 0.05  # eV/A

FILES = {
    "hop": ("migration/cr_sb2te3_deep", "migration/cr_sb2te3_in_gap", "migration/cr_sb2te3_octahedral_hop"),
    "slide": ("sliding/sb2te3_fixed_gap_0.0", "sliding/sb2te3_fixed_gap_0.2"),
}
FRAMES = []
for origin, names in FILES.items():
    for name in names:
        for row, frame in enumerate(ase.io.read(DIRECTORY / f"{name}.extxyz", ":")):
            frame.info.update(origin=origin, taken_from=f"{name}:{row}")
            FRAMES.append(frame)
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
        assert values[f"drift{part}"].value == values[f"force_change{part}"].value == 0
    assert values["energy_change"].value == values["energy_change_of_hop"].value == 0


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


class Tuned(Sound):
    """Says of chromium what it costs alone, and of tellurium that it is pulled along x."""

    def evaluated(self, atoms):
        found, pulled = super().evaluated(atoms), atoms.numbers == 52
        found["energy"] += 3.0 * (atoms.numbers == 24).sum() + PULL * atoms.positions[pulled, 0].sum()
        return found | {"forces": found["forces"] - PULL * np.outer(pulled, [1, 0, 0])}


def test_forces_and_what_rattling_costs_are_compared_and_energies_of_isolated_atoms_are_not():
    result = measure_case(replace(load(Tuned), foundation=load()), CASE)
    values = result.values
    assert values["force_change_Te"].value == pytest.approx(1000 * PULL / np.sqrt(3))
    assert values["force_change_Sb"].value == pytest.approx(0, abs=1e-9)
    rng, costs = np.random.default_rng(0), []
    for frame in FRAMES:
        moves = rattled(frame, 0.1, rng).positions - frame.positions
        costs.append(1000 * PULL * moves[frame.numbers == 52, 0].sum() / len(frame))
    assert values["energy_change"].value == pytest.approx(np.sqrt(np.mean(np.square(costs))), rel=1e-6)
    assert "energy_change_Te" not in values
    assert result.arrays["force_change"][0] == pytest.approx(1000 * PULL * np.sqrt(12 / 21 / 3))


def test_elements_of_few_frames_are_taken_together_and_layers_are_told_apart():
    own = load()
    two = replace(
        own,
        features=lambda frames: [
            Features({"first": f.layers["shells"], "second": f.layers["shells"] ** 2}) for f in own.features(frames)
        ],
    )
    few = replace(CASE, frames=tuple(FRAMES[5:]))
    result = measure_case(replace(two, foundation=own), few)
    assert {name for name in result.values if name.startswith("cka_") and "_of_" not in name} == {
        "cka_Sb", "cka_Te", "cka_others"
    }  # fmt: skip
    assert "20 there" in result.values["drift"].problem.reason
    assert result.arrays["layer"] == [], "no layer that both have"
    assert result.values["drift_of_hop"].problem is not None
    arrays = measure_case(replace(two, foundation=two), few).arrays
    assert (arrays["layer"], arrays["element"]) == (["first"] * 3 + ["second"] * 3, ["Sb", "Te", "others"] * 2)


def test_what_tells_elements_apart_hides_no_change_within_them():
    """Atoms of few frames are taken together: each element about its own mean."""
    rng = np.random.default_rng(0)
    offsets = 100.0 * rng.normal(size=(120, 20))
    few = replace(CASE, frames=tuple(FRAMES[::5]))

    def apart(how):
        own = load()

        def features(frames):
            found = own.features(frames)
            return [
                Features({"all": how(f.layers["shells"]) + offsets[frame.numbers]})
                for frame, f in zip(frames, found, strict=True)
            ]

        return replace(own, features=features)

    lost = apart(lambda x: rng.normal(size=x.shape))
    values = measure_case(replace(lost, foundation=apart(lambda x: x)), few).values
    assert "cka_others" in values
    assert abs(values["cka_others"].value) < 0.2
    assert values["drift_others"].value > 0.5
    assert values["cka_others"].note == "against sound"


def test_where_nothing_is_compared_it_is_said_why():
    none = measured(load(), None)["cka"].problem
    assert none.by_nature
    assert none.reason.endswith("add ,foundation=SPEC to the calculator")
    bare = measured(load(), as_calculator(Sound()))
    assert "Sound shows no features of its own" in bare["cka"].problem.reason
    assert bare["force_change"].value == 0
    other = measured(changed(lambda x: x[:, :7]), load())
    assert other["cka"].value is not None
    assert "7 features here and 20 there" in other["drift"].problem.reason


def test_frames_that_one_of_both_does_not_know_are_left_out_and_counted():
    tuned = replace(load(), identity=load().identity.model_copy(update={"elements": ("Sb", "Te")}))
    values = measured(tuned, load())
    assert values["drift"].samples.left_out == {"with an element that one of both does not know": 17}
    assert values["drift_of_slide"].samples.used == values["drift_of_slide"].samples.of == 24
    reason = "each of its 17 frames is one with an element that one of both does not know"
    assert values["drift_of_hop"].problem.reason == values["cka_Cr"].problem.reason == reason


def test_a_foundation_is_loaded_with_its_model_and_named():
    tuned = load_calculator("chgnet:0.3.0,foundation=chgnet:0.2.0")
    assert tuned.foundation.label == tuned.identity.options["foundation"] == "chgnet-0.2.0"
    assert tuned.identity.files == {"foundation chgnet-0.2.0": tuned.foundation.identity.sha256}
    assert tuned.fresh().foundation is None
    assert "its foundation chgnet:9: there is no CHGNet '9'" in refusal("chgnet,foundation=chgnet:9")


JUDGED = """schema_version = 1
title = "what may change"
tier = "quick"

[protocol]
kind = "forgetting"

[reference]
level_of_theory = "exact"
source = "the foundation"

[[expectation]]
quantity = "force_change"
value = 0.0
unit = "meV/A"
uncertainty = 0.0
tolerance = { value = 10.0, unit = "meV/A", reason = "Here." }
"""


def test_a_case_that_states_what_may_change_judges_it(tmp_path):
    folder = tmp_path / "representation"
    folder.mkdir()
    (folder / "mine.toml").write_text(JUDGED)
    ase.io.write(folder / "mine.extxyz", FRAMES, format="extxyz")
    case = load_case(folder / "mine.toml")
    tuned = [replace(load(kind), foundation=load()) for kind in (ForgottenElement, Tuned)]
    suite = Suite(tuned, [case])
    kept, changed = (suite.result(request).verdict for request in suite.requests("forgetting"))
    assert (kept.state, changed.state) == (State.PASSED, State.FAILED)
