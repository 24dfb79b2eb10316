"""The command that is printed after a case was made judges that case, and no other."""

from __future__ import annotations

import shlex

import ase.io
import forks
import pytest
from ase.build import bulk

from mlff_probes.cases.load import load_case
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.session.commands.common import judging_command

SHIPPED = DIRECTORY / "sliding" / "graphene_fixed_gap_3.35.toml"


@pytest.fixture
def cases(tmp_path):
    """Copies of a case whose names are parts of others, of a family and of a kind."""
    folder = tmp_path / "cases" / "sliding"
    folder.mkdir(parents=True)
    for name in ("mine", "mine_2", "sliding", "graphene", "lonely_case"):
        for file in (SHIPPED, SHIPPED.with_suffix(".extxyz")):
            (folder / f"{name}{file.suffix}").write_bytes(file.read_bytes())
    return folder.parent


@pytest.mark.parametrize("chosen", [["mine"], ["sliding"], ["graphene", "mine"], ["lonely_case"]])
def test_no_other_case_is_judged(cases, chosen):
    command = judging_command(cases, chosen)
    assert ("(-" in command) is (chosen != ["lonely_case"])
    program, *options = shlex.split(command)
    assert program == "pytest"
    run = forks.run(["pytest", *options, "--collect-only", "-q"], cases)
    assert run.returncode == 0, run.stdout + run.stderr
    expected = {f"{id}-{row}" for id in chosen for row in load_case(cases / "sliding" / f"{id}.toml").quantities}
    found = {line.partition("chgnet-0.3.0-")[2].removesuffix("]") for line in run.stdout.splitlines() if "[" in line}
    assert found == expected


def test_options_that_no_case_can_hold_are_one_sentence(tmp_path, capsys):
    ase.io.write(tmp_path / "Cu.extxyz", bulk("Cu", cubic=True))
    arguments = ["make", "hops", str(tmp_path / "Cu.extxyz"), "--species=Cu", f"--to={tmp_path}", "--supercell=2x2x2"]
    assert main([*arguments, "--level= "]) == 4
    error = capsys.readouterr().err
    assert "error: level_of_theory: String should have at least 1 character, found ' '" in error
    assert error.count("\n") == 1
