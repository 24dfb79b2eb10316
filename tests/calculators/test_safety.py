"""Checkpoints: real ones load as before, hostile ones are refused, and nothing of theirs runs."""

from __future__ import annotations

import contextlib
import copyreg
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import ase.io
import chgnet
import numpy as np
import pytest
import torch
from hostile import (
    HAND_WRITTEN,
    PAYLOADS,
    SAVED_BY_HAND,
    Call,
    State,
    archived,
    poisoned,
    rewritten,
    scripted,
    shell,
    source,
    text,
)
from mace_models import mace_sandbox, random_mace
from support import refusal

from mlff_probes import Benchmark, evaluate, load_calculator
from mlff_probes.calculators.checkpoints import allowed, safety, unpickling
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.reports import markdown, terminal

pytestmark = pytest.mark.usefixtures("one_thread")

EV = 1e-12
"""Two loads of one file may add in another order (TorchScript): some 1e-18 eV/A were seen. In eV and eV/A."""

REFUSED = "is refused, for loading it could run code that is in it (found: "
VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
POSIX_SYSTEM = 240
"""The number under which the hand-written pickle of the extension registry asks for `posix.system`."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_mace(tmp_path_factory.mktemp("mace") / "tiny.model")


@pytest.fixture(scope="module")
def frames():
    return ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", ":2")


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def extension():
    copyreg.add_extension("posix", "system", POSIX_SYSTEM)
    yield
    copyreg.remove_extension("posix", "system", POSIX_SYSTEM)
    copyreg._extension_cache.clear()


@pytest.fixture(params=["rehearsed", "guard alone"])
def guard(request, monkeypatch):
    """With the rehearsal, and without it: the guard at load must refuse on its own."""
    if request.param == "guard alone":
        monkeypatch.setattr(unpickling, "rehearse", lambda data: None)
    return request.param


def packaged_state():
    (file,) = (Path(chgnet.__file__).parent / "pretrained" / "0.3.0").glob("*.pth.tar")
    return torch.load(file, map_location="cpu", weights_only=True)


def unchecked_runs(path, marker):
    """Whether the attack works at all where nobody checks."""
    assert not marker.exists()
    with contextlib.suppress(Exception):  # what the attacker's file does afterwards is no matter
        torch.load(path, weights_only=False)
    end = time.monotonic() + 5
    while not marker.exists() and time.monotonic() < end:  # a process of its own takes a moment
        time.sleep(0.01)
    return marker.exists()


def unchecked(path, monkeypatch):
    """The calculator as it was before there was a check."""
    with monkeypatch.context() as patch:
        patch.setattr(safety, "load_model", lambda file: None)
        patch.setattr(
            "mlff_probes.calculators.loaders.mace.load_model",
            lambda file: (torch.load(file.path, weights_only=False), "unchecked"),
        )
        return load_calculator(str(path))


# real checkpoints


def largest(path):
    """A MACE with as much in it as is quick to make: vectors and tensors, correlation 3, another nonlinearity."""
    from e3nn import o3
    from mace import modules

    kinds = modules.interaction_classes
    return modules.ScaleShiftMACE(
        atomic_inter_scale=1.0, atomic_inter_shift=0.0, r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3,
        interaction_cls=kinds["RealAgnosticDensityResidualInteractionBlock"],
        interaction_cls_first=kinds["RealAgnosticDensityInteractionBlock"], num_interactions=2, num_elements=3,
        hidden_irreps=o3.Irreps("4x0e+4x1o"), MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.zeros(3),
        avg_num_neighbors=20.0, atomic_numbers=[24, 51, 52], correlation=3, gate=torch.tanh, radial_MLP=[16],
        radial_type="chebyshev", pair_repulsion=True, distance_transform="Agnesi",
    )  # fmt: skip


def plain_mace(path):
    """The model without scale and shift."""
    from e3nn import o3
    from mace import modules

    kinds = modules.interaction_classes
    return modules.MACE(
        r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=2,
        interaction_cls=kinds["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=kinds["RealAgnosticInteractionBlock"], num_interactions=2, num_elements=3,
        hidden_irreps=o3.Irreps("8x0e"), MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.zeros(3),
        avg_num_neighbors=20.0, atomic_numbers=[24, 51, 52], correlation=2, gate=torch.nn.functional.silu,
        radial_MLP=[16], heads=["Default"],
    )  # fmt: skip


def other_blocks(path):
    """Further interaction and readout blocks, on two heads."""
    from e3nn import o3
    from mace import modules

    kinds = modules.interaction_classes
    return modules.ScaleShiftMACE(
        atomic_inter_scale=[1.0, 2.0], atomic_inter_shift=[0.0, 0.0], r_max=5.0, num_bessel=8, num_polynomial_cutoff=5,
        max_ell=2, interaction_cls=kinds["RealAgnosticResidualNonLinearInteractionBlock"],
        interaction_cls_first=kinds["RealAgnosticAttResidualInteractionBlock"], num_interactions=2, num_elements=3,
        hidden_irreps=o3.Irreps("4x0e+4x1o"), MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.zeros((2, 3)),
        avg_num_neighbors=20.0, atomic_numbers=[24, 51, 52], correlation=2, gate=torch.abs, radial_MLP=[16],
        radial_type="gaussian", distance_transform="Soft", heads=["Default", "other"], use_reduced_cg=True,
        readout_cls=modules.NonLinearBiasReadoutBlock,
    )  # fmt: skip


def uncompiled(path):
    """As mace's own `prepare` makes a model for `torch.compile`: graph modules where TorchScript would be."""
    from mace.tools.compile import prepare

    return prepare(plain_mace)(path)


