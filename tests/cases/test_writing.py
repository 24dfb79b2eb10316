"""Cases are written whole or not at all."""

from __future__ import annotations

import errno
import tomllib

import ase.io
import pytest

from mlff_probes.cases.load import CaseFile, UnrecordedError, load_case
from mlff_probes.cases.writing import Draft, as_toml, write_case, write_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.structures import derived
from mlff_probes.core.toml import read_toml, validated
from mlff_probes.measure import BY_KIND

SLIDE = DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.2.toml"


def table(file=SLIDE):
    return validated(CaseFile, read_toml(file), file, kinds=BY_KIND)


def frames():
    return ase.io.read(SLIDE.with_suffix(".extxyz"), ":")


def left(directory):
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())


@pytest.mark.parametrize("file", sorted(DIRECTORY.glob("*/*.toml")), ids=lambda file: file.stem)
def test_the_text_of_a_case_file_says_what_the_case_does(file):
    read = validated(CaseFile, tomllib.loads(as_toml(table(file))), file, kinds=BY_KIND)
    assert read == table(file)


def test_a_written_case_is_read_as_it_was_meant(tmp_path):
    file, case = write_case(tmp_path, Draft("mine", table(), frames()))
    assert file == tmp_path / "sliding" / "mine.toml"
    assert case.id == "mine"
    assert len(case.frames) == 12
    assert {row.quantity for row in case.expectations} == {row.quantity for row in table().expectation}
    assert left(tmp_path) == ["sliding/mine.extxyz", "sliding/mine.toml"]


def test_a_case_may_wait_for_its_energies(tmp_path):
    bare = [derived(frame) for frame in frames()]
    with pytest.raises(UnrecordedError, match=r"sliding/mine\.toml: .*mlff-probes record mine"):
        write_case(tmp_path, Draft("mine", table(), bare))
    assert left(tmp_path) == []
    file, case = write_case(tmp_path, Draft("mine", table(), bare, recorded=False))
    assert [row.quantity for row in case.expectations] == ["periodicity"]  # its value is stated
    with pytest.raises(UnrecordedError, match="'atop_energy' has no value, and its frames no energies"):
        load_case(file)


def test_a_case_that_waits_is_checked_as_far_as_it_can_be(tmp_path):
    bare = [derived(frame) for frame in frames()]
    row = table().expectation[0].model_copy(update={"unit": "eV"})
    with pytest.raises(InputError, match="the unit must be 'eV/cell', found 'eV'"):
        write_case(tmp_path, Draft("mine", table().model_copy(update={"expectation": (row,)}), bare, recorded=False))


def test_a_case_that_is_there_is_not_overwritten_unasked(tmp_path):
    file, _ = write_case(tmp_path, Draft("mine", table(), frames()))
    before = file.read_text()
    other = table().model_copy(update={"title": "another"})
    with pytest.raises(InputError, match=r"mine\.toml: is there already.*--replace"):
        write_case(tmp_path, Draft("mine", other, frames()))
    assert file.read_text() == before
    write_case(tmp_path, Draft("mine", other, frames()), replace=True)
    assert "another" in file.read_text()


def test_what_replaces_a_case_forgets_how_the_old_one_was_recorded(tmp_path):
    file, _ = write_case(tmp_path, Draft("mine", table(), frames()))
    file.with_suffix(".provenance.json").write_text("{}")
    write_case(tmp_path, Draft("mine", table(), frames()), replace=True)
    assert left(tmp_path) == ["sliding/mine.extxyz", "sliding/mine.toml"]


@pytest.mark.parametrize(
    ("id", "says"),
    [
        (SLIDE.stem, f"'{SLIDE.stem}' is the id of a case that comes with mlff-probes, sliding/{SLIDE.name}"),
        ("hop", "'hop' is the id of a case in .*mine, migration/hop.toml"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("replace", [False, True])
def test_an_id_that_another_case_has_is_refused(tmp_path, id, says, replace):
    (tmp_path / "mine" / "migration").mkdir(parents=True)
    (tmp_path / "mine" / "migration" / "hop.toml").write_text("")
    with pytest.raises(InputError, match=says):
        write_case(tmp_path / "mine", Draft(id, table(), frames()), replace=replace)


def test_frames_that_the_loader_refuses_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=r"^(?!.*\.writing).*sliding/mine\.extxyz: a period needs at least 6"):
        write_case(tmp_path, Draft("mine", table(), frames()[:4]))
    assert left(tmp_path) == []


def test_of_several_cases_all_are_written_or_none(tmp_path, monkeypatch):
    drafts = [Draft("mine", table(), frames()), Draft("other", table(), frames()[:4])]
    with pytest.raises(InputError, match=r"sliding/other\.extxyz: a period needs at least 6"):
        write_cases(tmp_path, drafts)
    assert left(tmp_path) == []
    write, room = ase.io.write, iter([True, False])

    def nearly_full(*what, **how):
        if not next(room):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*what, **how)

    monkeypatch.setattr(ase.io, "write", nearly_full)
    drafts = [Draft("mine", table(), frames()), Draft("other", table(), frames())]
    with pytest.raises(InputError, match=r"other\.toml: cannot be written \(No space left on device\)"):
        write_cases(tmp_path, drafts)
    assert left(tmp_path) == []
    monkeypatch.undo()
    assert [case.id for _, case in write_cases(tmp_path, drafts)] == ["mine", "other"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full)
    with pytest.raises(InputError, match=r"mine\.toml: cannot be written \(No space left on device\)"):
        write_case(tmp_path, Draft("mine", table(), frames()))
    assert left(tmp_path) == []
