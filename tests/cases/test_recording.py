"""`mlff-probes record`: a case without energies gets them, point by point, and nothing that is no value."""

from __future__ import annotations

import errno
import json
import re
import shutil

import ase.io
import numpy as np
import pytest
from filelock import FileLock

from mlff_probes.cases.load import load_case
from mlff_probes.cases.recording import journal as journals
from mlff_probes.cases.recording import recording as recordings
from mlff_probes.cases.recording.points import computed
from mlff_probes.cases.recording.provenance import with_source
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError

SHIPPED = DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.0.toml"

CALCULATORS = '''
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

class Wave(Calculator):
    """0.4 (1 - cos 2 pi u) eV of a layer that slid by u, one force, and what the arguments make of it."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, shift=0.0, bad=(), how="", output="", magmoms=False):
        super().__init__()
        self.shift, self.bad, self.how, self.output, self.moments = shift, bad, how, output, magmoms

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        slide = round((atoms.cell[2, 0] - 2.132) / 6.396, 4)
        energy = 0.4 * (1 - np.cos(2 * np.pi * slide)) + self.shift
        if slide in self.bad:
            if self.how == "raise":
                raise RuntimeError("the licence server is asleep")
            if self.how == "interrupt":
                raise KeyboardInterrupt
            if self.how == "nan":
                energy = np.nan
            if self.how == "unconverged":
                self.converged = False
            if self.how == "output":
                open("run.out", "a").write(" CP2K| version string:  CP2K version 2023.1\\n  SCF run NOT converged\\n"
                    " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:  -1.0\\n")
        elif self.output:
            open("run.out", "a").write(self.output)
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = energy
        self.results = {"energy": energy, "forces": forces, "stress": np.full(6, 0.01) * (slide != 0)}
        if self.moments:
            self.results["magmoms"] = np.arange(len(atoms), dtype=float)

make = Wave
'''

CONVERGED = """ CP2K| version string:                                       CP2K version 2023.1
  *** SCF run converged in    11 steps ***
 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:  -1.0
"""


@pytest.fixture
def case(tmp_path):
    """A sliding case of six registries without energies, in a folder with calculators."""
    (tmp_path / "calc.py").write_text(CALCULATORS)
    (tmp_path / "cases" / "sliding").mkdir(parents=True)
    file = shutil.copy(SHIPPED, tmp_path / "cases" / "sliding" / "mine.toml")
    frames = ase.io.read(SHIPPED.with_suffix(".extxyz"), "::2")
    for frame in frames:
        frame.calc = None
    ase.io.write(file.with_suffix(".extxyz"), frames)
    return file


def record(case, *options, also=(), **arguments):
    """The exit code of `record` with the wave, of one case and of others `also`."""
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items())
    calculator = case.parents[2] / "dft.toml"
    calculator.write_text(f'factory = "./calc.py:make"\nlevel_of_theory = "PBE"\n[arguments]\n{table}\n')
    return main(["record", str(case), *map(str, also), f"--calculator={calculator}", *options])


def left(case):
    """What lies beside the case, by name."""
    return sorted(file.name for file in case.parent.iterdir())


WHOLE = ["mine.extxyz", "mine.provenance.json", "mine.toml"]


def test_a_case_gets_energies_forces_stress_and_moments(case, capsys):
    assert record(case, magmoms=True, output=CONVERGED) == 0
    said = capsys.readouterr().out
    assert "[6/6] frame 5 (slide 0.8333, gap 2.822): 0.200073 eV, largest force component 0.200 eV/A, " in said
    assert "stacking_fault_energy    0.5999 eV/cell" in said
    read = load_case(case)
    assert {row.quantity: row.value for row in read.expectations}["atop_energy"] == pytest.approx(0.6, abs=1e-3)
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    assert frames[3].get_forces()[0, 0] == pytest.approx(0.8)
    assert frames[3].get_magnetic_moments()[1] == 1.0
    assert frames[3].get_stress()[0] == 0.01
    assert "stress" not in frames[0].calc.results  # all zeros: it was not computed
    assert left(case) == WHOLE


