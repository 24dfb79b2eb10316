"""Facts about where and what; the accelerator path as far as a machine without one can show it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch

from mlff_probes.calculators import identity
from mlff_probes.calculators.base import CPU_BATCH_ATOMS, CUDA_BATCH_ATOMS, batch_atoms
from mlff_probes.calculators.device import HOST, torch_device_of
from mlff_probes.calculators.identity import (
    cpu_count,
    cpu_name,
    cuda_devices,
    cuda_facts,
    driver_version,
    import_family,
    path_not_stated,
    sha256,
    torch_device,
    versions,
)
from mlff_probes.calculators.memory import host_peak_bytes
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import CalculatorIdentity


@pytest.fixture
def two_gpus(monkeypatch):
    """A torch that sees two CUDA devices; the calls it gets are recorded."""
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(("synchronize", device)))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 12345)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"allocated_bytes.all.allocated": 678})
    return calls


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("wanted", [None, "auto", "cpu"])
def test_the_cpu_is_what_remains(no_gpu, wanted):
    assert torch_device(wanted, "chgnet") == ("cpu", cpu_name())


@pytest.mark.parametrize(
    ("wanted", "device"), [(None, "cuda"), ("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1")]
)
def test_an_accelerator_is_used_where_there_is_one(two_gpus, wanted, device):
    assert torch_device(wanted, "chgnet") == (device, f"GPU of {device}")


@pytest.mark.parametrize(
    ("wanted", "gpu", "device"),
    [
        (None, 1, "cuda:1"),
        ("auto", 1, "cuda:1"),
        ("cuda", 1, "cuda:1"),
        ("cuda:0", 1, "cuda:0"),
        ("cpu", 1, "cpu"),
        (None, 2, "cuda"),
        (None, 3, "cuda:1"),
    ],
)
def test_an_unnumbered_accelerator_is_the_one_of_this_process(two_gpus, wanted, gpu, device):
    assert torch_device(wanted, "chgnet", gpu)[0] == device


def test_the_number_changes_nothing_where_there_is_no_accelerator(no_gpu):
    assert torch_device(None, "chgnet", 1)[0] == "cpu"


def test_a_device_that_is_not_there(two_gpus):
    with pytest.raises(InputError, match=r"'cuda:2' is not there: torch .* sees 2 CUDA devices"):
        torch_device("cuda:2", "chgnet")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_asked_for_where_there_is_none(no_gpu, wanted):
    with pytest.raises(InputError, match=f"'{wanted}' is not there.*--probe-device=cpu"):
        torch_device(wanted, "chgnet")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "cpu:1", "cuda:", "0"])
def test_nonsense_devices(two_gpus, wanted):
    with pytest.raises(InputError, match="use cpu, cuda, cuda:N, mps or auto"):
        torch_device(wanted, "chgnet")


def test_clock_and_memory_of_an_accelerator(two_gpus):
    device = torch_device_of("cuda:1")
    device.synchronize()
    device.reset_peak()
    assert two_gpus == [("synchronize", "cuda:1"), ("reset", "cuda:1")]
    assert (device.peak_bytes(), device.allocated_bytes()) == (12345, 678)
    assert batch_atoms("cuda:1") == CUDA_BATCH_ATOMS


def test_a_processor_has_no_memory_of_its_own():
    assert torch_device_of("cpu") is HOST
    assert HOST.peak_bytes is None
    assert batch_atoms("cpu") == CPU_BATCH_ATOMS


def test_identity_of_a_file_and_of_packages(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert sha256(file) == hashlib.sha256(b"abc").hexdigest()
    found = versions("torch", "no-such-package")
    assert list(found) == ["mlff-probes", "python", "ase", "numpy", "torch"]


OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder@U16)
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
CLOSED = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104  Sat Aug 19 01:15:15 UTC 2023
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""


@pytest.mark.parametrize(
    ("text", "version"),
    [(OPEN, "570.86.15"), (CLOSED, "535.104"), ("", None), ("GCC version:  gcc version 12.3.0 (", None)],
)
def test_the_driver_says_its_version(text, version):
    assert driver_version(text) == version


@pytest.fixture
def allow_tf32():
    """Switch TF32 in a test; put back afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32
    yield lambda value: setattr(torch.backends.cuda.matmul, "allow_tf32", value)
    torch.backends.cuda.matmul.allow_tf32 = before


def test_the_path_on_an_accelerator(monkeypatch, tmp_path, allow_tf32):
    monkeypatch.setattr(identity, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert cuda_facts("cpu") == {}
    for tf32 in (True, False):
        allow_tf32(tf32)
        assert cuda_facts("cuda:1") == {"tf32": tf32, "cuda": "12.8", "driver": None}
    (tmp_path / "version").write_text(OPEN)
    assert cuda_facts("cuda")["driver"] == "570.86.15"


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("0,2", 2), ("1", 1), ("", 0), ("-1", 0), ("0,-1,1", 1), ("0,1,2,3", 3)]
)
def test_accelerators_are_counted_without_torch(monkeypatch, visible, count):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(identity.Path, "glob", lambda self, pattern: [f"{self}/nvidia{n}" for n in range(3)])
    assert cuda_devices() == count
    assert "torch" not in sys.modules


def test_torch_is_asked_for_accelerators_where_it_is_loaded(two_gpus):
    assert cuda_devices() == 2


def stated(**path):
    return CalculatorIdentity(spec="s", label="l", family="py", device_name="d", threads=1, **path)


def test_what_nobody_stated_of_the_path():
    unknown = "not stated"
    assert path_not_stated(stated(device="cpu", dtype="float64")) is None
    assert path_not_stated(stated(device=unknown, dtype="float64")) == (
        "the calculator does not say on which device it computes; give its factory an argument 'device', the "
        "calculator an attribute of that name, or add ,device=cpu"
    )
    assert path_not_stated(stated(device="cuda", dtype=unknown)) == (
        "the calculator does not say in which precision it computes; give its factory an argument 'dtype' or the "
        "calculator an attribute of that name"
    )
    assert path_not_stated(stated(device=unknown, dtype=unknown)) == (
        "the calculator does not say on which device and in which precision it computes; give its factory the "
        "arguments 'device' and 'dtype' or the calculator attributes of those names"
    )
    assert path_not_stated(stated(device="cpu", dtype=unknown), of=("device",)) is None


def test_this_machine():
    assert cpu_count() >= 1
    assert cpu_name().strip()
    assert host_peak_bytes() > 10 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_of_the_process_is_that_since_the_last_reset():
    """In a process of its own, of which nothing else is taken away or handed back."""
    lines = (
        "from mlff_probes.calculators.memory import host_peak_bytes, reset_host_peak",
        "block = b'x' * (200 * 2**20)",
        "high = host_peak_bytes()",
        "del block",
        "assert reset_host_peak()",
        "assert host_peak_bytes() < high - 100 * 2**20, (host_peak_bytes(), high)",
        "low = host_peak_bytes()",
        "block = b'x' * (100 * 2**20)",
        "assert host_peak_bytes() > low + 50 * 2**20, (host_peak_bytes(), low)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


@pytest.mark.parametrize("extra", ["chgnet", "mace"])
def test_a_missing_family_is_installed_from_a_checkout_not_from_a_registry(extra):
    with pytest.raises(InputError, match="'no_such_family' cannot be imported") as refusal:
        import_family("no_such_family.inside", spec=extra, extra=extra)
    assert f"pip install 'path/to/mlff-probes[{extra}]' (a checkout or a wheel)" in str(refusal.value)
