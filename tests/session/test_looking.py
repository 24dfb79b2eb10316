"""`mlff-probes check` and `mlff-probes show`."""

from __future__ import annotations

import shutil

import pytest

from mlff_probes.cases.load import load_cases
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.scorecard.reports.figures import draw_reference

IN_GAP = DIRECTORY / "migration" / "cr_sb2te3_in_gap.toml"


def ran(capsys, *arguments):
    code = main(list(map(str, arguments)))
    return code, capsys.readouterr()


def test_cases_that_are_in_order(capsys):
    code, said = ran(capsys, "check", DIRECTORY)
    assert code == 0
    lines = said.out.splitlines()
    assert lines[-1] == f"{len(lines) - 1} cases are in order"
    assert "ok     migration/cr_sb2te3_in_gap: fixed_path, 5 frames, 7 of 7 quantities judged, PBE" in lines


def test_all_that_is_wrong_is_said(capsys, tmp_path):
    folder = tmp_path / "migration"
    folder.mkdir()
    for name in ("good", "no_frames", "no_toml"):
        shutil.copy(IN_GAP, folder / f"{name}.toml")
    shutil.copy(IN_GAP.with_suffix(".extxyz"), folder / "good.extxyz")
    (folder / "no_toml.toml").write_text("title = ")
    code, said = ran(capsys, "check", tmp_path)
    assert code == 4
    lines = said.out.splitlines()
    assert [line[:6].strip() for line in lines[:3]] == ["ok", "error", "error"]
    assert "error  migration/no_frames: " in lines[1]
    assert "there is no such file of frames" in lines[1]
    assert lines[-1] == "3 cases, 2 of which cannot be read"
    assert ran(capsys, "check", folder / "good.toml")[0] == 0
    code, said = ran(capsys, "check", folder / "no_frames.toml")
    assert code == 4
    assert "there is no such file of frames" in said.out
    assert ran(capsys, "check", tmp_path / "nowhere")[0] == 4
    code, said = ran(capsys, "check", "good", "--reference", tmp_path)
    assert code == 0
    assert said.out.splitlines()[-1] == "1 case is in order"
    assert "ok     migration/cr_sb2te3_in_gap: " in ran(capsys, "check", "cr_sb2te3_in_gap")[1].out
    assert "there is no such reference directory" in ran(capsys, "check", "nowhere")[1].err


def test_a_case_is_shown_with_its_curve_and_a_picture(capsys, tmp_path):
    file = tmp_path / "in_gap.png"
    code, said = ran(capsys, "show", "cr_sb2te3_in_gap", "-o", file)
    assert code == 0
    assert "1.5047                          0.885   ████" in said.out
    assert file.read_bytes().startswith(b"\x89PNG")
    assert f"wrote {file}" in said.out
    code, said = ran(capsys, "show", "nowhere", "-o", file)
    assert code == 4
    assert "there is no case 'nowhere'" in said.err
    assert ran(capsys, "show", IN_GAP, "-o", tmp_path / "x.doc")[0] == 4


@pytest.mark.parametrize(
    "kind", ["fixed_gap_slide", "relaxed_gap_slide", "parity", "molecular_dynamics", "fcc_vacancy"]
)
def test_every_kind_of_case_can_be_drawn_without_a_model(kind):
    case = next(case for case in load_cases() if case.protocol.kind == kind)
    assert draw_reference(case).subfigs[0].axes
