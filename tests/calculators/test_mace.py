"""MACE checkpoints: what the loader says of them, which it refuses, and that nothing leaks into torch."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import types
import zipfile
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from mace_models import labelled_frames, random_mace
from support import refusal

from mlff_probes import evaluate, load_calculator, load_cases, measure_case
from mlff_probes.calculators.checkpoints.safety import weights_only_kept
from mlff_probes.calculators.loaders.mace import _why_not
from mlff_probes.cases.load import load_case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.scorecard.reports.text import identity_lines
from mlff_probes.session.models import Loading, loaded_models

pytestmark = pytest.mark.usefixtures("one_thread")

VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
DTYPES = ("float32", "float64")
FLOAT32_EV = 1e-3
"""Rounding of some 100 eV in float32, with room for the sums inside the model, eV."""

FLOAT32_EV_PER_A = 1e-3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "tiny.model")


@pytest.fixture(scope="module")
def checkpoint32(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "tiny32.model", dtype="float32", seed=1)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "two.model", heads=("pbe", "r2scan"))


@pytest.fixture(scope="module")
def frames():
    return ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", ":")


@pytest.fixture
def default_dtype():
    """Select torch's default dtype in a test; put back afterwards."""
    before = torch.get_default_dtype()
    yield lambda name: torch.set_default_dtype(getattr(torch, name))
    torch.set_default_dtype(before)


def largest_difference(a, b):
    """Of the energies in eV and of the forces in eV/A."""
    energy = np.abs(a.energies - b.energies).max()
    return energy, max(np.abs(x - y).max() for x, y in zip(a.forces, b.forces, strict=True))


# identity


def test_identity_says_which_file_was_measured(checkpoint):
    identity = load_calculator(str(checkpoint)).identity
    model = torch.load(checkpoint, weights_only=False)
    assert identity.family == "mace"
    assert identity.label == "tiny"
    assert identity.version == "ScaleShiftMACE"
    assert identity.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert identity.parameters == sum(weights.numel() for weights in model.parameters()) > 1000
    assert identity.elements == ("Cr", "Sb", "Te")
    assert identity.options == {"head": "Default"}
    assert identity.level_of_theory is None
    assert identity.batched
    assert {"torch", "mace-torch", "e3nn"} <= set(identity.versions)


def test_elements_are_those_of_the_checkpoint(tmp_path):
    path = random_mace(tmp_path / "host.model", elements=("Te", "Sb"))
    assert load_calculator(str(path)).identity.elements == ("Sb", "Te")


def test_an_element_it_does_not_know_is_not_applicable(tmp_path):
    calculator = load_calculator(str(random_mace(tmp_path / "host.model", elements=("Sb", "Te"))))
    case = next(case for case in load_cases() if case.id == "cr_sb2te3_in_gap")
    problem = measure_case(calculator, case).problem
    assert (problem.state, problem.reason) == ("not applicable", "host does not know Cr")


def test_keys_of_the_suite_apply(checkpoint):
    identity = load_calculator(f"{checkpoint},label=mine,level=PBE,batch=off").identity
    assert (identity.label, identity.level_of_theory, identity.batched) == ("mine", "PBE", False)


# precision


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_precision_is_kept(tmp_path, frames, dtype):
    calculator = load_calculator(str(random_mace(tmp_path / "native.model", dtype=dtype)))
    assert calculator.identity.dtype == dtype
    assert calculator.ase.models[0].r_max.dtype == getattr(torch, dtype)
    forces = calculator.batch(frames[:1], True)[0][1]
    assert forces.dtype == np.dtype(dtype)


def test_float32_of_a_float64_checkpoint_differs_by_rounding_alone(checkpoint, frames):
    exact = evaluate(load_calculator(str(checkpoint)), frames)
    for calculator in (
        load_calculator(f"{checkpoint},dtype=float32"),
        load_calculator(str(checkpoint), dtype="float32"),
    ):
        assert calculator.identity.dtype == "float32"
        energy, force = largest_difference(evaluate(calculator, frames), exact)
        assert 0 < energy < FLOAT32_EV
        assert 0 < force < FLOAT32_EV_PER_A


