"""A Chromium for the tests of the page: the one of the system, or playwright's own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the scorecards that the other tests look at

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """No test here is skipped: where there is no Chromium, playwright's launch fails and says how to install one."""
    found = os.environ.get("MLFF_PROBES_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    given = {"executable_path": found} if found else {}
    return {**browser_type_launch_args, **given, "args": ["--no-sandbox"] if os.geteuid() == 0 else []}
