"""The pages that are written from the code hold all of it."""

from __future__ import annotations

import importlib.util
import re

import pytest
from doc_pages import ROOT, anchors

from mlff_probes.calculators.families import families
from mlff_probes.cases.load import load_cases
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.measure import KINDS


def load():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = load()


@pytest.fixture(scope="module")
def pages():
    return GENERATE.pages()


def test_every_option_is_there_and_leads_to_a_page(pages, pytester):
    said = pytester.runpytest_subprocess("--help").stdout.str()
    options = set(re.findall(r"^  (--calculator|--probe-[\w-]+)", said, re.MULTILINE))
    assert options
    assert options == set(
        re.findall(r"^\| `(--[\w-]+)", pages["options"].partition("## Of the command")[0], re.MULTILINE)
    )
    assert options == GENERATE.MORE.keys()


def test_every_link_of_an_option_leads_to_a_heading(pages):
    for link in re.findall(r"\]\(([^)]+)\)", pages["options"]):
        target, _, anchor = link.partition("#")
        name = target.removeprefix("../")
        text = (ROOT / "docs" / name).read_text(encoding="utf-8") if target.startswith("../") else pages[name[:-3]]
        assert not anchor or anchor in anchors(text), link


def test_every_key_of_every_kind_is_explained(pages):
    for kind in KINDS:
        section = re.split(r"^###? ", pages["quantities"].partition(f"\n### {kind.name}\n")[2], flags=re.MULTILINE)[0]
        keys = section.partition("\n| quantity ")[0]
        for name in kind.protocol.model_fields:
            if name != "kind":
                (row,) = re.findall(rf"^\| `{name}` \| (.*?) \| (.*?) \| (.*?) \|$", keys, re.MULTILINE)
                assert all(row), (kind.name, name)
        for quantity, unit in kind.protocol.quantities.items():
            assert f"| `{quantity}` | {unit} |" in section


def test_every_tolerance_and_every_case_is_there(pages):
    for (_, quantity), tolerance in load_policy().tolerances.items():
        assert f"| `{quantity}` | {tolerance.value:g}" in pages["tolerances"]
        assert tolerance.reason in pages["tolerances"]
    for case in load_cases():
        assert f"| `{case.id}` | {case.title} | {case.tier} |" in pages["cases"]


def test_every_family_of_models_is_there_with_its_models_and_what_it_was_tried_on(pages):
    sections = pages["families"].split("\n## ")
    for name, row in families().items():
        (section,) = (section for section in sections if section.startswith(f"{row.title}\n"))
        assert f"| tried on | {row.tried} |" in section
        assert all(f"`{name}:{model}`" in section for model in row.models)
