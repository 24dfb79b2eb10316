"""Imported by the fork server before it forks (`forks.py`): each small file of structures is parsed here, once."""

from __future__ import annotations

import os
from pathlib import Path

from mlff_probes.cases.load import load_cases

for reference in os.environ["PARSED_ONCE"].split(os.pathsep):
    load_cases([Path(reference)])
