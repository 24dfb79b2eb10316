"""The pytest plugin: options always, everything else only once `--calculator` is given.

This module is imported in every pytest run of an environment, so it imports the standard library and
pytest alone; the hooks that need more live in `mlff_probes.session.hooks`.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlff_probes.core.data import PROBES, lost_links

if TYPE_CHECKING:
    from mlff_probes.scorecard.model import Scorecard

MODULE = "mlff_probes.probes"
NEEDS_CALCULATOR = (
    "the probes need a calculator: add --calculator=path/to.model, or --calculator=chgnet for one that is "
    "at hand (the project's own tests run with: make test)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register `--calculator` and the `--probe-*` options."""
    group = parser.getgroup("mlff-probes", "machine-learned force fields against DFT (mlff-probes)")
    add = group.addoption
    add("--calculator", action="append", default=[], dest="probe_calculators", metavar="SPEC[,key=value…]",
        help="force field to judge: a checkpoint file, chgnet, chgnet:0.2.0, ase:EMT, py:module:factory, "
        "py:./file.py:factory, calc.toml, or an installed family; repeatable; write it with '='")  # fmt: skip
    add("--probe-device", metavar="DEVICE", help="cpu, cuda, cuda:N, mps or auto (default: cuda where there is one)")
    add("--probe-require-device", choices=("cpu", "cuda", "mps"),
        help="refuse to run where a calculator computes elsewhere, or does not say where")  # fmt: skip
    add("--probe-dtype", choices=("float32", "float64"), help="precision (default: the checkpoint's own)")
    add("--probe-tier", choices=("smoke", "quick", "standard", "full"), default="quick",
        help="how much to run (default: quick)")  # fmt: skip
    add("--probe-reference", action="append", default=[], metavar="DIR", help="add the cases of DIR; repeatable")
    add("--probe-reference-only", action="store_true", help="leave out the cases that come with mlff-probes")
    add("--probe-tolerances", metavar="FILE", help="TOML with tolerances that override the policy")
    add(
        "--probe-known-failures", metavar="FILE", help="TOML with failures that do not count; a stale entry is an error"
    )
    add("--probe-level-of-theory", choices=("match", "any"), default="match",
        help="any: judge a calculator against references of another level of theory too")  # fmt: skip
    add("--probe-scorecard", action="append", default=[], metavar="FILE",
        help="write the scorecard: .json, .csv, .html, or .md with figures beside it; repeatable")  # fmt: skip
    add("--probe-baseline", metavar="FILE.json|SPEC",
        help="compare with an older scorecard (one of several calculators in it: FILE.json,label=…), or with another "
        "calculator, which is measured too")  # fmt: skip
    add("--probe-fail-on", choices=("tolerance", "regression", "both"),
        help="what makes a run fail (default: both with a baseline, else tolerance)")  # fmt: skip
    add("--probe-seed", type=int, default=0, metavar="N", help="other random numbers for simulations (default: 0)")
    add("--probe-benchmark-json", metavar="FILE", help="write every timed call as pytest-benchmark does, for its tools")
    add("--probe-training-frames", action="append", default=[], metavar="FILE",
        help="frames that the calculators learned, from which others are measured; repeatable")  # fmt: skip
    add("--probe-store", metavar="DIR",
        help="where measurements are kept, taken from and resumed (default: pytest's cache)")  # fmt: skip
    add("--probe-no-store", action="store_true", help="keep nothing, measure all again")
    add("--probe-budget", metavar="TIME",
        help="how long to measure (10m, 90s): the most telling first, nothing that will not end in time")  # fmt: skip
    add("--probe-executor", metavar="dask:ADDRESS|dask-jobqueue:FILE",
        help="let the workers of a Dask scheduler, or of jobs that FILE (TOML) describes, measure")  # fmt: skip
    add("--probe-timeout", metavar="SECONDS",
        help="the longest one measurement may take; past it its quantities are errors (default: no limit)")  # fmt: skip
    add("--probe-sha256", action="append", default=[], metavar="HEX",
        help="pin: every checkpoint file must have one of the hashes given so; repeatable")  # fmt: skip
    add("--probe-trust-checkpoint", action="store_true",
        help="load a checkpoint that the check refuses all the same; it can then run any code")  # fmt: skip
    add(
        "--probe-strict",
        action="store_true",
        help="a quantity that is not applicable, or reported without a number, fails",
    )