def test_float64_of_a_float32_checkpoint_differs_by_rounding_alone(checkpoint32, frames):
    rounded = evaluate(load_calculator(str(checkpoint32)), frames)
    calculator = load_calculator(f"{checkpoint32},dtype=float64")
    assert calculator.identity.dtype == "float64"
    energy, force = largest_difference(evaluate(calculator, frames), rounded)
    assert 0 < energy < FLOAT32_EV
    assert 0 < force < FLOAT32_EV_PER_A


def test_a_key_of_the_spec_wins_over_the_default_precision(checkpoint):
    assert load_calculator(f"{checkpoint},dtype=float64", dtype="float32").identity.dtype == "float64"


@pytest.mark.parametrize("batch", ["auto", "off"])
def test_a_calculator_loaded_later_changes_no_number(checkpoint, checkpoint32, frames, batch):
    first = load_calculator(f"{checkpoint},batch={batch}")
    before = evaluate(first, frames)
    second = load_calculator(f"{checkpoint32},batch={batch}")
    evaluate(second, frames)
    after = evaluate(first, frames)
    assert largest_difference(before, after) == (0, 0)
    assert after.forces[0].dtype == np.float64


def test_one_file_in_two_precisions(checkpoint, frames):
    exact, rounded = load_calculator(str(checkpoint)), load_calculator(f"{checkpoint},dtype=float32")
    energy, force = largest_difference(evaluate(exact, frames), evaluate(rounded, frames))
    assert 0 < energy < FLOAT32_EV
    assert 0 < force < FLOAT32_EV_PER_A


# heads


def test_several_heads_need_a_choice(two_heads):
    message = refusal(two_heads)
    assert "several heads" in message
    assert "pbe, r2scan" in message


@pytest.mark.parametrize("path", ["checkpoint", "two_heads"])
def test_an_unknown_head_is_refused_with_the_known_ones(request, path):
    file = request.getfixturevalue(path)
    message = refusal(f"{file},head=b3lyp")
    assert "has no head 'b3lyp'" in message
    assert message.endswith("Default" if path == "checkpoint" else "pbe, r2scan")


def test_the_head_decides_the_numbers(two_heads, frames):
    loaded = {head: load_calculator(f"{two_heads},head={head}") for head in ("pbe", "r2scan")}
    looped = {head: load_calculator(f"{two_heads},head={head},batch=off") for head in ("pbe", "r2scan")}
    found = {head: evaluate(calculator, frames) for head, calculator in loaded.items()}
    energy, force = largest_difference(found["pbe"], found["r2scan"])
    assert energy > 0.1
    assert force > 0.1
    for head, calculator in loaded.items():
        assert calculator.identity.options == {"head": head}
        energy, force = largest_difference(found[head], evaluate(looped[head], frames))
        assert energy < 1e-6
        assert force < 1e-5


def test_a_head_called_default_is_the_default(tmp_path):
    path = random_mace(tmp_path / "tuned.model", heads=("pt_head", "Default"))
    assert load_calculator(str(path)).identity.options == {"head": "Default"}


