"""The start of a run with `--calculator`: from the options of pytest to its hooks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.session.assemble import SuiteOptions, assemble
from mlff_probes.session.budget import OPTION as BUDGET
from mlff_probes.session.findings import Findings
from mlff_probes.session.gate import Gate, stored_baseline
from mlff_probes.session.hooks import ProbeRun
from mlff_probes.session.models import BASELINE
from mlff_probes.session.options import run_options, suite_options, wanted_files
from mlff_probes.session.workers.hooks import ParallelRun
from mlff_probes.session.workers.places import share_cores, shared_machine, workers_of

if TYPE_CHECKING:
    from mlff_probes.session.cluster.dispatch import Dispatch


def hooks(config: pytest.Config) -> dict[str, object]:
    """Check the options, read the cases, load the calculators: the plugins of the run, by name.

    Raises
    ------
    InputError
        If anything the user gave is unusable.
    """
    wanted, run = wanted_files(config), run_options(config)
    stored = None if run.baseline is None else stored_baseline(run.baseline)
    if stored is not None:
        wanted.spare(Path(stored.source).expanduser(), f"{BASELINE}={run.baseline}")
    elif run.baseline is not None and run.budget_s is not None:
        remedy = "name its scorecard (old.json), or leave the budget out"
        raise InputError(f"{BASELINE}={run.baseline}", f"cannot be measured within {BUDGET}", remedy)
    share_cores(config)
    asked = suite_options(config, run, stored)
    dispatch = _dispatch(config, asked)
    suite = assemble(asked, dispatch.calculators() if dispatch else None)
    given_out = all(each.device_given_out for each in suite.calculators if each.identity.device.startswith("cuda"))
    suite.untimed = partial(shared_machine, config, given_out=given_out)
    live = suite.calculators[-1].label if run.baseline and stored is None else None
    policy = load_regression(Path(run.tolerances).expanduser() if run.tolerances else None)
    compared, found = Gate(suite, policy, run.fail_on, stored=stored, live=live), Findings()
    probes = ProbeRun(suite, compared, run, found, wanted)
    return {"mlff_probes_run": probes, "mlff_probes_workers": _workers(config, probes, dispatch)}


def _dispatch(config: pytest.Config, asked: SuiteOptions) -> Dispatch | None:
    """The cluster that measures; None where this machine does."""
    given = config.getoption("--probe-executor")
    if given is None:
        return None
    if workers_of(config):
        raise InputError(f"--probe-executor={given}", "and -n both say who measures", "leave one of them out")
    from mlff_probes.session.cluster.connection import connected
    from mlff_probes.session.cluster.dispatch import Dispatch

    dispatch = Dispatch(connected(given), asked)
    config.add_cleanup(dispatch.close)
    return dispatch


def _workers(config: pytest.Config, probes: ProbeRun, dispatch: Dispatch | None) -> object:
    """The hooks of those who measure: of a cluster, of pytest-xdist, or of none but this process."""
    if dispatch is not None:
        from mlff_probes.session.cluster.hooks import ClusterRun

        return ClusterRun(probes, dispatch)
    run = probes.options
    return ParallelRun(probes.suite, probes.gate, probes.found, config, strict=run.strict, budget_s=run.budget_s)
