"""The notebook API: the same measurements and verdicts as under pytest, and pictures, tables and files of them."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import ase.io
import forks
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from support import STORED, DoubleWell, LookupCalculator, double_well_path
from test_lookup import FRAMES

from mlff_probes import Benchmark, InputError, load_calculator
from mlff_probes.cases.listing import list_cases
from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import State, Verdict
from mlff_probes.scorecard.files import read
from mlff_probes.scorecard.reports import notebook as html

PNG = b"\x89PNG"
QUICK_START = """
from mlff_probes import Benchmark

bench = Benchmark(
    material="Sb2Te3",
    model="mace-specialist",
    migration_path="data/neb/path_1"
)
bench.run()
bench.plot_energy_profile()
bench.export_metrics("results/barrier_comparison.csv")
"""


@pytest.fixture(scope="module")
def lookup(tmp_path_factory):
    """All but what relaxes, away from the frames that the calculator knows."""
    fixed = tmp_path_factory.mktemp("cases") / "reference"
    shutil.copytree(DIRECTORY, fixed, ignore=shutil.ignore_patterns("vacancy_*", "*_hop.*", "tolerances.toml", "*.md"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlff_probes.session.assemble.DIRECTORY", fixed)
        return Benchmark(material="Sb2Te3", model=LookupCalculator(FRAMES)).run("migration", "sliding")


def test_the_quick_start_of_migrationbench_runs_as_it_stands(tmp_path, trained_mace_file):
    shutil.copy(trained_mace_file, tmp_path / "mace-specialist")
    (tmp_path / "data" / "neb").mkdir(parents=True)
    frames = ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", ":")
    ase.io.write(tmp_path / "data" / "neb" / "path_1.extxyz", frames, format="extxyz")
    (tmp_path / "data" / "neb" / "path_1").mkdir()
    for index, frame in enumerate(frames):
        ase.io.write(tmp_path / "data" / "neb" / "path_1" / f"image_{index}.extxyz", frame, format="extxyz")
    done = forks.run(["-c", QUICK_START], tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    with (tmp_path / "results" / "barrier_comparison.csv").open() as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert float(rows["barrier"]["reference"]) == pytest.approx(1.505, abs=1e-3)
    assert rows["barrier"]["verdict"] in ("passed", "failed")
    assert rows["barrier"]["calculator"] == "mace-specialist"


def test_all_cases_of_the_material():
    bench = Benchmark(material="Sb2Te3", model=LookupCalculator(FRAMES)).run("sliding")
    assert bench.verdict == "passed"
    assert {row.family for row in bench.scorecard.results} == {"sliding"}
    expected = [case for case in STORED if case.family == "sliding" and case.material == "Sb2Te3"]
    assert len(bench.scorecard.results) == sum(len(case.quantities) for case in expected)


def test_same_numbers_as_pytest(tmp_path):
    card = tmp_path / "card.json"
    options = ["--calculator=ase:LennardJones,sigma=3.6,rc=6", f"--probe-scorecard={card}", "-k", "parity or slide"]
    forks.run(["pytest", "--pyargs", "mlff_probes.probes", *options, "-q", "-p", "no:randomly"], tmp_path)
    bench = Benchmark(model=LennardJones(sigma=3.6, rc=6)).run("sliding", "parity")
    there = {(r.case, r.quantity): (r.measured, r.verdict.state) for r in read(card).results}
    here = {(r.case, r.quantity): (r.measured, r.verdict.state) for r in bench.scorecard.results}
    assert here == there


def test_several_models_by_label_or_as_a_list():
    path = "cr_sb2te3_in_gap"
    sound, wrong = LookupCalculator(FRAMES), LookupCalculator(FRAMES, lambda f: 0.2 * (f.info.get("image") == 2))
    bench = Benchmark(model={"sound": sound, "wrong": wrong}, migration_path=path).run()
    verdicts = {(r.calculator, r.quantity): r.verdict.state.value for r in bench.scorecard.results}
    assert (verdicts["sound", "barrier"], verdicts["wrong", "barrier"]) == ("passed", "failed")
    loaded = load_calculator("ase:LennardJones,label=lj")
    names = {c.label for c in Benchmark(model=[loaded, sound], migration_path=path).run().scorecard.calculators}
    assert names == {"lj", "LookupCalculator"}


def test_run_keeps_what_was_measured_and_measures_a_path_alone():
    class Counted(LookupCalculator):
        calls = 0

        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            Counted.calls += 1

    bench = Benchmark(material="Sb2Te3", model=Counted(FRAMES), migration_path="cr_sb2te3_in_gap").run()
    assert Counted.calls == 5
    assert {row.case for row in bench.scorecard.results} == {"cr_sb2te3_in_gap"}
    bench.run()
    bench.plot_energy_profile()
    assert Counted.calls == 5
    bench.plot_sliding()
    assert {row.family for row in bench.scorecard.results} == {"migration", "sliding"}


def test_own_band_reference_and_material(tmp_path):
    frames = double_well_path()
    bench = Benchmark(model=DoubleWell(0.7), migration_path=frames, material="CrTe").run()
    assert bench.verdict == "nothing judged"
    assert "The images carry no energies" in bench.scorecard.cases[0].notes[0]
    for frame in frames:
        frame.calc = DoubleWell(0.9)
        frame.get_forces()
    judged = Benchmark(model=DoubleWell(0.7), migration_path=frames).run()
    assert judged.verdict == "failed"
    ase.io.write(tmp_path / "band.traj", frames)
    assert Benchmark(model=DoubleWell(0.9), migration_path=tmp_path / "band.traj").run().verdict == "passed"


def on_grid(pictures):
    """Places of a grid of two columns for so many pictures."""
    return 2 * -(-pictures // 2) if pictures > 1 else 1


def test_pictures(lookup, tmp_path):
    profile = lookup.plot_energy_profile(tmp_path / "new" / "profile.png")
    assert (tmp_path / "new" / "profile.png").read_bytes().startswith(PNG)
    assert profile._repr_png_().startswith(PNG)
    count = Counter(case.family for case in STORED if case.material == "Sb2Te3" or case.family == "migration")
    assert len(profile.subfigs) == on_grid(count["migration"])
    assert len(lookup.plot_sliding().subfigs) == on_grid(count["sliding"])
    assert lookup.plot_parity()._repr_png_().startswith(PNG)


RELAXED = """schema_version = 1
title = "A hop that relaxes"
material = "TeCr"
tier = "quick"
report = ["barrier"]
protocol = { kind = "relaxed_path", migrating_atom = 1, path_made_by = "hand", images = 3 }
reference = { level_of_theory = "none", source = "mine" }
"""


def test_a_picture_relaxes_nothing_unasked(tmp_path):
    folder = tmp_path / "migration"
    folder.mkdir()
    frames = double_well_path()[::4]
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    ase.io.write(folder / "mine.extxyz", frames, format="extxyz")
    (folder / "mine.toml").write_text(RELAXED)
    bench = Benchmark(model=DoubleWell(), material="TeCr", reference=tmp_path)
    with pytest.raises(InputError, match=r"what relaxes takes minutes; call run\('migration'\) first"):
        bench.plot_energy_profile()
    assert not [row for row in bench.scorecard.results if row.case == "mine" and row.measured.value is None]
    assert bench.run("migration").plot_energy_profile() is not None
    alone = Benchmark(model=DoubleWell(), migration_path=folder / "mine.toml")
    assert alone.plot_energy_profile() is not None


SIMULATION = """schema_version = 1
title = "Copper"
material = "Cu"
tier = "quick"
report = ["temperature"]

