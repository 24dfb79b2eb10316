"""Helpers of the tests that run pytest inside pytest: the runner, a sound calculator, a reference it passes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from forks import Fork, server
from outer_runs import UNRELAXED

from mlff_probes.core.data import DIRECTORY
from mlff_probes.scorecard import files

TIMEOUT_S = 60
ALONE = tuple(
    word for plugin in ("playwright", "benchmark", "randomly", "anyio", "unraisableexception")
    for word in ("-p", f"no:{plugin}")
)  # fmt: skip
"""Without the neighbours that cost start-up time or shuffle (`test_neighbours.py` has them all), and without the search
for garbage at the end: what cannot be raised then stands on standard error."""

LENNARD_JONES = {"sigma": 3.6, "epsilon": 0.02, "rc": 6.0, "ro": 5.0, "smooth": True}
"""Smooth, fast, and with every minimum of E(gap) inside the sampled gaps, so that each quantity has a value."""

MODELS = ("=chgnet", ".model")
"""What tells that a run loads a model of a package that takes seconds to import."""

CELL = DIRECTORY / "inference" / "sb2te3_speed.extxyz"
"""Five atoms of Sb2Te3."""

SOUND = f'''
"""A calculator that is sound, though no good model of anything."""
from ase.calculators import lj


class Sound(lj.LennardJones):
    """Lennard-Jones with numbers that bind the layers."""

    def __init__(self):
        super().__init__(**{LENNARD_JONES!r})


def make():
    return Sound()
'''
COUNTED = (
    SOUND
    + '''

class Counted(Sound):
    """Notes each structure that is computed, in whichever process."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        with open("calls.log", "a", encoding="utf-8") as log:
            log.write("call\\n")


def counted():
    return Counted()
