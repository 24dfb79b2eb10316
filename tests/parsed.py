"""Imported by a fork server before it forks (`forks.py`): each small file of structures is parsed here, once.

And ASE's analytic calculators are made as fast as they are in the tests themselves.
"""

from __future__ import annotations

import os
from pathlib import Path

import ase_lists

from mlff_probes.cases.load import load_cases

ase_lists.use()

for reference in os.environ["PARSED_ONCE"].split(os.pathsep):
    load_cases([Path(reference)])
