"""What was measured before: known again by all that it depends on, and by nothing else; torn, edited, never lost."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cards import card_of_rows, row
from forks import Fork, server
from mace_models import random_mace
from support import DoubleWell, double_well_path

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.journal import Journal
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.records import Expectation, Measurement, Problem, Timing, Tolerance, Value
from mlff_probes.measure.inference.protocols import Speed
from mlff_probes.measure.laws.protocols import StatedLevel
from mlff_probes.measure.migration.protocols import FixedPath, RelaxedPath
from mlff_probes.measure.representation.protocols import Forgetting
from mlff_probes.scorecard.reports.text import time_lines
from mlff_probes.session.models import Loading, loaded_models
from mlff_probes.session.store import entries, keys
from mlff_probes.session.store.entries import SPOILT, MeasurementStore
from mlff_probes.session.store.keys import NO_IDENTITY, Key, key_of, why_not_kept
from mlff_probes.session.store.models import KnownModels
from mlff_probes.session.suite import Suite

TOLERANCE = Tolerance(value=0.06, unit="eV", reason="For the test.")
EXPECTED = Expectation(
    quantity="barrier", value=0.7, unit="eV", uncertainty=0.0, level_of_theory="PBE", source="test", tolerance=TOLERANCE
)
PATH = FixedPath(kind="fixed_path", migrating_atom=1, path_made_by="hand")
CASE = Case(
    id="hop", family="migration", title="A double well", tier="quick", protocol=PATH, frames=tuple(double_well_path()),
    stored=None, level_of_theory="PBE", source="test", expectations=(EXPECTED,),
)  # fmt: skip
RELAXED = replace(
    CASE,
    protocol=RelaxedPath(kind="relaxed_path", migrating_atom=1, path_made_by="hand", images=5),
    frames=(CASE.frames[0], CASE.frames[-1]),
)
SPEED = replace(CASE, protocol=Speed(kind="speed", repeats=((1, 1, 1),)))
KEY = Key("ab" * 32, {"model": "well-1", "case": "hop"})


class Counted(DoubleWell):
    """Counts its calls, and gives out at one of them."""

    def __init__(self, dies_at=None):
        super().__init__()
        self.calls, self.dies_at = 0, dies_at

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        super().calculate(*args, **kwargs)


def calculator(ase=None, **said):
    found = as_calculator(ase or Counted())
    said = {"label": "well", "model_identity": "1", "versions": {"ase": "3.29.0", "mlff-probes": "1"}} | said
    return replace(found, identity=found.identity.model_copy(update=said))


def measured(store, model=None, case=CASE, **options):
    suite = Suite([model or calculator()], [case], store=store, **options)
    (key,) = {(request.calculator, request.case) for request in suite.requests(case.protocol.kind)}
    return suite.measure(*key)


def nudged(frames):
    moved = [frame.copy() for frame in frames]
    moved[2].positions[0, 1] += 1e-12
    return tuple(moved)


def labelled(frames, name):
    for frame in frames:
        frame.info[name] = 1
    return frames


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ({"model_identity": "2"}, {}),
        ({"sha256": "00" * 32}, {}),
        ({"files": {"path": "00" * 32}}, {}),
        ({"dtype": "float32"}, {}),
        ({"device": "cuda:1"}, {}),
        ({"compile_mode": "default"}, {}),
        ({"kernels": "cuequivariance"}, {}),
        ({"options": {"head": "other"}}, {}),
        ({"versions": {"ase": "3.30.0", "mlff-probes": "1"}}, {}),
        ({}, {"id": "other"}),
        ({}, {"frames": nudged(CASE.frames)}),
        ({}, {"frames": tuple(labelled(double_well_path(), "charge"))}),
        ({}, {"protocol": PATH.model_copy(update={"migrating_atom": 0})}),
        ({}, {"reports": ("profile_mae",)}),
        ({}, {"training": CASE.frames}),
    ],
    ids=str,
)
def test_a_key_changes_with_what_the_numbers_depend_on(said, changed):
    before = key_of(calculator(), CASE, seed=0, shared=False)
    assert key_of(calculator(**said), replace(CASE, **changed), seed=0, shared=False).digest != before.digest


def test_a_key_does_not_change_with_names_tolerances_and_levels():
    wider = EXPECTED.model_copy(update={"tolerance": TOLERANCE.model_copy(update={"value": 9.0}), "value": 0.5})
    other = replace(CASE, title="Another", expectations=(wider,), level_of_theory="PBEsol", source="elsewhere")
    model = calculator(label="mine", level_of_theory="SCAN", device_name="another CPU", threads=64, load_s=3.0,
                       versions={"ase": "3.29.0", "mlff-probes": "2"})  # fmt: skip
    assert key_of(model, other, seed=0, shared=True) == key_of(calculator(), CASE, seed=0, shared=False)


@pytest.mark.parametrize("said", [{"device_name": "another CPU"}, {"threads": 64}], ids=str)
def test_what_is_of_the_machine_is_kept_for_that_machine(said):
    before, now = (key_of(each, SPEED, seed=0, shared=False) for each in (calculator(), calculator(**said)))
    assert before != now
    assert key_of(calculator(), SPEED, seed=0, shared=True) != before


def test_other_code_measures_again(tmp_path, monkeypatch):
    measured(tmp_path)
    monkeypatch.setattr(keys, "code", lambda: "other")
    assert not measured(tmp_path).recalled


def test_what_was_measured_is_judged_again_without_a_call(tmp_path):
    first = measured(tmp_path)
    assert not first.recalled
    model = calculator(Counted(dies_at=1), label="renamed")
    again = measured(tmp_path, model)
    assert again.recalled.startswith("20")
    assert again.calculator == "renamed"
    assert (again.values, again.arrays, again.model_calls) == (first.values, first.arrays, first.model_calls)


@pytest.mark.parametrize("spoil", [
    lambda data: data[:-1],
    lambda data: data[: len(data) // 2],
    lambda data: b"",
    lambda data: data.replace(b"0.7", b"0.8", 1),
    lambda data: b"\xff\xfe" + data,
    lambda data: data + data,
], ids=["a byte", "half", "all", "a digit", "no text", "twice"])  # fmt: skip
def test_a_torn_or_edited_entry_is_measured_again_and_replaced(tmp_path, spoil):
    whole = measured(tmp_path)
    (file,) = MeasurementStore(tmp_path).files()
    file.write_bytes(spoil(file.read_bytes()))
    again = measured(tmp_path)
    assert (again.recalled, again.store_note) == ("", SPOILT)
    assert again.values == whole.values
    assert measured(tmp_path).recalled


def test_the_entry_of_another_key_is_none(tmp_path):
    store = MeasurementStore(tmp_path)
    store.keep(KEY, Measurement(calculator="well", case="hop"))
    other = replace(KEY, digest="cd" * 32)
    store.file(KEY).rename(store.file(other))
    assert store.measurement(other, lambda _: Measurement(calculator="well", case="new")).case == "new"


def test_what_came_to_no_end_is_not_kept(tmp_path):
    problem = Problem(state="error", reason="out of memory on cpu")
    store = MeasurementStore(tmp_path)
    for _ in range(2):
        found = store.measurement(KEY, lambda _: Measurement(calculator="well", case="hop", problem=problem))
        assert not found.recalled
    assert not store.files()


def test_a_calculator_of_no_identity_is_measured_in_each_run_and_says_so(tmp_path):
    model = calculator(model_identity=None)
    for _ in range(2):
        found = measured(tmp_path, model)
        assert (found.recalled, found.store_note) == ("", NO_IDENTITY)
    assert "model_identity" in NO_IDENTITY
    assert not list(tmp_path.iterdir())


def test_ase_s_own_calculators_are_known_by_their_version(tmp_path):
    assert not why_not_kept(load_calculator("ase:EMT"))
    behind_a_program = load_calculator("ase:EMT").identity.model_copy(
        update={"spec": "ase:Espresso", "version": "Espresso"}
    )
    assert why_not_kept(replace(load_calculator("ase:EMT"), identity=behind_a_program))
    assert why_not_kept(as_calculator(DoubleWell())) == NO_IDENTITY


def test_a_store_that_cannot_be_written_costs_a_note(tmp_path):
    (tmp_path / entries.FOLDER).write_text("a file in its place")
    found = measured(tmp_path)
    assert found.values["barrier"].value == pytest.approx(0.7)
    assert found.store_note.startswith("not kept in ")


def test_a_time_from_the_store_is_never_shown_as_new(tmp_path):
    timing = Timing(name="latency", what="energy", through="ase", structures=1, atoms=5, seconds=(0.1,),
                    warm_up_calls=0, steady=True, host_peak_bytes=1)  # fmt: skip
    made = Measurement(calculator="well", case="hop", values={"latency": Value(value=1.0, unit="ms")},
                       timings=(timing,), wall_s=2.0, model_s=1.0)  # fmt: skip
    store = MeasurementStore(tmp_path)
    store.measurement(KEY, lambda _: made)
    again = store.measurement(KEY, lambda _: made)
    assert again.timings == ()
    assert "not in this run" in again.values["latency"].caveat


def test_a_structure_of_which_no_hash_is_known_costs_a_note(tmp_path):
    frames = double_well_path()
    frames[0].info["odd"] = object()
    assert "no hash of a object" in measured(tmp_path, case=replace(CASE, frames=tuple(frames))).store_note


KILLED_OFTEN = """
import random, sys, time
from pathlib import Path
from mlff_probes.core.records import Measurement
from mlff_probes.session.store.entries import MeasurementStore
from mlff_probes.session.store.keys import Key