class Hooks:
    """The hook that mlff-probes calls: a conftest or a plugin implements it to send a scorecard on."""

    def pytest_probes_scorecard(self, scorecard: Scorecard, config: pytest.Config) -> None:
        """Called once at the end of a run with `--calculator`, when the scorecard and its files are complete.

        It is called in the controller of a run with workers, never in these, and also at the end of a run that was cut
        short (`scorecard.complete` is then False). Each implementation is called, whatever becomes of the others; one
        that raises costs neither verdicts nor files, is named under the scorecard, and turns the exit code 0 into 1.

        Parameters
        ----------
        scorecard
            What the run found out, as ``--probe-scorecard=FILE.json`` holds it; ``model_dump(mode="json")`` makes plain
            data of it.
        config
            The configuration of the run.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let others implement `pytest_probes_scorecard`."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Load the calculators and register the hooks of a probe run."""
    config.addinivalue_line("markers", "mlff_probe(kind): a probe of mlff-probes that measures the protocol `kind`")
    if not config.getoption("probe_calculators"):
        return
    if said := lost_links():
        raise pytest.UsageError(said)
    if not hasattr(config, "workerinput"):
        _refuse_space(config)
    from mlff_probes.core.errors import InputError
    from mlff_probes.session.start import hooks
    from mlff_probes.session.termination import end_on_signals

    end_on_signals(config)
    try:
        plugins = hooks(config)
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    except KeyboardInterrupt as interruption:  # of which pytest says nothing so early
        how = f"{interruption}" or "interrupted"
        said = f"{how} while calculators were being loaded: nothing was measured, and no scorecard is written"
        pytest.exit(said, returncode=pytest.ExitCode.INTERRUPTED)
    # a user's own `python_files` must not hide the probes from `--pyargs mlff_probes.probes`
    for folder in {PROBES, PROBES.resolve()}:
        config.addinivalue_line("python_files", str(folder / "test_*.py"))
    for name, plugin in plugins.items():
        config.pluginmanager.register(plugin, name)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the probes out of a run without a calculator that only happens to pass over them.

    In a checkout the package holds a link to them. Where nobody names the link it is left out, so that no probe runs
    twice.
    """
    if not _within(collection_path.resolve(), PROBES.resolve()):
        return None
    if not config.getoption("probe_calculators"):
        return True
    return True if collection_path.is_symlink() and not _is_named(collection_path, config) else None


def _within(path: Path, folder: Path) -> bool:
    return folder in (path, *path.parents)


def _is_named(link: Path, config: pytest.Config) -> bool:
    """Whether an argument of pytest leads through the link."""
    names = [argument.partition("::")[0] for argument in config.args]
    paths = [Path(os.path.normpath(config.invocation_params.dir / name)) for name in names]
    return any(name.startswith(MODULE) for name in names) or any(_within(path, link) for path in paths)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a run that names the probes but no calculator, before any worker of `-n` starts."""
    config = session.config
    if config.getoption("probe_calculators"):
        return
    for argument in config.args:
        name = argument.partition("::")[0]
        path = (config.invocation_params.dir / name).resolve()
        if name.startswith(MODULE) or _within(path, PROBES.resolve()):
            raise pytest.UsageError(NEEDS_CALCULATOR)


def _refuse_space(config: pytest.Config) -> None:
    """After a space pytest takes the value for a test path too, and looks for its configuration there."""
    given = [*map(str, config.invocation_params.args), *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    if "--calculator" in given:
        value = "".join(given[given.index("--calculator") + 1 :][:1])
        raise pytest.UsageError(
            f"write --calculator={value} with '=': after a space pytest takes the path for a test path "
            "and moves its root directory there"
        )
