"""docs/calculators.md: its files are written as they are printed, its package is installed, its commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "calculators.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)```", DOCS, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL) for line in block.splitlines()]
PYTEST = [command for command in COMMANDS if command.startswith("pytest ")]
INSTALL = "pip install ."

ONE_ITEM = ("-k", "cr_sb2te3_in_gap and reverse_barrier", "-p", "no:cacheprovider")
ELEMENTS = ("Cr", "Sb", "Te")
MINE = {"factory": "./calc.py:make", "path": "{cwd}/model.json"}

EXPECTED = {
    "py:./calc.py:make,path=model.json": ("make", "py", None, None, {"path": "model.json"}),
    "calc.toml": ("mine", "py", "PBE", ELEMENTS, MINE | {"epsilon": 0.03}),
    "calc.toml,label=softer,epsilon=0.01": ("softer", "py", "PBE", ELEMENTS, MINE | {"epsilon": 0.01}),
    "toy:soft": ("toy-soft", "toy", "PBE", ELEMENTS, {}),
    "toy:hard,epsilon=0.1": ("toy-hard", "toy", "PBE", ELEMENTS, {"epsilon": 0.1}),
    "model.json,family=toy,epsilon=0.02": ("model", "toy", "PBE", ELEMENTS, {"epsilon": 0.02}),
}
"""Label, family, level of theory, elements and options of each calculator that the docs name."""


def specs_of(command):
    """What a command of the docs hands to `--calculator`; it says nothing else."""
    _, *options = shlex.split(command)
    assert options[:2] == ["--pyargs", "mlff_probes.probes"]
    assert all(option.startswith("--calculator=") for option in options[2:])
    return [option.partition("=")[2] for option in options[2:]]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with the files of the docs."""
    folder = tmp_path_factory.mktemp("docs")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def with_package(written, inner_environment):
    """The same folder, its package installed into a folder of its own that inner runs import from."""
    site = written / "site"
    subprocess.run(
        [sys.executable, "-m", *shlex.split(INSTALL), "--target", site, "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check"],
        cwd=written, env=inner_environment, check=True,
    )  # fmt: skip
    # as from a shell elsewhere: the sources beside the run must not stand in for what was installed
    (written / "toy_potentials.py").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
        yield written


def test_the_docs_show_what_is_tested_here():
    assert list(FILES) == ["calc.py", "model.json", "calc.toml", "pyproject.toml", "toy_potentials.py"]
    assert [command for command in COMMANDS if command not in PYTEST] == [INSTALL]
    assert {spec for command in PYTEST for spec in specs_of(command)} == set(EXPECTED)


@pytest.mark.parametrize("command", PYTEST)
def test_command(command, with_package, run_probes_in):
    specs = specs_of(command)
    run = run_probes_in(with_package, *(f"--calculator={spec}" for spec in specs), *ONE_ITEM)
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.output
    assert [row.verdict.state.value for row in run.card.results] == ["failed"] * len(specs)
    for identity, spec in zip(run.card.calculators, specs, strict=True):
        label, family, level, elements, options = EXPECTED[spec]
        assert (identity.spec, identity.label, identity.family) == (spec, label, family)
        assert (identity.level_of_theory, identity.elements) == (level, elements)
        told = {k: v.format(cwd=with_package) if isinstance(v, str) else v for k, v in options.items()}
        assert identity.options == told
        assert ("toy-potentials" in identity.versions) == (family == "toy")
        run.matches(f"calculator {label}: {spec}", f"{label} against the references", "*cr_sb2te3_in_gap*failed")


def test_with_workers_and_elements_it_does_not_know(with_package, run_probes_in):
    (with_package / "other.toml").write_text(FILES["calc.toml"].replace('"Cr", ', "").replace("mine", "no-cr"))
    run = run_probes_in(with_package, "--calculator=toy:soft", "--calculator=other.toml", *ONE_ITEM, "-n", "2")
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.output
    states = {row.calculator: row.verdict.state.value for row in run.card.results}
    assert states == {"toy-soft": "failed", "no-cr": "not applicable"}
    assert run.card.calculators[0].versions["toy-potentials"] == "0.3.1"


REFUSED = {
    "toy:medium": ["there is no toy 'medium'; there are soft, hard"],
    "toy,sgma=3": ["a toy has no option 'sgma'; it takes epsilon, sigma, rc"],
    "toy,dtype=float32": ["a toy computes in float64 on the CPU"],
    "tooy": ["'tooy' is no file and no known family (did you mean toy?)", "installed packages add toy"],
    "model.json": ["model.json is no readable checkpoint", "installed packages add toy (a file of theirs: ,family=…)"],
    "calc.toml,sgma=3": ["make() takes no argument 'sgma'; its arguments are: "],
    "typo.toml": ["typo.toml: the key 'elements.1': not the symbol of an element, found 'cr'"],
    "nosuch.toml": ["there is no file nosuch.toml (looked from {cwd})"],
}


@pytest.mark.parametrize(("spec", "workers"), [*((spec, ()) for spec in REFUSED), ("tooy", ("-n", "2"))])
def test_is_refused_in_one_sentence(spec, workers, with_package, run_probes_in):
    (with_package / "typo.toml").write_text(FILES["calc.toml"].replace('"Cr"', '"cr"'))
    (with_package / "card.json").unlink(missing_ok=True)
    run = run_probes_in(with_package, f"--calculator={spec}", *workers)
    run.assert_usage_error(*(part.format(cwd=with_package) for part in REFUSED[spec]))
    assert run.stderr.startswith(f"ERROR: --calculator={spec}: ")


def test_nothing_of_the_package_is_imported_unless_it_is_asked_for(with_package, run_probes_in, inner_pytest):
    """A package that breaks as it is imported; without `--calculator` nobody even looks for it."""
    (with_package / "broken").mkdir()
    (with_package / "broken" / "toy_potentials.py").write_text("raise ImportError('needs another driver')")
    (with_package / "test_mine.py").write_text("def test_mine():\n    pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(with_package / "broken"), os.environ["PYTHONPATH"]]))
        assert inner_pytest(with_package, "test_mine.py").code == pytest.ExitCode.OK
        assert len(run_probes_in(with_package, "--calculator=ase:LennardJones", *ONE_ITEM).card.results) == 1
        (with_package / "card.json").unlink()
        run = run_probes_in(with_package, "--calculator=toy:soft")
    run.assert_usage_error(
        "--calculator=toy:soft: the family 'toy' of toy-potentials 0.3.1 cannot be imported: ImportError: needs another"
    )


ALIVE = """
import weakref
from pathlib import Path

made = weakref.WeakSet()


class Alive(Sound):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        with Path("alive.log").open("a") as log:
            print(self.name_of_it, len(made), file=log)


def made_as(name):
    found = Alive()
    found.name_of_it = name
    made.add(found)
    return found


def first(): return made_as("first")
def last(): return made_as("last")
"""


def test_a_model_whose_measurements_are_over_gives_its_memory_back(tmp_path, sound, run_probes_in, recorded):
    (tmp_path / "alive.py").write_text(sound + ALIVE)
    both = [f"--calculator=py:alive:{name}" for name in ("first", "last")]
    run_probes_in(tmp_path, *both, f"--probe-reference={recorded}", "--probe-reference-only", "-k", "fixed_gap")
    calls = (tmp_path / "alive.log").read_text().splitlines()
    assert list(dict.fromkeys(calls)) == ["first 2", "last 1"]
