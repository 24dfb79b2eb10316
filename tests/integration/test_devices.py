"""Where calculators compute: each worker on a device of its own, and a run that must not fall back to another."""

from __future__ import annotations

import pytest

CASES = ("-k", "fixed_gap")

TWO_DEVICES = """
import mlff_probes.session.workers.places

mlff_probes.session.workers.places.cuda_devices = lambda: 2
"""

ON_DEVICE = """

def on(device="cpu"):
    with open("devices.log", "a", encoding="utf-8") as log:
        log.write(device + "\\n")
    return Sound()


def silent():
    return Sound()


class Falling(Sound):
    device = "cpu"


def falls_back(device="cuda"):
    return Falling()


def no_torch(device="cpu"):
    import sys

    assert "torch" not in sys.modules
    return Sound()
"""


@pytest.fixture
def folder(tmp_path, sound):
    (tmp_path / "calc.py").write_text(sound + ON_DEVICE)
    return tmp_path


def test_each_worker_computes_on_a_device_of_its_own(folder, run_probes_in, recorded_only):
    (folder / "conftest.py").write_text(TWO_DEVICES)
    args = (*recorded_only, *CASES, "-n", "2", "--dist", "each", "--probe-device=cuda")
    run = run_probes_in(folder, "--calculator=py:./calc.py:on", *args)
    assert run.code == pytest.ExitCode.OK, run.output
    assert sorted((folder / "devices.log").read_text().split()) == ["cuda", "cuda", "cuda:1"]  # the controller too


def test_the_scorecard_names_the_device_of_each_measurement(folder, run_probes_in, recorded_only):
    (folder / "conftest.py").write_text(TWO_DEVICES)
    args = (*recorded_only, *CASES, "-n", "2", "--probe-device=cuda")
    run = run_probes_in(folder, "--calculator=py:./calc.py:on", *args)
    assert run.code == pytest.ExitCode.OK, run.output
    assert {m.diagnostics["device"] for m in run.card.measurements} == {"cuda", "cuda:1"}


def test_nobody_loads_torch_to_count_devices(folder, run_fresh_probes_in, recorded_only):
    args = (*recorded_only, *CASES, "-n", "2", "--probe-device=cpu")
    assert run_fresh_probes_in(folder, "--calculator=py:./calc.py:no_torch", *args).code == pytest.ExitCode.OK


def test_a_required_device(folder, run_probes_in, recorded_only):
    (folder / "conftest.py").write_text(TWO_DEVICES.replace("workers.places", "models"))
    args = ("--probe-require-device=cuda", *recorded_only, *CASES)
    run = run_probes_in(folder, "--calculator=py:./calc.py:on,device=cuda:1", *args)
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.options.require_device == "cuda"


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("py:./calc.py:on,device=cuda:1", ["says that it computes on cuda:1, and this machine has no such device"]),
        ("ase:EMT", ["--calculator=ase:EMT computes on cpu (", "add --probe-device=cuda or ,device=cuda"]),
        ("py:./calc.py:on,device=cpu", ["calc.py:on,device=cpu computes on cpu ("]),
        ("py:./calc.py:silent", ["does not say on which device it computes; give its factory an argument 'device'"]),
        ("py:./calc.py:falls_back,device=cuda", ["device cuda was asked for, but the calculator says", "cpu"]),
        ("chgnet", ["--calculator=chgnet computes on cpu ("]),
    ],
)
def test_a_calculator_that_is_not_on_the_required_device(folder, run_probes, spec, parts):
    for workers in ((), ("-n", "1")) if spec == "chgnet" else ((),):
        run = run_probes(f"--calculator={spec}", "--probe-require-device=cuda", *workers)
        run.assert_usage_error(*parts)


def test_no_device_is_required_of_its_own_accord(folder, run_probes, recorded_only):
    run = run_probes("--calculator=py:./calc.py:silent", *recorded_only, *CASES)
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.options.require_device is None