'''
)


@dataclass(frozen=True)
class Run:
    """What became of one inner pytest run."""

    code: int
    stdout: str
    stderr: str
    directory: Path

    @property
    def output(self):
        return self.stdout + self.stderr

    @property
    def text(self):
        """The whole output with every run of blanks and line breaks as one blank, against the folding of tables."""
        return re.sub(r"\s+", " ", self.output)

    @property
    def card_file(self):
        return self.directory / "card.json"

    @property
    def card(self):
        return files.read(self.card_file)

    @property
    def calls(self):
        """Structures that `counted` computed."""
        log = self.directory / "calls.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def matches(self, *patterns):
        """Assert that lines of stdout match `patterns`, in this order."""
        pytest.LineMatcher(self.stdout.splitlines()).fnmatch_lines(patterns)

    def assert_usage_error(self, *parts):
        """Assert exit code 4 and, as all there is on stderr, one line that holds each of `parts`."""
        assert self.code == pytest.ExitCode.USAGE_ERROR, self.output
        said = [line for line in self.stderr.splitlines() if line.strip()]
        assert len(said) == 1, self.stderr
        assert said[0].startswith("ERROR: "), said[0]
        for part in parts:
            assert part in said[0]
        assert not self.card_file.exists()
        assert "verdict:" not in self.stdout


def environment():
    """The environment without what the outer pytest leaves in it for its children, and without CUDA devices.

    Bytecode is kept: without it each of the inner runs would compile the package again.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    for name in ("FORCE_COLOR", "PY_COLORS", "CI", "BUILD_NUMBER", "COLUMNS", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    return kept | {"CUDA_VISIBLE_DEVICES": ""}


def command(*args):
    """`pytest ARGS` as the console script runs it: the working directory stays off `sys.path` (-P)."""
    return [sys.executable, "-P", "-m", "pytest", *map(str, args)]


def hear_ctrl_c():
    """Undo what a background job hands down: its children ignore SIGINT, and Python then never hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_in(directory, *args):
    """Start `pytest ARGS` in `directory`, as a process group of its own."""
    return subprocess.Popen(
        command(*args), cwd=directory, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=hear_ctrl_c,  # noqa: PLW1509 - before any thread
    )  # fmt: skip


def wait_for(process, directory):
    """What a started run says in the end."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return without_internal_failure(Run(process.returncode, stdout, stderr, Path(directory)))


def without_internal_failure(run):
    """The same run; none may ever show one."""
    assert "Traceback" not in run.output, run.output
    assert "INTERNALERROR" not in run.output, run.output
    return run


def run_in(directory, *args):
    """Run `pytest ARGS` in `directory`."""
    return wait_for(start_in(directory, *args), directory)


def probes(directory, *args):
    """Arguments of a run of the probes, with a scorecard `card.json` in `directory`.

    All that takes long in each of a hundred runs is left out; a `-k` among `args` takes the place of that.
    """
    card = f"--probe-scorecard={directory}/card.json"
    return "--pyargs", "mlff_probes.probes", card, *ALONE, *UNRELAXED, *args


def record(target):
    """Copy the package's cases to `target` and put the sound calculator's energies and forces into their frames.

    Cases that relax stay behind, since they have no energies to record: see `tests/measure/test_vacancy.py` and
    `tests/methods/test_bands.py`. So do inference and representation, which have no reference.
    """
    left_out = ("tolerances.toml", "*.md", "vacancy_*", "*_hop.*", "inference", "representation")
    shutil.copytree(DIRECTORY, target, ignore=shutil.ignore_patterns(*left_out))
    for file in target.glob("*/*.extxyz"):
        write_labelled(file, ase.io.read(file, ":"))
    return target


def write_labelled(file, frames):
    """Write `frames` with the sound calculator's energies and forces."""
    calculator = LennardJones(**LENNARD_JONES)
    for frame in frames:
        frame.calc = calculator
        energy, forces = frame.get_potential_energy(), frame.get_forces()
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
    ase.io.write(file, frames, format="extxyz")


SUPERCELLS = """
schema_version = 1
title = "Ten supercells"
tier = "quick"

[protocol]
kind = "parity"

[reference]
level_of_theory = "PBE"
source = "the sound calculator of the tests"

[[expectation]]
quantity = "energy_mae"
unit = "meV/atom"
uncertainty = 0.001
"""
QUICK_SPEED = """
schema_version = 1
title = "Speed on 5 and 20 atoms"
tier = "quick"
report = ["latency_5", "latency_20"]

[protocol]
kind = "speed"
repeats = [[1, 1, 1], [2, 2, 1]]
seconds = 1.0

[reference]
level_of_theory = "exact"
source = "the experimental five-atom cell, repeated"
"""


def case_of(directory, case, toml):
    """Write the case file `case`, FAMILY/ID, in `directory`; where its frames are to be written."""
    file = directory / f"{case}.toml"
    file.parent.mkdir()
    file.write_text(toml)
    return file.with_suffix(".extxyz")


@pytest.fixture(scope="session")
def inner_pytest():
    """`run_in`, for fixtures and tests."""
    return run_in


@pytest.fixture(scope="session")
def inner_environment():
    """`environment`, for a subprocess that is not a plain pytest."""
    return environment()


@pytest.fixture(scope="session")
def start_probes(recorded):
    """Start the probes in a directory, in a fork, for a test that sends a signal."""
    plain = server((DIRECTORY, recorded))

    def start(directory, *args):
        loads = any(word in str(arg) for arg in args for word in MODELS)
        forks = server(models=True) if loads else plain
        return Fork(["pytest", *probes(directory, *args)], directory, environment(), forks)

    return start


@pytest.fixture(scope="session")
def run_probes_in(start_probes):
    """Run the probes in a directory, in a fork."""
    return lambda directory, *args: wait_for(start_probes(directory, *args), directory)


@pytest.fixture
def run_probes(tmp_path, run_probes_in):
    """The same in the test's own directory."""
    return lambda *args: run_probes_in(tmp_path, *args)


@pytest.fixture(scope="session")
def run_fresh_probes_in():
    """The same in a fresh interpreter, for tests of what is about the process."""
    return lambda directory, *args: run_in(directory, *probes(directory, *args))


@pytest.fixture(scope="session")
def start_fresh_probes():
    """Start the probes in a directory, in a fresh interpreter, for a test that sends a signal."""
    return lambda directory, *args: start_in(directory, *probes(directory, *args))


@pytest.fixture(scope="session")
def finish():
    """`wait_for`, for a run started so."""
    return wait_for


@pytest.fixture(scope="session")
def sound():
    """Source of a module with a sound calculator, `make`."""
    return SOUND


@pytest.fixture(scope="session")
def counted():
    """Source of the same module with a second factory, `counted`, that logs its calls to `calls.log`."""
    return COUNTED


@pytest.fixture(scope="session")
def recorded(made_once):
    """A reference directory that the sound calculator passes."""
    return made_once("passed_by_sound", record)


@pytest.fixture(scope="session")
def supercells(tmp_path_factory):
    """A reference directory with one case of one item that the sound calculator passes, `sb2te3_20_atoms`.

    Its ten structures have another size than those of all other cases, by which a test can tell that it is measured.
    """
    directory = tmp_path_factory.mktemp("supercells")
    frames = [ase.io.read(CELL).repeat((2, 2, 1)) for _ in range(10)]
    for seed, frame in enumerate(frames):
        frame.rattle(0.05, seed=seed)
    write_labelled(case_of(directory, "parity/sb2te3_20_atoms", SUPERCELLS), frames)
    return directory


@pytest.fixture(scope="session")
def quick_speed(tmp_path_factory):
    """A reference directory with one case of two items, `quick_speed`, which times 5 and 20 atoms in some 0.1 s."""
    directory = tmp_path_factory.mktemp("quick_speed")
    shutil.copy(CELL, case_of(directory, "inference/quick_speed", QUICK_SPEED))
    return directory


@pytest.fixture
def recorded_only(recorded):
    """Options that judge against that directory alone."""
    return ("--probe-reference-only", f"--probe-reference={recorded}")
