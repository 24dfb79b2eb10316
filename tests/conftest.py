"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import ase_lists
import pytest
from filelock import FileLock

ase_lists.use()

FIRST = ("test_fault_matrix.py", "integration", "test_readme.py", "independent")
"""Files, and folders of files, that take longest: begun last, one of them would be waited for by idle workers."""


SHARED_OUT = ("test_fault_matrix.py", 3)
"""A file too long for one worker, and in how many shares the workers take it."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` a file goes to one worker, whose fixtures its tests share, but for `SHARED_OUT`.

    `--dist loadgroup` would do this by marks, but groups nothing with pytest 9.2 (pytest-xdist issue 1386).
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Shares(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, shares = str(super()._split_scope(nodeid)), SHARED_OUT[1]
            return f"{file} {crc32(nodeid.encode()) % shares}" if file.endswith(SHARED_OUT[0]) else file

    return Shares(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, whatever order the others are in; stable within a file."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: min(places.get(part, len(FIRST)) for part in item.path.parts))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A file or folder by its name and by what writes it: the worker that needs it first makes it for all."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, write: Callable[[Path], object]) -> Path:
        whole, part = shared / name, shared / f"part_of_{name}"
        with FileLock(shared / f"{name}.lock"):
            if not whole.exists():
                write(part)
                part.rename(whole)
        return whole

    return made


@pytest.fixture(scope="session")
def trained_mace_file(made_once) -> Path:
    """A small MACE in float64, trained on this project's own frames in some 15 s; judged well, but not perfect."""
    from mace_models import trained_mace

    return made_once("trained.model", trained_mace)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", target]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: two gain nothing on small frames and lose much where another process wants a core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
