"""CHGNet: the weights inside its package, fine-tuned checkpoints, and what the loader refuses."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import ase.io
import chgnet
import numpy as np
import pytest
import torch
from chgnet.model.model import CHGNet
from support import refusal

from mlff_probes import evaluate, load_calculator
from mlff_probes.core.data import DIRECTORY

pytestmark = pytest.mark.usefixtures("one_thread")

VERSIONS = {"0.3.0": (412_525, "MP"), "0.2.0": (400_438, "MP"), "r2scan": (412_525, "r2SCAN")}
"""Parameters and level of theory of the weights inside the package."""

NEVER_SEEN = {"Po", "At", "Rn", "Fr", "Ra"}


@pytest.fixture(scope="module")
def loaded():
    return {version: load_calculator(f"chgnet:{version}") for version in VERSIONS}


@pytest.fixture(scope="module")
def frames():
    return ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", ":")


def packaged_weights(version):
    (file,) = (Path(chgnet.__file__).parent / "pretrained" / version).glob("*.pth.tar")
    return file


def packaged_state(version):
    return torch.load(packaged_weights(version), map_location="cpu", weights_only=True)


def assert_same_numbers(a, b, frames):
    one, other = evaluate(a, frames), evaluate(b, frames)
    assert (one.energies == other.energies).all()
    assert all((x == y).all() for x, y in zip(one.forces, other.forces, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_identity_says_which_weights_were_measured(loaded, version):
    identity = loaded[version].identity
    parameters, level = VERSIONS[version]
    assert identity.family == "chgnet"
    assert identity.label == f"chgnet-{version}"
    assert identity.version == version
    assert identity.parameters == parameters
    assert identity.level_of_theory == level
    assert identity.dtype == "float32"
    assert identity.sha256 == hashlib.sha256(packaged_weights(version).read_bytes()).hexdigest()
    assert len(identity.elements) == 89
    assert {"Cr", "Sb", "Te", "Pu"} <= set(identity.elements)
    assert not NEVER_SEEN & set(identity.elements)
    assert {"torch", "chgnet"} <= set(identity.versions)


def test_the_name_alone_is_the_latest_version(loaded, frames):
    calculator = load_calculator("chgnet")
    assert calculator.label == "chgnet-0.3.0"
    assert_same_numbers(calculator, loaded["0.3.0"], frames)


def test_the_versions_are_different_models(loaded, frames):
    profiles = [evaluate(calculator, frames).energies for calculator in loaded.values()]
    barriers = [profile.max() - profile[0] for profile in profiles]
    assert len({round(barrier, 2) for barrier in barriers}) == len(VERSIONS)


def test_keys_of_the_suite_apply():
    identity = load_calculator("chgnet,label=mine,level=r2SCAN,batch=off,dtype=float32").identity
    assert (identity.label, identity.level_of_theory, identity.batched) == ("mine", "r2SCAN", False)


def test_an_unknown_version_is_refused_with_the_known_ones():
    message = refusal("chgnet:0.4.0")
    assert "no CHGNet '0.4.0'" in message
    assert "0.3.0, 0.2.0, r2scan" in message


def test_an_unknown_key_is_refused():
    assert "no option 'head'" in refusal("chgnet,head=pbe")


def test_float64_is_refused_from_the_spec_and_from_the_default():
    assert "float32 only" in refusal("chgnet,dtype=float64")
    assert "float32 only" in refusal("chgnet", dtype="float64")


# checkpoint files


@pytest.mark.parametrize("version", VERSIONS)
def test_a_copy_of_the_packaged_weights_gives_the_same_numbers(tmp_path, loaded, frames, version):
    """The weights of 0.2.0 have a bias in `mlp_out` that their arguments do not mention."""
    path = Path(shutil.copy(packaged_weights(version), tmp_path / "copy.pth.tar"))
    calculator = load_calculator(str(path))
    assert calculator.identity.family == "chgnet"
    assert calculator.identity.parameters == VERSIONS[version][0]
    assert calculator.identity.sha256 == loaded[version].identity.sha256
    assert calculator.identity.level_of_theory is None
    assert_same_numbers(calculator, loaded[version], frames)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fine_tuned_checkpoint_is_read_with_its_own_weights(tmp_path, loaded, frames, version):
    model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    with torch.no_grad():
        model.atom_conv_layers[0].mlp_out.layers[1].weight.mul_(1.01)
    optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    path = tmp_path / "tuned.pth.tar"
    torch.save({"model": model.as_dict(), "optimizer": optimizer.state_dict()}, path)  # as its Trainer saves
    tuned = load_calculator(f"{path},label=tuned,level=PBE")
    assert (tuned.label, tuned.identity.level_of_theory) == ("tuned", "PBE")
    energies = evaluate(tuned, frames).energies
    assert np.abs(energies - evaluate(loaded[version], frames).energies).min() > 1e-3
    direct = [len(f) * float(model.predict_structure(structure(f), task="e")["e"]) for f in frames]
    np.testing.assert_allclose(energies, direct, rtol=1e-6)


def structure(frame):
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_structure(frame)


def test_a_checkpoint_computes_in_float32_only(tmp_path):
    path = Path(shutil.copy(packaged_weights("0.3.0"), tmp_path / "copy.pth.tar"))
    assert "float32 only" in refusal(f"{path},dtype=float64")


def without_a_weight(state):
    del state["model"]["state_dict"]["site_wise.weight"]


def without_weights(state):
    del state["model"]["state_dict"]


def with_another_shape(state):
    state["model"]["model_args"]["atom_fea_dim"] = 32


@pytest.mark.parametrize("spoil", [without_a_weight, without_weights, with_another_shape])
def test_a_spoilt_checkpoint_is_refused_in_one_sentence(tmp_path, spoil):
    path = tmp_path / "spoilt.pth.tar"
    state = packaged_state("0.3.0")
    spoil(state)
    torch.save(state, path)
    assert f"{path} is not a usable CHGNet checkpoint" in refusal(path)


def test_bare_weights_are_of_no_known_family(tmp_path):
    path = tmp_path / "weights.pth.tar"
    torch.save(packaged_state("0.3.0")["model"]["state_dict"], path)
    assert "of no known family" in refusal(path)