def test_the_case_says_who_computed_it_and_keeps_its_comments(case):
    case.write_text("# of my own\n" + case.read_text().replace('kind = "fixed', '# my kind\nkind = "fixed'))
    assert record(case, output=CONVERGED) == 0
    text = case.read_text()
    assert text.startswith("# of my own\n")
    assert "# my kind" in text
    assert "; recorded by mlff-probes on " in text
    assert "with CP2K 2023.1 (see mine.provenance.json)" in text
    said = json.loads(case.with_suffix(".provenance.json").read_text())
    assert said["recorder"]["arguments"] == {"factory": "./calc.py:make", "output": CONVERGED}
    assert str(case.parents[2]) not in json.dumps(said)
    first = said["points"][0]
    assert first["frame"] == "frame 0 (slide 0, gap 2.822)"
    assert first["converged"] == "its output (run.out)"
    assert len(first["structure"]) == len(first["inputs"]["run.out"]) == 64


def test_what_was_recorded_before_is_said_no_more():
    text = '[reference]\nsource = "doi:1; recorded by mlff-probes on 2020-01-01 with X (see y)" # mine\n'
    assert with_source(text, ["B 2", "A 1", "B 2"], "2026-01-02", "z.json") == (
        '[reference]\nsource = "doi:1; recorded by mlff-probes on 2026-01-02 with A 1 and B 2 (see z.json)" # mine\n'
    )


def test_points_are_kept_and_a_later_run_goes_on(case, capsys):
    before = case.with_suffix(".extxyz").read_text()
    assert record(case, "--only=0,2-3") == 1
    assert "3 of 6 points are there, lacking are frame 1" in capsys.readouterr().out
    assert case.with_suffix(".extxyz").read_text() == before
    assert record(case) == 0
    assert "3 points to compute, 3 are there already" in capsys.readouterr().out
    assert left(case) == WHOLE


def test_a_line_that_a_kill_cut_short_is_dropped(case, capsys):
    record(case, "--only=0-2")
    capsys.readouterr()
    lines = case.parent / ".mine.recording" / "points.jsonl"
    lines.write_text(lines.read_text()[:-30])
    assert record(case) == 0
    assert "4 points to compute, 2 are there already" in capsys.readouterr().out


PARITY = """
schema_version = 1
title = "Structures with one copy among them"
tier = "quick"
report = ["force_mae"]
[protocol]
kind = "parity"
[reference]
level_of_theory = "PBE"
source = "a test"
"""


def test_equal_structures_are_computed_once(case, capsys):
    frames = ase.io.read(case.with_suffix(".extxyz"), ":3")
    file = case.parents[1] / "parity" / "all.toml"
    file.parent.mkdir()
    file.write_text(PARITY)
    ase.io.write(file.with_suffix(".extxyz"), [frames[0], *frames])
    assert main(["record", str(file), f"--calculator=py:{case.parents[2] / 'calc.py'}:make"]) == 0
    assert "[3/3] frame 3: " in capsys.readouterr().out
    assert all("energy" in frame.calc.results for frame in ase.io.read(file.with_suffix(".extxyz"), ":"))
    assert len(load_case(file).frames) == 3


def test_a_journal_without_points_leaves_nothing(case):
    with journals.Journal(case):
        pass
    assert left(case) == ["mine.extxyz", "mine.toml"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", r"the calculator raised at frame 3 \(slide 0\.5, gap 2\.822\): RuntimeError: the licence server"),
        ("nan", r"the energy of frame 3 \(slide 0\.5, gap 2\.822\) is nan"),
        ("unconverged", r"frame 3 .* did not converge, as the calculator says"),
        ("output", r"frame 3 .* did not converge \(run\.out, ionic step 1: .* ran out"),
    ],
)
def test_a_point_without_a_value_is_said_and_left_out(case, capsys, how, reason):
    assert record(case, bad=[0.5], how=how) == 1
    said = capsys.readouterr().out
    assert "no value: " in said
    assert "5 of 6 points are there, lacking are frame 3 (slide 0.5, gap 2.822)" in said
    assert re.search(reason, said)
    assert left(case)[1:] == ["mine.extxyz", "mine.toml"]
    assert (case.parent / ".mine.recording" / "frame_0003").is_dir()