def test_each_head_of_a_file_is_a_calculator_of_its_own(two_heads, checkpoint, frames):
    found = loaded_models([f"{two_heads},head=all", f"{checkpoint},head=all"], Loading())
    assert [each.label for each in found] == ["two-pbe", "two-r2scan", "tiny"]
    for head, calculator in zip(("pbe", "r2scan"), found, strict=False):
        assert calculator.identity.spec == f"{two_heads},head={head}"
        alone = load_calculator(f"{two_heads},head={head}")
        assert largest_difference(evaluate(calculator, frames[:1]), evaluate(alone, frames[:1])) == (0.0, 0.0)
        assert f", head {head}" in identity_lines(calculator.identity)[1]
    labelled = loaded_models(f"{two_heads},label=mine,head=all", Loading(sha256=(alone.identity.sha256,)))
    assert [(each.label, each.identity.pinned) for each in labelled] == [("mine-pbe", True), ("mine-r2scan", True)]
    with pytest.raises(InputError, match="which --probe-sha256 does not name"):
        loaded_models(f"{two_heads},head=all", Loading(sha256=("0" * 64,)))


def test_a_batch_of_another_head_is_seen(two_heads, frames):
    calculator = load_calculator(f"{two_heads},head=r2scan")
    silent = replace(calculator, batch=load_calculator(f"{two_heads},head=pbe").batch)
    case = replace(load_case(DIRECTORY / "inference" / "path_agreement.toml"), frames=tuple(frames[:2]))
    for model, agrees in ((calculator, True), (silent, False)):
        values = measure_case(model, case).values
        for quantity in ("batch_energy", "batch_force", "plainest_energy", "plainest_force"):
            assert (values[quantity].value < 0.01) == agrees, quantity


def test_a_compiled_model_answers_with_the_head_in_use(two_heads, frames, compilations):
    eager = load_calculator(f"{two_heads},head=r2scan")
    compiled = load_calculator(f"{two_heads},head=r2scan,compile=default")
    assert compilations
    energy, force = largest_difference(evaluate(eager, frames[:2]), evaluate(compiled, frames[:2]))
    assert energy < 1e-6
    assert force < 1e-5
    assert compiled.fresh(compile_mode=None).identity.options == {"head": "r2scan"}


def test_an_unknown_key_is_refused(checkpoint):
    assert "no option 'heads'" in refusal(f"{checkpoint},heads=Default")


# compiled models and other kernels


@pytest.fixture
def compilations(monkeypatch):
    """Compile by leaving the model as it is, and note what `torch.compile` was asked for."""
    asked = []

    def compiled(model, **options):
        asked.append(options)
        return model

    monkeypatch.setattr(torch, "compile", compiled)
    return asked


def test_the_plain_path_is_stated(checkpoint):
    for spec in (checkpoint, f"{checkpoint},kernels=e3nn"):
        identity = load_calculator(str(spec)).identity
        assert (identity.kernels, identity.compile_mode, identity.tf32) == ("e3nn", None, None)
        assert not any("equivariance" in package for package in identity.versions)