def with_numpy(path):
    """As one that was built with numpy's numbers among its arguments."""
    model = plain_mace(path)
    model.interactions[0].avg_num_neighbors = np.float64(20.0)
    model.interactions[1].avg_num_neighbors = np.float32(20.0)
    model.some = [np.int64(3), np.bool_(True)]
    return model


@pytest.mark.parametrize("build", [largest, plain_mace, other_blocks, uncompiled, with_numpy])
def test_every_kind_of_mace_loads_with_the_numbers_it_had(tmp_path, frames, monkeypatch, build):
    path = tmp_path / "model.model"
    with mace_sandbox("float64", 1):
        torch.save(build(path), path)
    assert_same(path, frames, monkeypatch)


@pytest.mark.parametrize("options", [{"dtype": "float32"}, {"reads_charge": True}, {"heads": ("Default", "other")}])
def test_random_mace_loads_with_the_numbers_it_had(tmp_path, frames, monkeypatch, options):
    assert_same(random_mace(tmp_path / "random.model", **options), frames, monkeypatch)


def test_the_trained_mace_loads_with_the_numbers_it_had(trained_mace_file, frames, monkeypatch):
    assert_same(trained_mace_file, frames, monkeypatch)


def assert_same(path, frames, monkeypatch):
    checked = load_calculator(str(path))
    assert checked.identity.checkpoint == "checked"
    assert not checked.identity.pinned
    one, other = evaluate(checked, frames), evaluate(unchecked(path, monkeypatch), frames)
    assert np.abs(one.energies - other.energies).max() <= EV
    assert all(np.abs(a - b).max() <= EV for a, b in zip(one.forces, other.forces, strict=True))


@pytest.mark.parametrize("version", ["0.3.0", "0.2.0", "r2scan"])
def test_the_weights_of_chgnet_are_read_as_such(monkeypatch, version):
    monkeypatch.setenv(VARIABLE, "1")
    asked = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: asked.append(k.get("weights_only")) or load(*a, **k))
    assert load_calculator(f"chgnet:{version}").identity.checkpoint == "plain weights"
    assert asked == [True]


