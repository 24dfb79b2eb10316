"""What is built and shipped: a complete sdist, a wheel of the package alone, a version by tag, honest dependencies."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import pytest

import mlff_probes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlff_probes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MAY_IMPORT = {
    "calculators/loaders/chgnet.py": PROJECT["optional-dependencies"]["chgnet"],
    "calculators/loaders/mace.py": [*PROJECT["optional-dependencies"]["mace"], "e3nn"],  # which mace-torch brings
    "calculators/loaders/sevennet.py": ["torch", "e3nn", "sevenn"],  # once a model of SevenNet is asked for
    "calculators/device.py": ["torch"],  # which both of these extras bring
    "calculators/identity.py": ["torch"],  # which both of these extras bring
    "calculators/checkpoints/safety.py": ["torch"],
    "calculators/checkpoints/torchscript.py": ["torch"],
    "calculators/checkpoints/allowed.py": ["torch", "e3nn"],  # of a checkpoint of MACE, whose package brings e3nn
    "calculators/checkpoints/constructors.py": ["torch"],
    "calculators/calc_file.py": ["pydantic-core"],  # pydantic's own errors are raised from there
    "calculators/families.py": ["pydantic-core"],
    "calculators/dispersion.py": PROJECT["optional-dependencies"]["dispersion"],
    "methods/simulation/choice.py": ["torch-sim-atomistic"],  # which both of these extras bring, too
    "methods/simulation/torch_engine.py": ["torch", "torch-sim-atomistic"],
    "scorecard/reports/csv.py": PROJECT["optional-dependencies"]["notebook"],
    "session/cluster/connection.py": ["distributed", "dask_jobqueue"],  # which the extra brings, once it is asked for
    "session/cluster/dispatch.py": ["distributed"],
    "session/workers/places.py": PROJECT["optional-dependencies"]["parallel"],  # once workers are asked for
    "session/workers/scheduling.py": PROJECT["optional-dependencies"][
        "parallel"
    ],  # which imports this file itself, by calling its own hook
}
"""Who may import more than the core dependencies, and what."""


def git(*args, cwd=ROOT):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    own = ("user.name=a", "user.email=a@b", "commit.gpgsign=false", "tag.gpgsign=false")
    command = ["git", *(word for setting in own for word in ("-c", setting)), *args]
    return subprocess.run(command, cwd=cwd, env=clean, check=True, capture_output=True, text=True).stdout


def wheel_from(folder, target):
    """The wheel that the source tree `folder` gives."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = Path(target).glob("*.whl")
    return wheel


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


LINKED = ("probes", "reference")
"""Folders of the checkout that links carry into the package."""


@pytest.fixture(scope="module")
def sources():
    """Files of the project as git knows them, new ones included, but for the links."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return {name for name in listed if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def package(sources):
    """Files of the package, those that the links lead to among them."""
    own = {name for name in sources if name.startswith("mlff_probes/")}
    return own | {f"mlff_probes/{name}" for name in sources if name.partition("/")[0] in LINKED}


def test_links_carry_probes_and_reference_into_the_package():
    for name in LINKED:
        assert (PACKAGE / name).is_symlink()
        assert (PACKAGE / name).readlink() == Path("..", name)
        assert (ROOT / name).is_dir()


def test_the_sdist_is_complete(built, sources, package):
    with tarfile.open(built[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert names == sources | package | {"PKG-INFO"}


def test_the_wheel_holds_the_package_and_nothing_else(built, package):
    names = set(contents(built[1]))
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == {name for name in package if not name.startswith("mlff_probes/reference/generate/")}
    assert {name.partition("/")[2] for name in about} == {
        "METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"
    }  # fmt: skip


def test_the_sdist_gives_the_same_wheel(built, tmp_path):
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        archive.extractall(
            tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )  # from 3.11.4 on
    (folder,) = tmp_path.iterdir()
    again = wheel_from(folder, tmp_path / "dist")
    assert (again.name, contents(again)) == (wheel.name, contents(wheel))


def test_the_version_is_the_tag(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("mlff_probes", *LINKED):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))

    def version(number):
        return wheel_from(tmp_path, tmp_path / ".git" / str(number)).name.split("-")[1]

    git("init", "--quiet", cwd=tmp_path)
    git("add", ".", cwd=tmp_path)
    git("commit", "--quiet", "--message=all", cwd=tmp_path)
    assert version(1) == "0.1.dev1"
    git("tag", "v1.2.3", cwd=tmp_path)
    git("tag", "data-2026.1", cwd=tmp_path)  # no version
    assert version(2) == "1.2.3"
    git("commit", "--quiet", "--allow-empty", "--message=more", cwd=tmp_path)
    assert version(3) == "1.2.4.dev1"


def test_a_tree_without_git_and_tag_builds_too(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("mlff_probes", *LINKED):
        (tmp_path / name).mkdir()
    (tmp_path / "mlff_probes" / "__init__.py").touch()
    assert wheel_from(tmp_path, tmp_path / "dist").name == "mlff_probes-0.0-py3-none-any.whl"


def test_the_package_knows_its_version():
    assert mlff_probes.__version__ == metadata.version("mlff-probes")


def test_a_package_that_is_not_installed_says_so():
    code = "import mlff_probes; print(mlff_probes.__version__)"  # -S: no site-packages, so no metadata
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0+unknown\n"


def distribution(requirement):
    """The name of a requirement, as `metadata` compares it."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


CORE = set(map(distribution, PROJECT["dependencies"]))


owners = lru_cache(metadata.packages_distributions)
"""Which distributions hold a module."""


def imported(file):
    """Distributions that a file imports from, at its head or later."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    modules = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"mlff_probes"}
    # of a package that stands in an environment of its own, the name of the module is that of the distribution
    return {module: set(map(distribution, owners().get(module, [module]))) for module in modules}


RECIPES = PACKAGE / "calculators" / "loaders" / "recipes.py"
"""What it imports is what the rows of `families.toml` name, and is looked for when a family is asked for."""

FILES = sorted(file for file in PACKAGE.rglob("*.py") if PACKAGE / "probes" not in file.parents and file != RECIPES)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_what_is_imported_is_declared(file):
    allowed = CORE | set(map(distribution, MAY_IMPORT.get(file.relative_to(PACKAGE).as_posix(), ())))
    for module, found in imported(file).items():
        assert found & allowed, f"{module} comes with {found}: declare it in pyproject.toml, and in MAY_IMPORT"


def test_what_is_declared_is_imported():
    used = set().union(*(found for file in FILES for found in imported(file).values()))
    declared = CORE.union(*(map(distribution, MAY_IMPORT[name]) for name in MAY_IMPORT))
    assert declared <= used
    for extra in ("chgnet", "mace"):
        assert "torch" in map(distribution, PROJECT["optional-dependencies"][extra])
