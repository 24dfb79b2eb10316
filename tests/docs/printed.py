"""Pages that are run as they are printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import forks
from doc_pages import page

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MODULES = {"pytest": "pytest", "mlff-probes": "mlff_probes.cli"}


def run(line: str, folder: Path) -> str:
    """Run one line of a shell block and check its exit code; what it printed."""
    command, _, expected = line.partition("# exit code")
    program, *arguments = shlex.split(command)
    if program == "python":
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    else:
        done = forks.run([MODULES[program], *arguments], folder)
    assert done.returncode == int(expected or 0), f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def run_page(name: str, folder: Path) -> list[tuple[str, str]]:
    """Write the files of a page into `folder` and run its commands, in order: each text that it shows, and what the
    commands before it printed.
    """
    output, found = "", []
    for kind, content in BLOCK.findall(page(name)):
        named = re.match(r"# (\S+\.\w+)\n", content)
        if kind == "sh":
            output = "".join(run(line, folder) for line in content.splitlines() if not line.startswith("pip install"))
        elif kind in ("python", "toml"):
            assert named
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(content, encoding="utf-8")
        elif kind == "text":
            found.append((content, output))
        else:
            assert kind == "yaml"  # for a CI that is not here
    return found
