"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

FIRST = ("test_fault_matrix.py", "integration", "test_readme.py", "independent")
"""Files, and folders of files, that take longest: begun last, one of them would be waited for by idle workers."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """A file goes to one worker, whose fixtures it shares (`--dist loadgroup`), unless it is marked otherwise."""
    if not any(item.iter_markers("xdist_group")):
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


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
