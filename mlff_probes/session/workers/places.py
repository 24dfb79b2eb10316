"""Which worker of how many a process is, and what of the machine is its own."""

from __future__ import annotations

import os
import sys

import pytest

from mlff_probes.calculators.identity import cpu_count, cuda_devices
from mlff_probes.core.records import CalculatorIdentity

PLACE = "mlff_probes_place"
"""The name under which a local worker is told which it is, counted from 0, and how many there are."""


def share_cores(config: pytest.Config) -> None:
    """Divide the processors among the workers; must be called before torch loads.

    Otherwise each worker computes with a thread for every processor, and they get in each other's way.
    """
    local = local_workers(config)
    if local < 2 or "OMP_NUM_THREADS" in os.environ:
        return
    threads = max(1, cpu_count() // local)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):  # a plugin or conftest brought it in
        torch.set_num_threads(threads)


def own_gpu(config: pytest.Config) -> int:
    """The CUDA device of this worker: where a machine has several, its workers take them in turn; else 0."""
    place, _ = _place(config)
    return place % max(1, cuda_devices()) if place else 0


def shared_machine(config: pytest.Config, identity: CalculatorIdentity, *, given_out: bool) -> str:
    """Why times of a calculator in this process are not its own: other workers compute on its device.

    Empty where it has the device to itself: without workers, or where each has a CUDA device and it computes on that.
    `given_out`: no calculator of the run computes on a CUDA device that somebody else chose.
    """
    _, workers = _place(config)
    if workers < 2:
        return ""
    kind, _, number = identity.device.partition(":")
    if given_out and kind == "cuda" and workers <= cuda_devices() and int(number or 0) == own_gpu(config):
        return ""
    return f"shared machine: {workers} workers (-n {workers}) compute beside each other; time without -n"


def _place(config: pytest.Config) -> tuple[int, int]:
    """Which of how many local workers this process is; the first of one where it is none."""
    place, workers = getattr(config, "workerinput", {}).get(PLACE, (0, 1))
    return place, workers


def local_workers(config: pytest.Config) -> int:
    """How many workers of this run compute on this machine."""
    return sum("popen" in worker for worker in workers_of(config))


def workers_of(config: pytest.Config) -> list[str]:
    """What the workers of this run are started with; empty without workers, and in one."""
    if not config.getoption("tx", None) or config.option.dist == "no" or hasattr(config, "workerinput"):
        return []
    from xdist.workermanage import parse_tx_spec_config

    return list(parse_tx_spec_config(config))