folder, seed = Path(sys.argv[-2]), int(sys.argv[-1])
rng, store = random.Random(seed), MeasurementStore(folder / "store")
while True:
    n = rng.randrange(40)
    key = Key(f"{n:032x}" * 2, {"model": "well", "case": f"case{n}"})
    made = lambda _: Measurement(calculator="well", case=f"case{n}", arrays={"x": [float(n)] * 2000})
    assert not store.measurement(key, made).store_note
    with (folder / f"kept-{seed}").open("a") as log:
        log.write(f"{n}\\n")
"""
KILLS = int(os.environ.get("STORE_KILLS", "8"))


def test_what_was_said_to_be_kept_survives_kills(tmp_path):
    """`STORE_KILLS=200` kills as often as was once tried."""
    rng, running = random.Random(0), []
    for kill in range(KILLS + 4):
        running.append(Fork(["-c", KILLED_OFTEN, tmp_path, kill], tmp_path, os.environ, server()))
        while not (tmp_path / f"kept-{kill}").exists():
            time.sleep(0.01)
        if len(running) > 4:
            time.sleep(rng.uniform(0, 0.05))
            one = running.pop(rng.randrange(len(running)))
            os.kill(one.pid, signal.SIGKILL)
            one.process.join()
            assert one.returncode == -signal.SIGKILL
    for each in running:
        os.kill(each.pid, signal.SIGKILL)
        each.process.join()
    kept = {int(n) for log in tmp_path.glob("kept-*") for n in log.read_text().split()}
    assert len(kept) > 30
    store = MeasurementStore(tmp_path / "store")
    for n in kept:
        key = Key(f"{n:032x}" * 2, {"model": "well", "case": f"case{n}"})
        found = entries.read(store.file(key), key.digest).measurement
        assert found.arrays == {"x": [float(n)] * 2000}
    assert {int(file.stem[-32:], 16) for file in store.files()} >= kept


WAITS = """
import sys, time
from pathlib import Path
from mlff_probes.core.records import Measurement
from mlff_probes.session.store.entries import MeasurementStore
from mlff_probes.session.store.keys import Key