# hostile checkpoints


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_in_a_real_mace_is_refused(checkpoint, tmp_path, marker, guard, name):
    make, found = PAYLOADS[name]
    path = poisoned(checkpoint, tmp_path / "evil.model", make(marker))
    message = refusal(path)
    assert not marker.exists()
    assert REFUSED in message
    assert (found in message) or guard == "guard alone"
    assert unchecked_runs(path, marker), "this attack must be a live one"


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_a_pickle_written_by_hand_is_refused(checkpoint, tmp_path, marker, guard, extension, name):
    make, found = HAND_WRITTEN[name]
    path = rewritten(checkpoint, tmp_path / "evil.model", pickled=make(marker))
    message = refusal(f"{path},family=mace")
    assert not marker.exists()
    assert REFUSED in message
    assert (found in message) or guard == "guard alone"
    assert unchecked_runs(path, marker), "this attack must be a live one"


def test_torchscript_that_writes_a_file_is_refused(checkpoint, tmp_path, marker, guard):
    path = scripted(checkpoint, tmp_path / "evil.model", marker)
    assert f"{REFUSED}TorchScript that calls save)" in refusal(path)
    assert not marker.exists()
    assert unchecked_runs(path, marker), "this attack must be a live one"


GADGETS = {
    "a class called": (Call(torch.nn.Linear, 2, 2), "a call of torch.nn.modules.linear.Linear"),
    "a codec of another name": (Call(__import__("_codecs").encode, "a", "rot13"), "bytes with arguments"),
    "a class with __setstate__": (torch.nn.MultiheadAttention(2, 1), "MultiheadAttention, which makes itself"),
    "a state for a function": (
        SAVED_BY_HAND + b"ctorch.nn.functional\nsilu\nN}" + text("poisoned") + b"\x88s\x86b.",
        "a state for an object of the type function",
    ),
    "a state for a class": (
        SAVED_BY_HAND + b"ctorch.nn.modules.linear\nLinear\n}" + text("poisoned") + b"\x88sb.",
        "a state for torch.nn.modules.linear.Linear",
    ),
    "a second state": (
        SAVED_BY_HAND + b"ctorch.nn.modules.linear\nLinear\n)\x81}b}" + text("a") + b"Nsb.",
        "a state for an object of the type Linear",
    ),
    "a special attribute": (
        SAVED_BY_HAND + b"ctorch.nn.modules.linear\nLinear\n)\x81}" + text("__class__") + b"Nsb.",
        "the state of torch.nn.modules.linear.Linear",
    ),
    "items for a module": (
        SAVED_BY_HAND + b"ctorch.nn.modules.container\nModuleDict\n)\x81" + text("a") + b"Ns.",
        "items for an object of the type ",
    ),
    "arguments for a module": (SAVED_BY_HAND + b"ctorch.nn.modules.linear\nLinear\nK\x01\x85\x81.", "a new torch.nn"),
    "hooks of a tensor": (
        SAVED_BY_HAND + b"ctorch._utils\n_rebuild_parameter\nN\x88}" + text("a") + b"Ns\x87R.",
        "a parameter with arguments",
    ),
    "a module of torch.jit": (State(torch.jit.ScriptModule, state={}), "torch.jit"),
    "torch.package": (
        Call(torch.fx.graph_module.reduce_package_graph_module, 1, {}, "os"),
        "torch.fx.graph_module.reduce_package_graph_module",
    ),
}
"""Tools that an attacker would look for, and what the refusal names."""


@pytest.mark.parametrize("name", GADGETS)
def test_a_gadget_is_refused(checkpoint, tmp_path, guard, name):
    gadget, found = GADGETS[name]
    path = tmp_path / "evil.model"
    if isinstance(gadget, bytes):
        rewritten(checkpoint, path, pickled=gadget)
    else:
        poisoned(checkpoint, path, gadget)
    message = refusal(f"{path},family=mace")
    assert REFUSED in message
    assert found in message.replace("the type Stand", "the type Linear")
    assert not hasattr(torch.nn.functional.silu, "poisoned")
    assert not hasattr(torch.nn.Linear, "poisoned")