@pytest.mark.parametrize("default", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_compiled_model_keeps_its_precision(checkpoint, frames, compilations, default_dtype, dtype, default):
    """MACE rebuilds a model to compile it, in torch's default dtype if nobody minds."""
    default_dtype(default)
    calculator = load_calculator(f"{checkpoint},compile=reduce-overhead,dtype={dtype}")
    assert compilations == [{"mode": "reduce-overhead", "fullgraph": True}]
    assert {p.dtype for p in calculator.ase.models[0].parameters()} == {getattr(torch, dtype)}
    assert torch.get_default_dtype() == getattr(torch, default)
    identity = calculator.identity
    assert (identity.compile_mode, identity.kernels, identity.dtype) == ("reduce-overhead", "e3nn", dtype)
    plain = load_calculator(f"{checkpoint},dtype={dtype},batch=off")
    energy, force = largest_difference(evaluate(calculator, frames), evaluate(plain, frames))
    assert energy < (1e-9 if dtype == "float64" else FLOAT32_EV)
    assert force < (1e-9 if dtype == "float64" else FLOAT32_EV_PER_A)
    assert identity.parameters == plain.identity.parameters


def test_a_compiled_model_goes_one_by_one(checkpoint, frames, compilations):
    calculator = load_calculator(f"{checkpoint},compile=default")
    assert calculator.batch is None
    assert not calculator.identity.batched
    assert calculator.supplies("stress")
    stresses = evaluate(calculator, frames[:2], stress=True).stresses
    expected = evaluate(load_calculator(str(checkpoint)), frames[:2], stress=True).stresses
    np.testing.assert_allclose(stresses, expected, rtol=0, atol=1e-10)


def test_a_compiled_model_of_an_old_mace_gives_no_stress(checkpoint, compilations, monkeypatch):
    with weights_only_kept():  # which importing it would end
        from mace.calculators import MACECalculator

    monkeypatch.delattr(MACECalculator, "_slice_real_outputs")
    assert not load_calculator(f"{checkpoint},compile=default").supplies("stress")
    assert load_calculator(str(checkpoint)).supplies("stress")


def test_torch_compiles_the_model(checkpoint, frames, monkeypatch):
    """With the compiler proper, though without the generator of code, which takes most of a minute."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, mode, **more: compiled(model, backend="eager", **more))
    calculator = load_calculator(f"{checkpoint},compile=default")
    assert type(calculator.ase.models[0]).__name__ == "OptimizedModule"
    energy, force = largest_difference(
        evaluate(calculator, frames[:2]), evaluate(load_calculator(str(checkpoint)), frames[:2])
    )
    assert energy < 1e-9
    assert force < 1e-9


def test_a_model_that_mace_cannot_rebuild(checkpoint, monkeypatch):
    with weights_only_kept():
        from mace.calculators import mace

    def extract_model(model, map_location):
        raise TypeError("no such\nmodel")

    monkeypatch.setattr(mace, "extract_model", extract_model)
    message = refusal(f"{checkpoint},compile=default")
    assert "MACE cannot rebuild this ScaleShiftMACE to be compiled or for other kernels: TypeError: no such model" in (
        message
    )
    assert load_calculator(str(checkpoint)).identity.compile_mode is None


def test_the_kernels_of_cuequivariance(checkpoint, frames):
    plain = load_calculator(str(checkpoint))
    assert plain.other_kernels == ("cuequivariance",)
    for calculator in (load_calculator(f"{checkpoint},kernels=cuequivariance"), plain.fresh(kernels="cuequivariance")):
        identity = calculator.identity
        assert (identity.kernels, identity.batched, calculator.other_kernels) == ("cuequivariance", True, ())
        assert {"cuequivariance", "cuequivariance-torch"} <= set(identity.versions)
        assert any(type(part).__module__.startswith("cuequivariance") for part in calculator.ase.models[0].modules())
        energy, force = largest_difference(evaluate(calculator, frames), evaluate(plain, frames))
        assert energy < 1e-9
        assert force < 1e-9


def test_other_kernels_keep_the_precision(checkpoint, frames, default_dtype):
    default_dtype("float32")
    calculator = load_calculator(f"{checkpoint},kernels=cuequivariance,dtype=float32")
    assert calculator.identity.dtype == "float32"
    assert {p.dtype for p in calculator.ase.models[0].parameters()} == {torch.float32}
    assert torch.get_default_dtype() == torch.float32
    energy, force = largest_difference(evaluate(calculator, frames), evaluate(load_calculator(str(checkpoint)), frames))
    assert 0 < energy < FLOAT32_EV
    assert 0 < force < FLOAT32_EV_PER_A


@pytest.fixture
def modules(monkeypatch):
    """Choose which of the kernels' modules can be found."""

    def only(*there):
        found = importlib.util.find_spec
        kernels = ("cuequivariance", "openequivariance")
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more: name in there or None if name.startswith(kernels) else found(name, *more),
        )

    return only


def test_kernels_that_are_not_installed(checkpoint, modules):
    modules("cuequivariance")
    assert refusal(f"{checkpoint},kernels=cuequivariance").endswith(
        "kernels=cuequivariance was asked for, but cuequivariance-torch cannot be found; "
        "install it with: pip install cuequivariance-torch"
    )
    assert load_calculator(str(checkpoint)).other_kernels == ()