folder = Path(sys.argv[-1])


def make(journal):
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return Measurement(calculator="well", case="hop", model_calls=7)


MeasurementStore(folder).measurement(Key("ab" * 32, {"model": "well-1", "case": "hop"}), make)
"""


@pytest.mark.parametrize("dies", [False, True], ids=["ends", "is killed"])
def test_a_second_process_waits_for_the_first_and_takes_over_from_one_that_dies(tmp_path, dies):
    first = Fork(["-c", WAITS, tmp_path], tmp_path, os.environ, server())
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    said = []

    def hear(text):
        said.append(text)
        os.kill(first.pid, signal.SIGKILL) if dies else (tmp_path / "go").touch()

    def mine(_):
        return Measurement(calculator="well", case="hop", model_calls=1)

    found = MeasurementStore(tmp_path).measurement(KEY, mine, hear)
    first.process.join()
    assert said == ["another process is measuring the same: waiting for it"]
    assert found.model_calls == (1 if dies else 7)


def test_who_waits_too_long_measures_for_himself(tmp_path):
    first = Fork(["-c", WAITS, tmp_path], tmp_path, os.environ, server())
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    found = MeasurementStore(tmp_path).measurement(
        KEY, lambda _: Measurement(calculator="well", case="hop"), timeout=0.1
    )
    os.kill(first.pid, signal.SIGKILL)
    first.process.join()
    assert "has been measuring the same for more than 0.1 s" in found.store_note


def test_a_band_that_was_killed_goes_on_where_it_was(tmp_path):
    whole = measured(tmp_path / "whole", case=RELAXED)
    assert whole.values["outcome"].value == 1.0
    calls = whole.model_calls
    for dies_at in range(2, calls, 3):
        place = tmp_path / str(dies_at)
        killed, again = Counted(dies_at), Counted()
        with pytest.raises(KeyboardInterrupt):
            measured(place, calculator(killed), RELAXED)
        found = measured(place, calculator(again), RELAXED)
        assert (found.values, found.arrays) == (whole.values, whole.arrays)
        assert killed.calls + again.calls <= calls + RELAXED.protocol.images  # the step in flight is made again
        assert again.calls < calls or dies_at <= RELAXED.protocol.images
        assert not list(place.rglob("*.answers"))


def test_answers_of_this_process_are_not_given_again(tmp_path):
    def asked(journal):
        numbers, frame = iter(range(9)), CASE.frames[0]
        noisy = replace(
            as_calculator(DoubleWell()), batch=lambda *_: [(next(numbers), np.zeros((2, 3)))], journal=journal
        )
        return [evaluate(noisy, [frame]).energies[0] for _ in range(3)]

    file = tmp_path / "x.answers"
    first = asked(Journal(file))
    assert first == [0, 1, 2]
    assert asked(Journal(file)) == first
    file.write_text(file.read_text()[:-20])  # cut short
    assert asked(Journal(file)) == [0, 1, 0]
    file.write_text(file.read_text()[:-20])  # again, and what was written behind the first is there
    assert asked(Journal(file)) == [0, 1, 0]
    file.write_text(file.read_text().replace(" [", " [ ", 1))  # edited
    assert asked(Journal(file)) == [1, 0, 0]


def test_two_equal_structures_of_which_one_is_known_are_asked_for(tmp_path):
    model = replace(as_calculator(DoubleWell()), journal=Journal(tmp_path / "x.answers"))
    evaluate(model, CASE.frames[:1])
    again = replace(model, journal=Journal(tmp_path / "x.answers"))
    assert len(evaluate(again, [CASE.frames[0]] * 2).energies) == 2


def test_what_ran_out_of_memory_in_one_quantity_is_not_kept(tmp_path):
    problem = Problem(state="error", reason="out of memory on cuda with 200 atoms")
    made = Measurement(calculator="well", case="hop", values={"x": Value(value=None, unit="eV", problem=problem)})
    assert MeasurementStore(tmp_path).keep(KEY, made) == ""
    assert not MeasurementStore(tmp_path).files()


LAW = replace(CASE, protocol=StatedLevel(kind="stated_level"))


@pytest.mark.parametrize("said", [{"level_of_theory": "PBE+D3(BJ)"}, {"elements": ("Cr", "Te")}], ids=str)
def test_a_law_depends_on_what_a_calculator_says_of_itself(said):
    before, now = (key_of(each, LAW, seed=0, shared=False) for each in (calculator(), calculator(**said)))
    assert before != now


def test_a_committee_is_known_by_all_its_members():
    members = [calculator().identity, calculator(model_identity="2").identity]
    others = [members[0], calculator(model_identity="3").identity]
    keys = [key_of(calculator(), CASE, seed=0, shared=False, members=each) for each in (members, others)]
    assert keys[0] != keys[1]


def test_what_is_installed_beside_the_model_counts(monkeypatch):
    before = key_of(calculator(), CASE, seed=0, shared=False)
    monkeypatch.setattr(keys, "BESIDE", ("ase",))
    assert key_of(calculator(), CASE, seed=0, shared=False) != before


def test_forgetting_is_not_kept_of_a_foundation_that_does_not_say_what_it_is():
    tuned = replace(calculator(), foundation=calculator(model_identity=None))
    forgetting = replace(CASE, protocol=Forgetting.model_construct(kind="forgetting"))
    assert why_not_kept(tuned, CASE) == ""
    assert why_not_kept(tuned, forgetting) == NO_IDENTITY


def test_a_model_that_is_another_when_it_is_loaded_is_an_error_row(tmp_path):
    known = replace(calculator(), ase=None, fresh=lambda: calculator(model_identity="2"))
    found = measured(tmp_path, known)
    assert "what was loaded is not what was known of it" in found.problem.reason
    assert not MeasurementStore(tmp_path).files()


def test_a_journal_that_cannot_be_written_costs_nothing_but_itself(tmp_path, monkeypatch):
    open_ = Path.open
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: (_ for _ in ()).throw(full) if path.suffix == ".answers"
                        else open_(path, *a, **k))  # fmt: skip
    found = measured(tmp_path, case=RELAXED)
    assert (found.values["outcome"].value, found.store_note) == (1.0, "")
    assert measured(tmp_path, case=RELAXED).recalled


@pytest.fixture(scope="module")
def small_mace(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "small.model", channels=2, max_ell=1, correlation=1)


@pytest.fixture(scope="module")
def other_mace(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "o.model", channels=2, max_ell=1, correlation=1, seed=1)


def loading(store, **options):
    return Loading(known=KnownModels(store), **options)


def test_a_model_that_was_loaded_before_is_loaded_when_it_measures(tmp_path, small_mace):
    specs = [f"{small_mace},label=mine"]
    (first,) = loaded_models(specs, loading(tmp_path))
    assert first.ase is not None
    (known,) = loaded_models(specs, loading(tmp_path))
    assert known.ase is None
    same = first.identity.model_copy(update={"load_s": 0.0})
    assert known.identity == same
    assert (known.properties, known.labelled, known.batch_atoms) == (first.properties, True, first.batch_atoms)
    assert known.fresh().ase is not None
    assert known.fresh(dtype="float32").identity.dtype == "float32"


def test_another_file_other_versions_and_other_options_load_the_model(tmp_path, small_mace, monkeypatch):
    file = tmp_path / "model.model"
    file.write_bytes(small_mace.read_bytes())
    (first,) = loaded_models([str(file)], loading(tmp_path))
    assert loaded_models([str(file)], loading(tmp_path))[0].ase is None
    assert loaded_models([str(file)], loading(tmp_path, dtype="float32"))[0].ase is not None
    assert loaded_models([f"{file},foundation={small_mace}"], loading(tmp_path))[0].ase is not None
    with monkeypatch.context() as patch:
        patch.setattr("mlff_probes.session.store.models.versions", lambda *_: {"torch": "9"})
        assert loaded_models([str(file)], loading(tmp_path))[0].ase is not None
    names_others = first.identity.model_copy(update={"files": {"coefficients": "00" * 32}})
    KnownModels(tmp_path / "other")._keep(tmp_path / "other" / "x.json", replace(first, identity=names_others))
    assert not (tmp_path / "other" / "x.json").exists(), "they are in no key"
    for known in (tmp_path / "models").iterdir():
        known.write_text("{")
    assert loaded_models([str(file)], loading(tmp_path))[0].ase is not None


def test_a_file_that_changes_before_it_is_loaded_is_refused(tmp_path, small_mace, other_mace):
    file = tmp_path / "model.model"
    file.write_bytes(small_mace.read_bytes())
    loaded_models([str(file)], loading(tmp_path))
    (known,) = loaded_models([str(file)], loading(tmp_path))
    file.write_bytes(other_mace.read_bytes())
    with pytest.raises(ValueError, match="SHA-256"):
        known.fresh()


def test_the_scorecard_says_what_was_measured_before():
    card = card_of_rows(row("a", "barrier", 0.0))
    recalled = [Measurement(calculator="a", case="hop", recalled=f"2026-11-2{n}T10:00:00+00:00") for n in (8, 9)]
    noted = Measurement(calculator="a", case="c", store_note="not kept in /x: full")
    lines = time_lines(card.model_copy(update={"measurements": (*recalled, noted)}))
    assert any("2 of 3 measurements were made before (2026-11-28" in line for line in lines)
    assert "store: 1 measurement of a: not kept in /x: full" in lines
    assert not any(line.startswith("store") for line in time_lines(card))


def test_numbers_survive_the_store_to_the_last_bit(tmp_path):
    numbers = np.random.default_rng(0).normal(size=50).tolist()
    store = MeasurementStore(tmp_path)
    store.keep(KEY, Measurement(calculator="well", case="hop", arrays={"x": numbers}))
    assert store.measurement(KEY, pytest.fail).arrays["x"] == numbers
