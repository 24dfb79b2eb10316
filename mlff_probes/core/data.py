"""Where the probes and the reference data of the package lie."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
PROBES = PACKAGE / "probes"
DIRECTORY = PACKAGE / "reference"
"""The cases and the tolerance policy that come with the package."""

POLICY = DIRECTORY / "tolerances.toml"
REGRESSION = "regression"
"""The table of a tolerance file that says when a change against a baseline counts."""

SAMPLES = "samples"
"""The table of a tolerance file that says on how large a part of its samples a number may stand."""


def lost_links() -> str:
    """What to say of a checkout whose symbolic links became text files; empty where they are as they should be."""
    lost = [folder.name for folder in (PROBES, DIRECTORY) if not folder.is_dir()]
    if not lost:
        return ""
    return (
        f"{PACKAGE / lost[0]} should be a symbolic link to the folder {lost[0]} beside {PACKAGE.name}: this checkout "
        "lost its links, as a zip archive or git on Windows does; clone it with git -c core.symlinks=true, or install "
        "the wheel"
    )
