"""Where what is kept from one run to the next lies: a directory of the user's, or one in pytest's cache."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from mlff_probes.core.errors import InputError

PYTEST_CACHE_FILES = {
    ".gitignore": "*\n",
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# See https://bford.info/cachedir/\n",
}
"""What keeps a cache out of git and of backups; pytest writes the like when it makes its cache, but not later."""

PYTEST_CACHE_PLACE = Path("d", "mlff-probes")
"""Where pytest's cache has the directories of plugins, so that `--cache-clear` removes them."""


def store_directory(given: str | os.PathLike[str], said: str) -> Path:
    """The directory that the user gave for what is kept, wherever the work goes on later; `said` names it in errors.

    Raises
    ------
    InputError
        If something else is in its place.
    """
    directory = Path(given).expanduser().resolve()
    if directory.exists() and not directory.is_dir():
        raise InputError("", f"{said} is no directory")
    return directory


def in_pytest_cache(cache: Path) -> Path:
    """The directory of what is kept in pytest's cache; neither of the two need exist."""
    return cache / PYTEST_CACHE_PLACE


def make_pytest_cache(directory: Path) -> None:
    """Make the cache around `directory` as pytest would, if it is there that `directory` shall be and it is not."""
    if directory.parts[-2:] != PYTEST_CACHE_PLACE.parts or directory.parents[1].is_dir():
        return
    cache = directory.parents[1]
    cache.mkdir(parents=True, exist_ok=True)
    for name, text in PYTEST_CACHE_FILES.items():
        with suppress(FileExistsError), (cache / name).open("x", encoding="utf-8") as file:  # pytest was faster
            file.write(text)


def write_whole(file: Path, text: str) -> None:
    """Write a file in one step: who reads it, in whichever process, finds all that was there before or all of `text`.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind then.
    """
    part = file.with_name(f"{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