[protocol]
kind = "molecular_dynamics"
ensemble = "NVE"
temperature = 300.0
equilibration_steps = 4
steps = 12
sample_every = 4

[reference]
level_of_theory = "exact"
source = "exact"

[[expectation]]
quantity = "survival"
unit = "1"
value = 1.0
uncertainty = 0.0
"""


def test_trajectories_are_kept_where_they_are_asked_to_be(tmp_path, monkeypatch):
    (tmp_path / "mine" / "dynamics").mkdir(parents=True)
    ase.io.write(tmp_path / "mine" / "dynamics" / "copper.extxyz", bulk("Cu", cubic=True))
    (tmp_path / "mine" / "dynamics" / "copper.toml").write_text(SIMULATION)
    monkeypatch.chdir(tmp_path)

    found = []
    for store in ({}, {"store": "kept"}, {"store": tmp_path / "kept"}):
        bench = Benchmark(model=EMT(), material="Cu", reference="mine", **store)
        assert (tmp_path / "kept").exists() == (len(found) == 2), "made when something is kept"
        (measured,) = bench.run("dynamics").scorecard.measurements
        found.append(measured.diagnostics["resumed_at_step"])
    assert found == [None, None, 16]
    assert len(list((tmp_path / "kept").glob("EMT-copper-*/replica-0.traj"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "kept"}


def test_texts(lookup):
    fresh = Benchmark(model=LookupCalculator(FRAMES))
    assert "not run yet" in repr(fresh)
    assert fresh._repr_html_().startswith("<p>&lt;Benchmark of LookupCalculator")
    assert "verdict: PASSED" in repr(lookup)
    page = lookup._repr_html_()
    assert "<b>verdict: PASSED" in page
    assert page.count("<tr>") == 1 + len(lookup.scorecard.results)
    passed = sum(row.verdict.state is State.PASSED for row in lookup.scorecard.results)
    assert page.count("✓ passed") == passed


def test_in_a_notebook_the_scorecard_is_shown_once_and_nothing_else(monkeypatch, capsys, recwarn):
    """IPython asks for the text and for the HTML of what a cell ends in; neither may print on its own."""
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich._console", None)
    monkeypatch.setattr("rich.jupyter.display", lambda *args: shown.append(args))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # a notebook without ipywidgets
    bench = Benchmark(model=LookupCalculator(FRAMES), migration_path="cr_sb2te3_in_gap").run()
    assert "verdict: PASSED" in repr(bench)
    assert "<table>" in bench._repr_html_()
    assert list_cases(load_cases())
    assert shown == []
    assert capsys.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "ipywidgets" in str(warning.message)]


def test_html_escapes_what_models_and_files_say(lookup):
    row = lookup.scorecard.results[0]
    evil = row.model_copy(update={"verdict": Verdict(state=State.ERROR, reason="<script>alert(1)</script>")})
    page = html.table(lookup.scorecard.model_copy(update={"results": (evil,)}))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("suffix", [".csv", ".json", ".md"])
def test_export(lookup, tmp_path, suffix):
    target = lookup.export_metrics(tmp_path / "deep" / f"metrics{suffix}")
    assert target.stat().st_size > 1000


def test_dataframe(lookup):
    frame = lookup.to_dataframe()
    assert frame[(frame.case == "cr_sb2te3_in_gap") & (frame.quantity == "barrier")].verdict.item() == "passed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"material": "LiFePO4"}, "there is no case of the material 'LiFePO4'; there are cases of Ac, Ag, Al"),
        ({"material": "Sb2Xx3"}, "material='Sb2Xx3' is no chemical formula"),
        ({"migration_path": "data/neb/path_1"}, "migration_path='data/neb/path_1' is neither a case (cr_sb2te3_deep, "),
        ({"material": "LiCr", "migration_path": double_well_path()}, "material='LiCr', but the images hold no Li"),
        ({"migration_path": DIRECTORY / "sliding" / "sb2te3_relaxed_gap.toml"}, "of the family 'sliding', not of"),
        ({"reference": "nowhere"}, "there is no such reference directory"),
        ({"model": "chgent"}, "did you mean chgnet?"),
        ({"model": 3}, "is neither a SPEC, a file nor an ASE calculator"),
        ({"model": EMT}, "is neither a SPEC, a file nor an ASE calculator"),
        ({"model": {"my model": EMT()}}, "a label is made of letters"),
        ({"model": {1: EMT()}}, "a label is made of letters"),
        ({"device": "cuda"}, "device='cuda' cannot be given to a calculator that is made already"),
        ({"tier": "bogus"}, "tier='bogus' must be one of smoke, quick, standard, full"),
        ({"store": ""}, "store='' must be a directory, or None to keep nothing"),
        ({"store": 5}, "store=5 must be a directory, or None to keep nothing"),
        ({"store": __file__}, "test_benchmark.py' is no directory"),
        ({"material": ""}, "material='' must be a text"),
        ({"migration_path": ""}, "migration_path='' is neither a case"),
        ({"migration_path": 5}, "migration_path=5 must be a case id, a file, a folder, or a list of Atoms"),
        ({"migration_path": ["a.xyz"]}, "must be a case id, a file, a folder, or a list of Atoms"),
        ({"migration_path": double_well_path(), "migrating_atom": "0"}, "migrating_atom='0' must be a whole number"),
        ({"migration_path": double_well_path(), "uncertainty_ev": float("nan")}, "uncertainty_ev=nan must be a number"),
        ({"migration_path": double_well_path(), "uncertainty_ev": -1}, "zero or more"),
        ({"migration_path": "cr_sb2te3_in_gap", "uncertainty_ev": 3.0}, "cannot be given here: a case says itself"),
        ({"level_of_theory": "PBE"}, "cannot be given here: they belong to a band"),
        ({"model": []}, "no model is named"),
        ({"model": [EMT(), EMT()]}, "two calculators are called 'EMT'; name them: model="),
    ],
)
def test_unusable_arguments(arguments, says):
    with pytest.raises(InputError) as caught:
        Benchmark(**({"model": DoubleWell()} | arguments))
    assert says in str(caught.value)


def test_unusable_requests(lookup, tmp_path):
    with pytest.raises(InputError, match="there is no family 'slidding'"):
        lookup.run("slidding")
    with pytest.raises(InputError, match=r"export_metrics=.*unknown format '.xlsx'; known are .json, .md, .csv"):
        lookup.export_metrics(tmp_path / "x.xlsx")
    emt = Benchmark(model="ase:EMT", migration_path="cr_sb2te3_in_gap")
    assert emt.run().verdict == "nothing judged"
    assert emt.plot_energy_profile() is not None  # the reference alone


@pytest.mark.parametrize(("name", "says"), [("x.xyz", "unknown format '.xyz'; known are .png"), ("", "is a directory")])
def test_pictures_that_cannot_be_written(lookup, tmp_path, name, says):
    with pytest.raises(InputError, match=says):
        lookup.plot_energy_profile(tmp_path / name)


def test_an_interrupted_run_is_incomplete_until_it_is_finished():
    class Impatient(DoubleWell):
        def calculate(self, *args, **kwargs):
            if not ready:
                raise KeyboardInterrupt
            super().calculate(*args, **kwargs)

    ready, frames = [], double_well_path()
    for frame in frames:
        frame.calc = DoubleWell()
        frame.get_forces()
    bench = Benchmark(model={"sound": DoubleWell(), "impatient": Impatient()}, migration_path=frames)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.verdict == "incomplete"
    assert "INCOMPLETE" in repr(bench)
    ready.append(True)
    assert bench.run().verdict == "passed"


def test_a_band_is_not_mistaken_for_a_case_of_its_name(tmp_path):
    ase.io.write(tmp_path / "sb2te3_frames.extxyz", double_well_path(), format="extxyz")
    bench = Benchmark(model=DoubleWell(), migration_path=tmp_path / "sb2te3_frames.extxyz").run()
    assert {row.case for row in bench.scorecard.results} == {"sb2te3_frames_band"}


def test_no_parity_plot_where_nothing_was_measured():
    bench = Benchmark(model="ase:EMT", migration_path=double_well_path())
    with pytest.raises(InputError, match="nothing to draw of parity: EMT does not know Cr, Sb, Te"):
        bench.plot_parity()


def test_a_material_without_sliding_cases():
    bench = Benchmark(model=DoubleWell(), material="CrTe", migration_path=double_well_path())
    with pytest.raises(InputError, match="there is no sliding case of this material to draw"):
        bench.plot_sliding()
