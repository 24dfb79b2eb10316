"""What a loaded calculator is, whichever family it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_probes.calculators.bench import Bench
from mlff_probes.calculators.device import HOST, Device
from mlff_probes.calculators.process_state import ProcessState
from mlff_probes.core.records import CalculatorIdentity

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_probes.calculators.journal import Journal

BatchFunction = Callable[[Sequence["Atoms"], bool], Sequence[tuple[Any, Any]]]
"""(frames, forces wanted) -> one (energy in eV, forces in eV/A or None) for each frame."""

FeatureFunction = Callable[[Sequence["Atoms"]], Sequence["Features"]]
"""frames -> the features that a model computes of each on its way to the energy, in one forward pass."""

Guard = Callable[[str, int], AbstractContextManager[None]]
"""(where, number of structures) -> a context for one model call."""

CPU_BATCH_ATOMS = 384
"""Atoms in one batch on a CPU: past some 300 atoms a larger batch no longer gains time there."""

CUDA_BATCH_ATOMS = 4096
"""Atoms in one batch on an accelerator: bounds memory to some gigabytes for the largest models."""


def batch_atoms(device: str) -> int:
    """The most atoms in one batch on this torch device."""
    return CUDA_BATCH_ATOMS if device.startswith("cuda") else CPU_BATCH_ATOMS


def unguarded(where: str, structures: int) -> AbstractContextManager[None]:
    """Stand-in for a guard where a model call may do as it likes."""
    return nullcontext()


@dataclass(frozen=True)
class Features:
    """What a model knows of one structure before it makes an energy of it; the same however that is turned or numbered.

    Attributes
    ----------
    layers
        By the name of a layer, in the order of the model: one row for each atom, shape (n_atoms, n_features).
    whole
        Of the structure as a whole, shape (n_features,); None where the model has none.
    equivariant
        As `layers`, with the features that turn with the structure (vectors and tensors) beside those that stay the
        same; empty where the model has none, or shows none.
    """

    layers: Mapping[str, Any]
    whole: Any = None
    equivariant: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Calculator:
    """A loaded force field: an ASE calculator with an identity and, where it has one, a batched pass.

    Attributes
    ----------
    identity
        What the header and the scorecard say of it.
    ase
        The ASE calculator.
    batch
        One forward pass for many frames, or None where a loop is as good.
    features
        One forward pass for the features of many frames, or None where it has or shows none.
    features_name
        What these are, in words.
    batch_atoms
        The most atoms that one batch may hold.
    properties
        The ASE properties it implements; None if unknown.
    device
        Where it computes.
    device_given_out
        Whether the suite chose which of several CUDA devices it computes on, rather than the user or its own code.
    labelled
        Whether the user chose its label, and so may give it to several replicates.
    fresh
        Loads the same calculator once more, as ``fresh()``, or with some of what was asked for changed, as
        ``fresh(dtype="float32", device="cpu")`` (fields of `CalculatorRequest`); raises `InputError` where it cannot be
        had so. None where the calculator was not loaded here.
    other_kernels
        Kernel libraries that are installed and that the calculator, loaded with ``fresh(kernels=…)``, could use.
    can_compile
        Whether it could be had with ``,compile=default``.
    guard
        Around each model call: what may end it (`mlff_probes.calculators.limits`).
    state
        What it changed of the process, and has in its calls.
    journal
        Where its answers are noted, and taken from where an earlier process noted them; None for nowhere.
    members
        Those of a committee, of which it is the mean; none of any other calculator.
    foundation
        What it was fine-tuned from; None where nobody says.
    bench
        The structure through which it is asked where it has no batched pass.
    """

    identity: CalculatorIdentity
    ase: Any
    batch: BatchFunction | None = None
    features: FeatureFunction | None = None
    features_name: str = "features"
    batch_atoms: int = CPU_BATCH_ATOMS
    properties: frozenset[str] | None = None
    device: Device = HOST
    device_given_out: bool = False
    labelled: bool = False
    fresh: Callable[..., Calculator] | None = None
    other_kernels: tuple[str, ...] = ()
    can_compile: bool = False
    guard: Guard = unguarded
    journal: Journal | None = None
    members: tuple[Calculator, ...] = ()
    foundation: Calculator | None = None
    state: ProcessState = field(default_factory=ProcessState, compare=False, repr=False)
    bench: Bench = field(default_factory=Bench, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The name in ids and tables."""
        return self.identity.label

    def unknown_elements(self, elements: frozenset[str]) -> list[str]:
        """Those of `elements` that this calculator is known not to know, sorted."""
        known = self.identity.elements
        return [] if known is None else sorted(elements - set(known))

    def supplies(self, name: str) -> bool:
        """Whether the calculator implements the ASE property `name` (True if it does not say)."""
        return self.properties is None or name in self.properties

    @property
    def unloaded(self) -> Calculator:
        """All but the model, which others may hold; `fresh` loads it once more."""
        return replace(self, ase=None, batch=None, members=(), bench=Bench())