def test_what_an_earlier_attempt_wrote_is_not_taken_for_the_new_output(case):
    assert record(case, "--only=3", bad=[0.5], how="output") == 1
    assert record(case, output=CONVERGED) == 0


def test_a_calculator_that_can_compute_nothing_stops_the_recording(case, capsys):
    assert record(case, bad=[round(i / 6, 4) for i in range(6)], how="raise") == 4
    assert "dft.toml: none of 2 points could be computed; see " in capsys.readouterr().err


def test_ctrl_c_leaves_what_is_there(case, capsys):
    assert record(case, bad=[0.5], how="interrupt") == 130
    assert "stopped: 3 points are kept" in capsys.readouterr().out


def test_points_of_other_settings_are_not_mixed(case, capsys):
    record(case, "--only=0-2")
    assert record(case, shift=0.5) == 4
    assert "3 points were recorded with other settings (shift); go on with those" in capsys.readouterr().err
    assert record(case, "--replace", shift=0.5) == 0
    assert ase.io.read(case.with_suffix(".extxyz"), "0").get_potential_energy() == 0.5


def test_what_is_there_is_replaced_only_when_asked(case, capsys):
    assert record(case) == 0
    assert record(case, shift=1.0) == 4
    assert "mine.toml: lacks nothing; --replace computes it once more" in capsys.readouterr().err
    assert record(case, "--replace", shift=1.0) == 0
    assert ase.io.read(case.with_suffix(".extxyz"), "0").get_potential_energy() == 1.0


def test_energies_of_two_kinds_do_not_meet_in_one_case(case, capsys):
    assert record(case) == 0
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    frames[4].calc = None
    ase.io.write(case.with_suffix(".extxyz"), frames)
    case.with_suffix(".provenance.json").unlink()
    assert record(case, shift=0.1) == 4
    assert "carries 0.0000 eV, but dft.toml gives 0.1000 eV: energies of two kinds" in capsys.readouterr().err
    assert record(case) == 0


def test_a_record_that_speaks_of_other_energies_vouches_for_none(case, capsys):
    """The case was written anew, with the energies of another code, and the record of the old one lay beside it."""
    assert record(case) == 0
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    for frame in frames:
        frame.calc.results["energy"] += 0.1
    frames[4].calc = None
    ase.io.write(case.with_suffix(".extxyz"), frames)
    assert record(case) == 4
    assert "carries 0.1000 eV, but dft.toml gives 0.0000 eV: energies of two kinds" in capsys.readouterr().err


def test_what_a_record_vouches_for_is_not_computed_again(case, monkeypatch):
    assert record(case) == 0
    frames = ase.io.read(case.with_suffix(".extxyz"), ":")
    frames[4].calc = None
    ase.io.write(case.with_suffix(".extxyz"), frames)
    seen = []
    monkeypatch.setattr(recordings, "computed", lambda *given, name: seen.append(name) or computed(*given, name=name))
    assert record(case) == 0
    assert len(seen) == 1


def test_several_cases_one_after_the_other(case, capsys):
    """One that lacks nothing is said and passed over, and Ctrl-C ends all."""
    for name in ("second", "third"):
        for file in (case, case.with_suffix(".extxyz")):
            shutil.copy(file, file.with_stem(name))
    assert record(case) == 0
    second, third = (case.with_stem(name) for name in ("second", "third"))
    assert record(case, also=[second]) == 0
    said = capsys.readouterr().out
    assert "mine.toml: lacks nothing" in said
    assert "second: 6 points to compute" in said
    assert record(third, "--replace", also=[second], bad=[0.0], how="interrupt") == 130
    said = capsys.readouterr().out
    assert "stopped: 0 points are kept" in said
    assert "second:" not in said


def test_a_second_recorder_is_refused(case, capsys):
    (case.parent / ".mine.recording").mkdir()
    with FileLock(case.parent / ".mine.recording" / "lock"):
        assert record(case) == 4
    assert "mine.toml: somebody records this case already" in capsys.readouterr().err


def test_a_full_disk_loses_no_point_that_was_kept(case, capsys, monkeypatch):
    written, real = [], journals.os.fsync

    def full(handle):
        written.append(handle)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(journals.os, "fsync", full)
    assert record(case) == 4
    error = capsys.readouterr().err
    assert "cannot be written (No space left on device); the 2 points so far are kept; mend that" in error
    assert record(case) == 0
    assert "4 points to compute, 2 are there already" in capsys.readouterr().out