def test_all_that_was_found_is_listed(checkpoint, tmp_path, marker):
    payload = [Call(os.system, shell(marker)), Call(exec, source(marker)), Call(Call(getattr, pickle, "loads"), b"")]
    message = refusal(poisoned(checkpoint, tmp_path / "evil.model", payload[:2]))
    assert f"{REFUSED}posix.system, builtins.exec)" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    "added", ["inner.zip", "extra.pkl", "data/inner.model", "code/evil.py", "constants.pkl", "DATA.PKL"]
)
def test_a_file_beside_the_tensors_is_refused(checkpoint, tmp_path, guard, added):
    content = archived(Call(exec, "raise AssertionError"))
    path = rewritten(checkpoint, tmp_path / "evil.model", **{added: content})
    message = refusal(path)
    assert added in message or "TorchScript archive" in message


def test_a_file_in_torchs_older_format_is_refused(checkpoint, tmp_path, marker):
    path = tmp_path / "evil.model"
    torch.save({"mace": Call(exec, source(marker))}, path, _use_new_zipfile_serialization=False)
    assert "is no readable checkpoint" in refusal(f"{path},family=mace")
    with path.open("ab") as file:  # zip archives are found from their end, but torch looks at the beginning
        file.write(checkpoint.read_bytes())
    assert f"{REFUSED}no zip archive" in refusal(f"{path},family=mace")
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.exec", "importlib", "operator.attrgetter", "graph module, default"]
)
def test_a_payload_among_the_weights_of_chgnet_is_refused(tmp_path, marker, name):
    path = tmp_path / "evil.pth.tar"
    state = packaged_state()
    state["trainer_args"]["callback"] = PAYLOADS[name][0](marker)
    torch.save(state, path)
    message = refusal(path)
    assert REFUSED in message
    assert PAYLOADS[name][1] in message or "reduce_graph_module" in message
    assert not marker.exists()
    assert unchecked_runs(path, marker), "this attack must be a live one"


# trust


def test_trust_loads_what_is_refused_and_says_so(checkpoint, tmp_path, marker, frames):
    path = poisoned(checkpoint, tmp_path / "evil.model", PAYLOADS["os.system"][0](marker))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"pin it with --probe-sha256={found} and add --probe-trust-checkpoint" in refusal(path)
    assert REFUSED in refusal(path, sha256=[found]), "a pin alone overrides nothing"
    trusted = load_calculator(str(path), trust_checkpoint=True, sha256=found)
    assert marker.exists()
    assert (trusted.identity.checkpoint, trusted.identity.pinned) == ("unchecked", True)
    sound = load_calculator(str(checkpoint), trust_checkpoint=True)
    assert (sound.identity.checkpoint, sound.identity.pinned) == ("checked", False), "the option switches no check off"
    assert (evaluate(trusted, frames).energies == evaluate(sound, frames).energies).all()


def test_trust_loads_refused_weights_too(tmp_path, marker):
    path = tmp_path / "evil.pth.tar"
    state = packaged_state()
    state["trainer_args"]["callback"] = Call(exec, source(marker))
    torch.save(state, path)
    assert load_calculator(str(path), trust_checkpoint=True).identity.checkpoint == "unchecked"
    assert marker.exists()


def test_a_pin_holds_every_file(checkpoint, tmp_path):
    found = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    identity = load_calculator(str(checkpoint), sha256=["0" * 64, found.upper()]).identity
    assert (identity.sha256, identity.pinned) == (found, True)
    message = refusal(checkpoint, sha256=["0" * 64])
    assert f"has the SHA-256 {found}, which --probe-sha256 does not name" in message
    assert not load_calculator("chgnet", sha256=[found]).identity.pinned, "weights of a package need no pin"
    other = shutil.copy(checkpoint, tmp_path / "changed.model")
    with Path(other).open("ab") as file:
        file.write(b"\0")
    assert "does not name" in refusal(other, sha256=[found])


