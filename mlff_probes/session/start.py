"""The start of a run with `--calculator`: from the options of pytest to its hooks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.session.assemble import assemble
from mlff_probes.session.budget import OPTION as BUDGET
from mlff_probes.session.findings import Findings
from mlff_probes.session.gate import Gate, stored_baseline
from mlff_probes.session.hooks import ProbeRun
from mlff_probes.session.models import BASELINE
from mlff_probes.session.options import run_options, suite_options, wanted_files
from mlff_probes.session.workers.hooks import ParallelRun
from mlff_probes.session.workers.places import share_cores, shared_machine


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
    suite = assemble(suite_options(config, run, stored))
    given_out = all(each.device_given_out for each in suite.calculators if each.identity.device.startswith("cuda"))
    suite.untimed = partial(shared_machine, config, given_out=given_out)
    live = suite.calculators[-1].label if run.baseline and stored is None else None
    policy = load_regression(Path(run.tolerances).expanduser() if run.tolerances else None)
    compared, found = Gate(suite, policy, run.fail_on, stored=stored, live=live), Findings()
    return {
        "mlff_probes_run": ProbeRun(suite, compared, run, found, wanted),
        "mlff_probes_workers": ParallelRun(suite, compared, found, config, strict=run.strict, budget_s=run.budget_s),
    }
