"""Sphinx configuration: `make docs` builds the site; warnings are errors, and a broken link is a warning."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402 - found beside this file

from mlff_probes import __version__  # noqa: E402

project = "mlff-probes"
author = "mlff-probes developers"
copyright = "mlff-probes developers"
version = release = __version__
repository = "https://github.com/mlff-probes/mlff-probes"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "recipes", "cp2k"]
suppress_warnings = ["myst.strikethrough"]
default_role = "literal"  # docstrings mark code with single backticks
nitpicky = True
# Types of other packages: the site is built without a network, so that their documentation cannot be looked up.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!mlff_probes\.).*"),
    (r"py:class", r"mlff_probes\..*\.[A-Z](_co)?"),  # type variables
    (r"py:class", r"mlff_probes\..*\.[a-z_]+"),  # functions that validate what is annotated with them
]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "mlff-probes"
html_theme_options = {"source_repository": repository, "source_branch": "main", "source_directory": "docs/"}
html_static_path = ["_static"]
html_css_files = ["wide.css"]

linkcheck_timeout = 20
linkcheck_anchors = False

LINK = re.compile(r"(\]\()((?:\.\./)+)([^)#\s]*)(#[^)\s]*)?(\))")
"""A Markdown link that leaves the folder of its page."""

PAGES_OF_ROOT = {"CHANGELOG.md": "generated/changelog.md", "CONTRIBUTING.md": "generated/contributing.md"}
"""Files of the repository that are pages of this site as well."""


def links_into_the_repository(app: Any, docname: str, source: list[str]) -> None:
    """Point links that leave `docs/` at the repository: on GitHub they are relative, on this site they cannot be."""
    from sphinx.util import logging

    folder = (HERE / docname).parent

    def target(match: re.Match[str]) -> str:
        before, up, rest, anchor, after = match.groups()
        path = (folder / up / rest).resolve()
        if path.is_relative_to(HERE):
            return match[0]
        inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
        if not path.exists():
            logging.getLogger(__name__).warning("links %s, which does not exist", inside, location=docname)
        if inside in PAGES_OF_ROOT:
            page = "../" * docname.count("/") + PAGES_OF_ROOT[inside]
            return f"{before}{page}{anchor or ''}{after}"
        kind = "tree" if path.is_dir() else "blob"
        return f"{before}{repository}/{kind}/main/{inside}{anchor or ''}{after}"

    source[0] = LINK.sub(target, source[0])


def leave_out_what_pydantic_adds(app: Any, what: str, name: str, *_: Any) -> bool | None:
    """The methods of pydantic's `BaseModel` are not part of the documentation of our records."""
    return True if name.startswith("model_") else None


def no_type_before_a_colon(app: Any, what: str, *more: Any) -> None:
    """Napoleon takes what stands before the first colon of an attribute's docstring for a type; ours is a sentence."""
    lines: list[str] = more[-1]
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)


def setup(app: Any) -> dict[str, bool]:
    """Write the generated pages and connect the hooks."""
    generate.write(HERE / "generated")
    app.connect("source-read", links_into_the_repository)
    app.connect("autodoc-skip-member", leave_out_what_pydantic_adds)
    app.connect("autodoc-process-docstring", no_type_before_a_colon, priority=400)  # before napoleon, at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
