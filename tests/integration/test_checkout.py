"""The probes and the reference lie at the top of a checkout, and links carry them into the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from support import ROOT

ALONE = ("-p", "no:playwright", "-p", "no:benchmark", "-p", "no:randomly")
NAMES = ("probes", "reference")


@pytest.fixture
def checkout(tmp_path):
    """A checkout without its tests."""
    for name in ("mlff_probes", *NAMES):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(folder, *command):
    """Run Python in `folder`, whose package comes before the one that is installed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=clean | {"PYTHONPATH": str(folder)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def collected(folder, *arguments):
    """The names of the items of a run with an analytic calculator, of the package in `folder`."""
    done = run(folder, "pytest", "--co", "-q", *ALONE, "--calculator=ase:EMT", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_each_probe_is_collected_once_whatever_is_named(checkout):
    named = collected(checkout, "probes")
    assert any(name.startswith("test_fixed_path[EMT-") for name in named)
    for arguments in ((), (".",), ("--pyargs", "mlff_probes.probes"), ("mlff_probes/probes",)):
        assert collected(checkout, *arguments) == named, arguments
    assert len(named) == len(set(named))


@pytest.mark.parametrize("command", [("pytest", "--calculator=ase:EMT"), ("mlff_probes.cli", "list")])
def test_a_checkout_that_lost_its_links_says_so_in_one_line(checkout, command):
    for name in NAMES:  # as a zip archive, or git on Windows, leaves them
        (checkout / "mlff_probes" / name).unlink()
        (checkout / "mlff_probes" / name).write_text(f"../{name}")
    done = run(checkout, *command)
    assert done.returncode == 4
    (said,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert "lost its links" in said
    assert "core.symlinks=true" in said
