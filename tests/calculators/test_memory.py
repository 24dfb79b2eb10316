"""Out of memory: a batch is made again in parts, a structure too large is an error that says its size."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from support import DoubleWell, double_well_path, path_case

from mlff_probes import evaluate
from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.memory import exhausted, release
from mlff_probes.core.errors import EvaluationError, OutOfMemoryError
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.kind import OnFrames
from mlff_probes.measure.measurement import measure_case

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 3.94 GiB of which 1.2 GiB is free"
ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000000 bytes. Error code 12"


def raised_by_numpy():
    try:
        return np.zeros(2**58)
    except MemoryError as error:
        return error


SHORTAGES = {
    "Python": (MemoryError(), "host"),
    "numpy": (raised_by_numpy(), "host"),
    "torch on a device": (torch.OutOfMemoryError(CUDA), "cuda:1"),
    "torch on a device, by its older name": (torch.cuda.OutOfMemoryError("no more"), "cuda:0"),
    "torch on the host": (RuntimeError(f"[enforce fail at alloc_cpu.cpp:118] err == 0. {ALLOCATOR}"), "host"),
    "torch on the host, shorter": (RuntimeError(ALLOCATOR), "host"),
    "compiled": (RuntimeError(f"The following operation failed in the TorchScript interpreter.\n{CUDA}"), "cuda:1"),
    "cuBLAS": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "cuda:0"),
    "JAX": (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), "cuda:0"),
    "Apple": (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), "cuda:0"),
}
"""What is raised, and whose memory that is for a calculator on cuda:0."""


def caused(error):
    try:
        try:
            raise error
        except BaseException as cause:
            raise ValueError("the calculation failed") from cause
    except ValueError as raised:
        return raised


def batched(fits, error, device="cpu"):
    """Energies that tell frames apart, in batches of which none above `fits` atoms goes through; and their sizes."""
    sizes = []

    def batch(frames, forces):
        atoms = sum(len(frame) for frame in frames)
        sizes.append(atoms)
        if atoms > fits:
            raise error
        return [(frame.positions.sum(), 2 * frame.positions if forces else None) for frame in frames]

    model = as_calculator(DoubleWell())
    return replace(
        model, batch=batch, batch_atoms=100, identity=model.identity.model_copy(update={"device": device})
    ), sizes


def frames_of(*sizes):
    rng = np.random.default_rng(0)
    return [Atoms(f"Te{size}", positions=rng.normal(size=(size, 3))) for size in sizes]


@pytest.mark.parametrize("name", SHORTAGES)
def test_shortages_are_recognised(name):
    error, where = SHORTAGES[name]
    assert exhausted(error, "cuda:0") == where
    assert exhausted(caused(error), "cuda:0") == where


@pytest.mark.parametrize(("device", "where"), [("cpu", "host"), ("not stated", "the device"), ("mps", "mps")])
def test_a_device_that_the_error_does_not_name(device, where):
    assert exhausted(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), device) == where


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), ValueError("out of memory"), SystemExit(1), KeyError("memory")]
)
def test_other_errors_are_none(error, monkeypatch):
    assert exhausted(error, "cuda:0") is None
    monkeypatch.delitem(sys.modules, "torch")
    assert exhausted(error, "cuda:0") is None
    assert exhausted(MemoryError(), "cuda:0") == "host"
    release()


def test_what_torch_raises_on_the_host():
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2**50)
    assert exhausted(caught.value, "cpu") == "host"


@pytest.mark.parametrize("name", SHORTAGES)
def test_a_batch_that_does_not_fit_is_made_again_in_parts(name):
    frames = frames_of(*[10] * 20)
    calculator, sizes = batched(30, SHORTAGES[name][0])
    found = evaluate(calculator, frames)
    assert sizes == [100, 50, 20, *[20] * 9]  # 25 atoms are two structures of 10
    assert (found.calls, found.batches) == (20, len(sizes))
    expected = evaluate(batched(10**6, None)[0], frames)
    np.testing.assert_array_equal(found.energies, expected.energies)
    for here, there in zip(found.forces, expected.forces, strict=True):
        np.testing.assert_array_equal(here, there)


def test_the_next_evaluation_begins_with_whole_batches_again():
    calculator, sizes = batched(30, MemoryError())
    evaluate(calculator, frames_of(*[10] * 10))
    del sizes[:]
    evaluate(calculator, frames_of(*[10] * 10))
    assert sizes[0] == 100


def test_down_to_single_structures_of_any_size():
    frames = frames_of(5, 40, 5, 5, 20, 21)
    calculator, sizes = batched(40, MemoryError())
    found = evaluate(calculator, frames, forces=False)
    assert sizes == [96, 45, 5, 40, 10, 20, 21]
    np.testing.assert_allclose(found.energies, [frame.positions.sum() for frame in frames])


def test_a_structure_that_does_not_fit_is_an_error_with_its_size():
    calculator, sizes = batched(30, torch.OutOfMemoryError(CUDA), "cuda:1")
    with pytest.raises(OutOfMemoryError) as caught:
        evaluate(calculator, frames_of(10, 10, 45, 10))
    assert sizes == [75, 20, 45]
    message = str(caught.value)
    assert message.startswith("out of memory on cuda:1 with 45 atoms in one structure (frame 2): OutOfMemoryError: ")
    assert "Tried to allocate 2.00 GiB" in message
    assert isinstance(caught.value, EvaluationError)


def test_without_batches():
    class Greedy(DoubleWell):
        def calculate(self, atoms=None, *args, **kwargs):
            if len(atoms) > 2:
                raise MemoryError
            super().calculate(atoms, *args, **kwargs)

    frames = double_well_path(3)
    assert evaluate(Greedy(), frames).calls == 3
    with pytest.raises(OutOfMemoryError, match=r"^out of memory on host with 4 atoms in one structure \(frame 1\)"):
        evaluate(Greedy(), [frames[0], frames[0] * (2, 1, 1)])


def test_nothing_of_the_failed_pass_is_kept():
    """Not by us; a calculator that holds its own error in a cycle is helped by collecting garbage."""

    class Tensor:
        pass

    held, alive = [], []

    def batch(frames, forces):
        gc.disable()
        tensor = Tensor()
        alive.append(sum(seen() is not None for seen in held))
        held.append(weakref.ref(tensor))
        error = MemoryError()
        tensor.error = error  # the traceback will hold this frame, and with it the tensor
        if len(frames) > 1:
            raise error
        return [(0.0, None)]

    collecting = gc.isenabled()
    try:
        evaluate(replace(as_calculator(DoubleWell()), batch=batch), frames_of(10, 10, 10, 10), forces=False)
        assert alive[:3] == [0, 0, 0]
    finally:
        if collecting:
            gc.enable()


def test_a_verdict_and_not_the_end(monkeypatch):
    case = path_case(double_well_path(5))
    calculator, _ = batched(1, MemoryError("4 GiB"))
    measurement = measure_case(calculator, case)
    assert measurement.problem.state == "error"
    assert measurement.problem.reason.startswith("out of memory on host with 2 atoms in one structure (frame 0)")

    def workup(*_):
        raise MemoryError("8 GiB")

    monkeypatch.setitem(BY_KIND, "fixed_path", replace(BY_KIND["fixed_path"], measure=OnFrames(workup)))
    measurement = measure_case(as_calculator(DoubleWell()), case)
    said = "out of memory on host with 5 structures of up to 2 atoms, in working them up: MemoryError: 8 GiB"
    assert measurement.problem.reason.startswith(said)
