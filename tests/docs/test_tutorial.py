"""The tutorial is run as it is printed: files are written, commands end as they say, and say what is shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "pytest": [sys.executable, "-P", "-m", "pytest"],
    "mlff-probes": [sys.executable, "-P", "-m", "mlff_probes.cli"],
    "python": [sys.executable],
}


def run(line: str, folder: Path) -> str:
    """Run one line of a shell block and check its exit code; what it printed."""
    command, _, expected = line.partition("# exit code")
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [*PROGRAMS[program], *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == int(expected or 0), f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> list[tuple[str, str]]:
    """What the commands before each ```text block printed, and the block."""
    folder, output, found = tmp_path_factory.mktemp("tutorial"), "", []
    for kind, content in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")):
        named = re.match(r"# (\S+\.\w+)\n", content)
        if kind == "sh":
            output = "".join(run(line, folder) for line in content.splitlines() if not line.startswith("pip install"))
        elif kind in ("python", "toml"):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(content, encoding="utf-8")
        elif kind == "text":
            found.append((content, output))
        else:
            assert kind == "yaml"  # for a CI that is not here
    assert (folder / "results" / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert "al_vacancy,barrier" in (folder / "results" / "barrier.csv").read_text()
    return found


def test_the_tutorial_runs_and_says_what_it_shows(said):
    assert len(said) == 6
    for shown, printed in said:
        assert shown.strip() in printed