def test_a_case_that_cannot_be_used_keeps_its_points(case, capsys):
    case.write_text(case.read_text().replace('unit = "eV/cell"', 'unit = "eV/cell"\nvalue = 0.8', 1))
    assert record(case) == 4
    error = capsys.readouterr().err
    assert "a value is given, but the stored reference yields it; leave one out; the 6 points are kept" in error
    case.write_text(SHIPPED.read_text())
    capsys.readouterr()
    assert record(case) == 0
    assert "0 points to compute, 6 are there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda case: case.write_text("title = 1"), "the key 'schema_version' is missing"),
        (lambda case: case.with_suffix(".extxyz").unlink(), "there is no such file of frames"),
        (lambda case: case.write_text(case.read_text().replace("[2, 1]", "[1, 1]")), "does not follow slide="),
        (
            lambda case: case.write_text(case.read_text().replace("= [2, 1]", '= [2, 1]\nenergy_key = "E"')),
            "take it out: what is recorded stands under ASE's own names",
        ),
        (
            lambda case: case.write_text(case.read_text().replace('unit = "eV/cell"', 'unit = "eV"', 1)),
            "the unit must be 'eV/cell', found 'eV'",
        ),
        (
            lambda case: case.write_text(case.read_text().replace('theory = "PBE"', 'theory = "r2SCAN"')),
            'computes PBE, and mine.toml says level_of_theory = "r2SCAN"; let both say the same',
        ),
    ],
)
def test_a_case_that_is_wrong_is_refused_before_anything_is_computed(case, capsys, break_it, reason):
    break_it(case)
    assert record(case) == 4
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--only=6"], "--only=6: '6' names no frame; write numbers from 0 to 5, as in 0,4,6-8"),
        (["--only=3-1"], "--only=3-1: '3-1' names no frame"),
        (["--only=a"], "--only=a: 'a' names no frame"),
    ],
)
def test_frames_that_are_not_there_are_refused(case, capsys, options, reason):
    assert record(case, *options) == 4
    assert reason in capsys.readouterr().err


def test_unusable_commands_are_one_sentence(case, capsys):
    unknown = f"--calculator={case.parents[2] / 'none.toml'}"
    for arguments, reason in [
        (["record", str(case)], "nobody is named who computes; write --calculator=dft.toml"),
        (
            ["record", "nowhere", "--calculator=ase:EMT"],
            "there is no case 'nowhere'; name its TOML, or --reference=DIR",
        ),
        (
            ["record", str(case), "--calculator=ase:EMT"],
            "--calculator=ase:EMT: does not know Sb, Te, which mine.toml holds",
        ),
        (
            ["record", "vacancy_Cu", "--calculator=ase:EMT"],
            "of kind 'fcc_vacancy' is not compared with energies of its frames",
        ),
        (["record", "sb2te3_frames", "--calculator=ase:EMT"], "its frames are those of other files"),
        (["record", str(case), unknown], "none.toml"),
    ]:
        assert main(arguments) == 4, arguments
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1


def test_a_case_is_found_by_its_id(case, capsys):
    calculator = case.parents[2] / "dft.toml"
    calculator.write_text('factory = "./calc.py:make"\n')
    assert main(["record", "mine", f"--reference={case.parents[1]}", f"--calculator={calculator}", "--only=0"]) == 1
    assert "mine: 1 points to compute" in capsys.readouterr().out


def test_a_read_only_case_is_refused(case, monkeypatch):
    from mlff_probes.cases.recording import lacking

    monkeypatch.setattr(lacking.os, "access", lambda path, _: path.suffix != ".extxyz")  # root may write anything
    with pytest.raises(InputError, match=r"mine\.extxyz: is read-only; record a copy"):
        lacking.read_recordable(case)


def test_the_working_directory_is_the_users_again(case, monkeypatch):
    monkeypatch.chdir(case.parents[2])
    assert main(["record", "cases/sliding/mine.toml", "--calculator=py:calc.py:make"]) == 0
    assert np.isfinite(ase.io.read("cases/sliding/mine.extxyz").get_potential_energy())