def test_a_pin_is_a_hash_of_something(checkpoint):
    with pytest.raises(InputError, match=r"^sha256=abc: a SHA-256 is 64 hex digits"):
        load_calculator(str(checkpoint), sha256="abc")
    with pytest.raises(InputError, match=f"^sha256={'0' * 64}: no calculator has this SHA-256"):
        Benchmark(model="chgnet", sha256="0" * 64)


def test_the_scorecard_says_what_was_trusted(checkpoint, tmp_path, marker):
    path = poisoned(checkpoint, tmp_path / "evil.model", Call(exec, source(marker)))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    bench = Benchmark(model=path, sha256=found, trust_checkpoint=True, migration_path="cr_sb2te3_in_gap")
    card = bench.run().scorecard
    assert (card.options.trust_checkpoint, card.options.sha256) == (True, (found,))
    assert (card.calculators[0].checkpoint, card.calculators[0].pinned) == ("unchecked", True)
    for report in (terminal.render(card), markdown.render(card)):
        assert "the checkpoint of evil was refused by the check and loaded all the same" in " ".join(report.split())
    assert f"sha256 {found} (pinned)\n  checkpoint REFUSED by the check" in markdown.render(card)


def test_what_is_hashed_is_what_is_loaded(checkpoint, tmp_path, monkeypatch, marker):
    """A file that is exchanged after it was read changes nothing."""
    path = Path(shutil.copy(checkpoint, tmp_path / "model.model"))
    evil = poisoned(checkpoint, tmp_path / "evil.model", Call(exec, source(marker))).read_bytes()
    read = safety.read

    def exchanged(request, where):
        file = read(request, where)
        where.write_bytes(evil)
        return file

    monkeypatch.setattr("mlff_probes.calculators.loaders.mace.read", exchanged)
    identity = load_calculator(str(path)).identity
    assert identity.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert not marker.exists()


# nothing leaks

AFTER = """
import io, os, sys, torch
from mlff_probes import load_calculator
load_calculator(sys.argv[1])
try:
    torch.load(sys.argv[2])
except Exception as error:
    print(type(error).__name__)
"""

FACTORY = """
def make():
    import mace.calculators
    from ase.calculators.lj import LennardJones
    return LennardJones()
"""


@pytest.mark.parametrize("which", ["checkpoint", "factory"])
def test_torch_still_refuses_by_default_afterwards(checkpoint, tmp_path, marker, which):
    evil, factory = tmp_path / "evil.pt", tmp_path / "factory.py"
    torch.save(Call(exec, source(marker)), evil)
    factory.write_text(FACTORY)
    spec = str(checkpoint) if which == "checkpoint" else f"py:{factory}:make"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    run = subprocess.run(
        [sys.executable, "-c", AFTER, spec, evil], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "UnpicklingError"
    assert not marker.exists()


def test_torch_told_to_read_weights_alone_is_respected(checkpoint, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD is set" in refusal(checkpoint)
    assert load_calculator("chgnet").identity.checkpoint == "plain weights"


def test_the_page_on_checkpoints_says_what_the_code_says():
    page = " ".join((Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text().split())
    assert REFUSED in page
    for module in ("mace.modules.models", "e3nn.nn._fc", "e3nn.o3._linear", "e3nn.math._normalize_activation"):
        assert allowed.MODULE.fullmatch(module)
        assert f"`{module.rpartition('.')[0]}`" in page
    for module in ("mace.tools.utils", "mace.calculators.mace", "e3nn.util.jit", "e3nn.io", "torch.nn.parallel", "os"):
        assert not allowed.MODULE.fullmatch(module)
    for source_file in ("allowed", "constructors", "embedded_code", "torchscript"):
        assert f"`{source_file}.py`" in page


def test_the_rehearsal_makes_nothing(checkpoint, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(torch._utils, "_rebuild_tensor_v2", never)
    monkeypatch.setattr(torch.jit, "load", never)
    monkeypatch.setattr(torch.fx.graph_module, "reduce_graph_module", never)
    with zipfile.ZipFile(checkpoint) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        unpickling.rehearse(archive.read(name))
    with pytest.raises(AssertionError):
        torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=False, pickle_module=unpickling)