@dataclass(frozen=True)
class CalculatorRequest:
    """What the user asked for: one `--calculator` and the options that apply to it.

    Attributes
    ----------
    spec
        The option as it was written; each message about it begins with ``--calculator=SPEC:``.
    target
        What is to be loaded: the spec without its keys.
    path
        The file that `target` names, None where it names none.
    family
        The family that the user named with ``family=``, for a file.
    label, level_of_theory, batch
        The keys of that name; None (True for `batch`) where they were not given.
    dispersion
        The term of dispersion that is added to what the model computes, a key of `dispersion.KEYS`.
    device, dtype
        The same, or else what `--probe-device` and `--probe-dtype` say: to be honoured or refused.
    compile_mode, kernels
        The keys ``compile`` and ``kernels``: how a model is compiled, and the library that computes its tensor
        products; None for the plain path. To be honoured or refused.
    foundation
        SPEC, without keys, of what the model was fine-tuned from.
    gpu
        Which CUDA device is meant where none is numbered.
    elements
        Symbols that a calculator file says the calculator knows.
    options
        All other keys, numbers and truth values read as such.
    table
        The calculator file (`calc.toml`) in which all this was written down.
    trust_checkpoint
        Whether a checkpoint that the check refuses is loaded all the same (`--probe-trust-checkpoint`).
    pins
        Hashes (SHA-256) of which a checkpoint file must have one, if there are any (`--probe-sha256`).
    """

    spec: str
    target: str
    path: Path | None = None
    family: str | None = None
    label: str | None = None
    device: str | None = None
    dtype: str | None = None
    level_of_theory: str | None = None
    batch: bool = True
    dispersion: str | None = None
    compile_mode: str | None = None
    kernels: str | None = None
    foundation: str | None = None
    gpu: int = 0
    elements: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    table: Path | None = None
    trust_checkpoint: bool = False
    pins: tuple[str, ...] = ()

    @property
    def version(self) -> str | None:
        """What follows the colon in ``name:version``; None where nothing does, or for a file."""
        return None if self.path is not None else self.target.partition(":")[2] or None

    @property
    def numbered_device(self) -> str | None:
        """`device`, with the number of the CUDA device that is meant where that is not the first."""
        return f"cuda:{self.gpu}" if self.device == "cuda" and self.gpu else self.device

    @property
    def folder(self) -> Path:
        """Where relative paths of `target` begin: at the calculator file, else at the working directory."""
        return Path.cwd() if self.table is None else self.table.parent.resolve()


def as_calculator(calculator: Calculator | Any) -> Calculator:
    """`calculator` itself, or a bare ASE calculator with the least that `evaluate` needs to know."""
    if isinstance(calculator, Calculator):
        return calculator
    name = type(calculator).__name__
    identity = CalculatorIdentity(
        spec=name, label=name, family="ase", dtype="float64", device="cpu", device_name="cpu", threads=1
    )
    properties = getattr(calculator, "implemented_properties", None)
    return Calculator(identity=identity, ase=calculator, properties=frozenset(properties) if properties else None)
