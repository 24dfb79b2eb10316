"""What the table of kinds imports, and when."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from mlff_probes.measure import KINDS
from mlff_probes.measure.kind import Later

LATER = [
    each.place for kind in KINDS for each in (kind.measure, kind.compared_with, kind.alone) if isinstance(each, Later)
]


@pytest.mark.parametrize("place", LATER)
def test_what_is_imported_later_is_there(place):
    module, _, name = place.partition(":")
    assert callable(getattr(import_module(f"mlff_probes.measure.{module}"), name))


def test_a_start_waits_for_nothing_that_it_may_not_need():
    script = "import sys, mlff_probes.session.start; print({'ase.mep', 'ase.md', 'hypothesis'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