def test_what_kernels_need_on_each_device(modules, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    modules()
    assert "pip install cuequivariance cuequivariance-torch" in _why_not("cuequivariance", "cpu")[1]
    assert "pip install openequivariance" in _why_not("openequivariance", "cuda")[1]
    assert "runs on CUDA devices only, not on cpu" in _why_not("openequivariance", "cpu")[0]
    modules("cuequivariance", "cuequivariance_torch", "openequivariance")
    assert _why_not("cuequivariance", "cpu") is None
    assert _why_not("cuequivariance", "cuda:1")[1].endswith("pip install cuequivariance-ops-torch-cu12")
    assert _why_not("openequivariance", "cuda") is None
    modules("cuequivariance", "cuequivariance_torch", "cuequivariance_ops_torch")
    assert _why_not("cuequivariance", "cuda:1") is None


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("compile=fast", "compile=fast was asked for; MACE is compiled with default, reduce-overhead, max-autotune"),
        ("kernels=mine", "kernels=mine was asked for; MACE has e3nn, cuequivariance and openequivariance"),
        ("kernels=openequivariance,device=cpu", "openequivariance runs on CUDA devices only, not on cpu"),
    ],
)
def test_what_mace_does_not_have(checkpoint, key, says):
    assert says in refusal(f"{checkpoint},{key}")


# files that are no MACE checkpoint


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nowhere.model"
    assert f"there is no file {path}" in refusal(path)


def test_a_directory_is_not_a_checkpoint(tmp_path):
    assert "is a directory" in refusal(tmp_path)


def test_the_family_alone_is_not_enough():
    assert "needs a checkpoint file" in refusal("mace")


def truncated(path, checkpoint):
    data = checkpoint.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path, checkpoint):
    path.touch()


def text(path, checkpoint):
    path.write_text("mace.modules.models ScaleShiftMACE\n")


def zip_of_text(path, checkpoint):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "mace")


def zip_with_a_spoilt_pickle(path, checkpoint):
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, b"\xff" * 100 if name.endswith("data.pkl") else source.read(name))


def zip_without_its_weights(path, checkpoint):
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            if "/data/" not in name:
                archive.writestr(name, source.read(name))


def torchscript(path, checkpoint):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def state_dict(path, checkpoint):
    torch.save(torch.load(checkpoint, weights_only=False).state_dict(), path)


def training_checkpoint(path, checkpoint):
    model = torch.load(checkpoint, weights_only=False)
    optimizer = torch.optim.Adam(model.parameters())
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": {}}
    torch.save({**state, "model_type": "mace.modules.models.ScaleShiftMACE"}, path)


def dictionary_with_mixed_keys(path, checkpoint):
    torch.save({0: "mace", "model": torch.load(checkpoint, weights_only=False).state_dict()}, path)


def list_of_models(path, checkpoint):
    torch.save([torch.load(checkpoint, weights_only=False)], path)


