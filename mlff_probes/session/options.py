"""The options of pytest, checked, as what a run is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlff_probes.calculators.checkpoints.safety import checked_pins
from mlff_probes.calculators.limits import positive_seconds
from mlff_probes.core.errors import InputError
from mlff_probes.core.keeping import in_pytest_cache, store_directory
from mlff_probes.scorecard.baseline import Baseline
from mlff_probes.scorecard.model import FailOn, RunOptions
from mlff_probes.scorecard.reports import benchmark_json
from mlff_probes.session.assemble import SuiteOptions
from mlff_probes.session.budget import OPTION as BUDGET
from mlff_probes.session.budget import seconds_of
from mlff_probes.session.models import BASELINE, Loading
from mlff_probes.session.store.models import KnownModels
from mlff_probes.session.wanted import WantedFiles
from mlff_probes.session.workers.places import own_gpu


def wanted_files(config: pytest.Config) -> WantedFiles:
    """The files that the options name, checked in the controller.

    Raises
    ------
    InputError
        If one cannot be written.
    """
    timings = config.getoption(benchmark_json.OPTION)
    wanted = WantedFiles(
        tuple(Path(path).expanduser() for path in config.getoption("--probe-scorecard")),
        Path(timings).expanduser() if timings else None,
    )
    if not hasattr(config, "workerinput"):
        wanted.check()
    return wanted


def run_options(config: pytest.Config) -> RunOptions:
    """The options that change what is judged and how.

    Raises
    ------
    InputError
        If one of them is unusable.
    """
    option = config.getoption
    folders = [Path(path).expanduser() for path in option("--probe-reference")]
    return RunOptions(
        tier=option("--probe-tier"),
        strict=option("--probe-strict"),
        any_level_of_theory=option("--probe-level-of-theory") == "any",
        tolerances=option("--probe-tolerances"),
        references=tuple(map(str, folders)),
        known_failures=option("--probe-known-failures"),
        timeout_s=positive_seconds(option("--probe-timeout"), "--probe-timeout"),
        budget_s=seconds_of(option(BUDGET)),
        trust_checkpoint=option("--probe-trust-checkpoint"),
        sha256=checked_pins(option("--probe-sha256"), option="--probe-sha256"),
        require_device=option("--probe-require-device"),
        baseline=option(BASELINE),
        fail_on=_fail_on(option("--probe-fail-on"), option(BASELINE)),
        seed=_seed(option("--probe-seed")),
        training_frames=tuple(option("--probe-training-frames")),
    )


def suite_options(config: pytest.Config, run: RunOptions, stored: Baseline | None) -> SuiteOptions:
    """What the suite of a run of pytest is made of; `stored` is the baseline where that is a scorecard.

    Raises
    ------
    InputError
        If the options for the store contradict each other.
    """
    option, store = config.getoption, _store(config)
    loading = Loading(
        device=option("--probe-device"),
        dtype=option("--probe-dtype"),
        gpu=own_gpu(config),
        require_device=run.require_device,
        trust_checkpoint=run.trust_checkpoint,
        sha256=run.sha256,
        known=KnownModels(store) if store else None,
    )
    return SuiteOptions(
        run=run,
        models=option("probe_calculators"),
        loading=loading,
        baseline=run.baseline if stored is None else None,
        packaged_cases=not option("--probe-reference-only"),
        store=store,
    )


def _fail_on(given: FailOn | None, baseline: str | None) -> FailOn:
    """What a run fails on: what the user says, else on regressions too where there is a baseline."""
    if given in ("regression", "both") and baseline is None:
        raise InputError("", f"--probe-fail-on={given} needs something to compare with", f"add {BASELINE}=old.json")
    return given or ("tolerance" if baseline is None else "both")


def _seed(given: int) -> int:
    if given < 0:
        raise InputError(f"--probe-seed={given}", "must be 0 or more")
    return given


def _store(config: pytest.Config) -> Path | None:
    """The directory where measurements and trajectories are kept; None for none, or where pytest has no cache.

    It is made when something is kept in it: most runs simulate nothing, and not every cache can be written.

    Raises
    ------
    InputError
        If both a directory and none are asked for, or something else is in its place.
    """
    given = config.getoption("--probe-store")
    if config.getoption("--probe-no-store"):
        if given:
            raise InputError("", "--probe-store and --probe-no-store contradict each other", "leave one out")
        return None
    if given:
        return store_directory(given, f"--probe-store={given}")
    if getattr(config, "cache", None) is None:
        return None
    cache = os.path.expanduser(config.getini("cache_dir"))  # noqa: PTH111 - as pytest, which lets no unknown ~user fail
    return in_pytest_cache(config.rootpath / os.path.expandvars(cache))
