"""Links and file names on the pages lead somewhere, as a reader on GitHub follows them. The site checks its own."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
from doc_pages import ROOT, anchors, page, without_code

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "reference/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "example").glob("*.md")),
]
BY_CODE = ("options", "quantities", "tolerances", "cases", "families")
WRITTEN = {ROOT / "docs" / "generated" / f"{name}.md" for name in BY_CODE}
"""Pages that `make docs` writes from the code; `tests/docs/test_generated.py` looks at them."""

LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:mlff_probes|probes|reference|tests|docs)/[\w./]*\w/?)`")
"""A file or a folder of this repository, named in the text."""


def names(pages: list[Path]) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in pages]


@pytest.mark.parametrize("name", names(PAGES))
def test_linked_files_and_headings_exist(name):
    text = without_code(page(name))
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        file = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        if file in WRITTEN:
            continue
        assert file.exists(), f"{name} links {link}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{name} links {link}"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", *names(sorted((ROOT / "docs").glob("*.md")))])
def test_files_that_are_named_exist(name):
    text = without_code(page(name))
    named = [path for path in NAMED.findall(text) if "FAMILY" not in path]  # stands for any
    made = {"docs/_build/html", *re.findall(r"^\*\*`(.+?)`\*\*$", text, re.MULTILINE)}  # by a command, or by the reader
    folders = {str(Path(path).parent) for path in made}
    missing = [path for path in named if not (ROOT / path).exists() and path.rstrip("/") not in made | folders]
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *names(sorted((ROOT / "docs").glob("*.md")))])
def test_modules_that_are_named_exist(name):
    """`mlff_probes.room.module`, or a name in it; what a page tells its reader to write is not there yet."""
    named = set(re.findall(r"`(mlff_probes(?:\.\w+)+)`", without_code(page(name))))
    missing = [dotted for dotted in named if not is_there(dotted)]
    assert missing == []


def is_there(dotted: str) -> bool:
    """Whether a dotted name can be imported, as a module or as a name of one."""
    try:
        return pkgutil.resolve_name(dotted) is not None
    except (ImportError, AttributeError):
        return False