def class_of_another_version(path, checkpoint):
    module = types.ModuleType("mace.modules.of_tomorrow")
    module.FutureMACE = type("FutureMACE", (torch.nn.Linear,), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    try:
        torch.save(module.FutureMACE(2, 2), path)
    finally:
        del sys.modules[module.__name__]


UNREADABLE = "is no readable checkpoint"
NO_MODEL = "holds no MACE model but"
FILES = {
    truncated: UNREADABLE,
    empty: UNREADABLE,
    text: UNREADABLE,
    zip_of_text: "is a zip file, but no torch checkpoint",
    zip_with_a_spoilt_pickle: UNREADABLE,
    zip_without_its_weights: "cannot be read as a MACE checkpoint",
    torchscript: "is a TorchScript archive",
    state_dict: "of no known family",
    training_checkpoint: f"{NO_MODEL} ['lr_scheduler', 'model', 'model_type', 'optimizer']",
    dictionary_with_mixed_keys: NO_MODEL,
    list_of_models: f"{NO_MODEL} list",
    class_of_another_version: "No module named 'mace.modules.of_tomorrow'",
}


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_a_file_that_is_no_mace_checkpoint_is_refused_in_one_sentence(tmp_path, checkpoint, write):
    path = tmp_path / "bad.model"
    write(path, checkpoint)
    message = refusal(path)
    assert str(path) in message
    assert FILES[write] in message


def test_another_model_is_refused_even_if_the_family_is_given(tmp_path):
    path = tmp_path / "linear.model"
    torch.save(torch.nn.Linear(2, 2), path)
    assert f"{NO_MODEL} Linear" in refusal(f"{path},family=mace")


# nothing leaks


@pytest.mark.parametrize("before", [None, "0"])
def test_the_guard_of_torch_load_is_left_as_it_was(checkpoint, before):
    code = (
        "import os, sys; from mlff_probes import load_calculator; load_calculator(sys.argv[1]);"
        f"print(os.environ.get('{VARIABLE}'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {} if before is None else {VARIABLE: before}
    run = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == str(before)


def test_making_the_checkpoints_of_these_tests_leaves_the_guard_too(checkpoint):
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("batch", ["auto", "off"])
@pytest.mark.parametrize("default", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_default_precision_of_torch_stays(checkpoint, frames, default_dtype, default, dtype, batch):
    default_dtype(default)
    calculator = load_calculator(f"{checkpoint},dtype={dtype},batch={batch}")
    assert torch.get_default_dtype() == getattr(torch, default)
    found = evaluate(calculator, frames[:2])
    assert torch.get_default_dtype() == getattr(torch, default)
    default_dtype("float32")
    expected = evaluate(load_calculator(f"{checkpoint},dtype={dtype},batch={batch}"), frames[:2])
    assert largest_difference(found, expected) == (0, 0)


@pytest.mark.parametrize("batch", ["auto", "off"])
def test_the_default_precision_of_torch_stays_after_a_failure(checkpoint, default_dtype, batch):
    default_dtype("float32")
    calculator = load_calculator(f"{checkpoint},batch={batch}")
    with pytest.raises(EvaluationError, match="frame 0"):
        evaluate(calculator, [Atoms("Cu", cell=[3, 3, 3], pbc=True)])
    assert torch.get_default_dtype() == torch.float32


# the trained checkpoint of these tests


def test_the_trained_mace_is_far_better_than_chgnet_on_its_own_frames(trained_mace_file):
    mace, chgnet = load_calculator(str(trained_mace_file)), load_calculator("chgnet")
    cases = {case.id: case for case in load_cases()}

    def deviation(calculator, case, quantity):
        measured = measure_case(calculator, cases[case]).values[quantity].value
        return abs(measured - cases[case].expectation(quantity).value)

    assert deviation(mace, "cr_sb2te3_in_gap", "barrier") < 0.2 < deviation(chgnet, "cr_sb2te3_in_gap", "barrier")
    for case in ("sb2te3_fixed_gap_0.0", "sb2te3_fixed_gap_0.2", "sb2te3_fixed_gap_0.4", "sb2te3_fixed_gap_0.6"):
        assert deviation(mace, case, "atop_energy") < 0.12
    assert deviation(mace, "sb2te3_fixed_gap_0.0", "atop_energy") < deviation(
        chgnet, "sb2te3_fixed_gap_0.0", "atop_energy"
    )


def test_the_trained_mace_has_the_scale_of_its_references(trained_mace_file):
    frames = labelled_frames()
    found = evaluate(load_calculator(str(trained_mace_file)), frames)
    expected = np.array([frame.get_potential_energy() for frame in frames])
    assert np.sqrt(np.mean((found.energies - expected) ** 2)) < 0.05
