"""What a measurement depends on: the key under which it is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlff_probes.calculators import committee
from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.identity import cpu_count, versions
from mlff_probes.core.case import Case
from mlff_probes.core.digest import digest
from mlff_probes.core.records import CalculatorIdentity

PACKAGE = Path(__file__).parents[2]
FORMAT = 1
"""Counts up when entries are written otherwise, so that none is read in another sense than it was written in."""

MEASURING = ("core", "calculators", "methods", "measure")
"""The rooms whose code decides about a number; with any change there all is measured again."""

OF_NUMBERS = {
    "family", "version", "sha256", "sha256_of", "files", "model_identity", "dispersion", "dtype", "batched",
    "compile_mode", "kernels", "tf32", "cuda", "options", "versions",
}  # fmt: skip
"""What of an identity the numbers of a calculator depend on, beside the kind of its device."""

NO_IDENTITY = (
    "not kept, since nothing says when it is another model; its calculator can, with an attribute 'model_identity' (a "
    "text that changes with its numbers)"
)
SUITE = "mlff-probes"
NAMED_BY_HASH = 8
"""Digits of a model's hash in the name of an entry."""

BESIDE = ("scipy", "hypothesis", "numba", "torch-sim-atomistic", "dftd3", "featomic", "scikit-learn")
"""Packages whose versions a measurement depends on, whatever the model: they draw examples, simulate, and fit."""

WHOLE = ("EMT", "LennardJones", "MorsePotential", "EAM", "TIP3P", "TIP4P")
"""Those of ASE's calculators that are ASE's code, their parameters and files alone: behind others stand programs."""

OF_A_FAMILY = "not kept, since nothing says when it is another model: no hash of its weights is known"


@dataclass(frozen=True)
class Key:
    """Under what a measurement is kept.

    Attributes
    ----------
    digest
        Hash of all that it depends on.
    about
        The same for people: who measured what, with which versions.
    """

    digest: str
    about: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its files: readable, and no other has it."""
        said = f"{self.about['model']}-{self.about['case']}"
        return f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', said)}-{self.digest[:32]}"


@lru_cache
def _installed(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of the packages that are there."""
    return {name: version for name, version in versions(*names).items() if name in names}


@lru_cache
def code() -> str:
    """The hash of the code that measures."""
    files = [file for room in MEASURING for file in (PACKAGE / room).rglob("*") if file.suffix in (".py", ".toml")]
    return digest([(file.relative_to(PACKAGE).as_posix(), file.read_bytes()) for file in sorted(files)])


def key_of(
    calculator: Calculator, case: Case, *, seed: int, shared: bool, members: Sequence[CalculatorIdentity] = ()
) -> Key:
    """The key of the measurement of `case` with `calculator`.

    Labels, levels of theory and tolerances are not in it, so that a measurement is judged again by others (but for the
    tolerances of what ends early where they would not be met).

    Parameters
    ----------
    seed
        What `--probe-seed` says.
    shared
        Whether other workers compute on the same device, so that nothing is timed.
    members
        Those of a committee.

    Raises
    ------
    TypeError
        If the case holds what no hash is known of.
    """
    protocol, identity = case.protocol.reseeded(seed), calculator.identity
    path = [numbers_of(each) for each in (identity, *members)]
    foundation = (
        numbers_of(calculator.foundation.identity) if calculator.foundation and protocol.asks_foundation else None
    )
    of_law = (
        identity.level_of_theory if protocol.uses_level else None,
        identity.elements if protocol.chooses_elements else None,
    )
    tolerances = {row.quantity: (row.value, row.tolerance.value) for row in case.expectations}
    place = (
        identity.device_name, identity.threads, cpu_count(), calculator.other_kernels, calculator.can_compile, shared,
    )  # fmt: skip
    depends = (
        FORMAT, code(), _installed(BESIDE), path, foundation, of_law, case.id, protocol, sorted(case.quantities),
        case.frames, case.stored, case.reference, case.dynamics, case.unlabelled, case.training,
        tolerances if protocol.looks_ahead else None, place if protocol.of_machine else None,
    )  # fmt: skip
    named = [identity.family, identity.version, (identity.sha256 or "")[:NAMED_BY_HASH]]
    about = {"model": "-".join(filter(None, named)), "case": case.id, "kind": protocol.kind, "seed": seed} | path[0]
    return Key(digest(*depends), about)


def numbers_of(identity: CalculatorIdentity) -> dict[str, Any]:
    """What of an identity the numbers of a calculator depend on, as plain data."""
    kind, _, _ = identity.device.partition(":")
    known = {name: version for name, version in identity.versions.items() if name != SUITE}  # its code stands for it
    return identity.model_dump(mode="json", include=OF_NUMBERS) | {"versions": known, "device": kind}


def same_numbers(one: CalculatorIdentity, other: CalculatorIdentity) -> bool:
    """Whether two identities are of calculators of the same numbers."""
    return numbers_of(one) == numbers_of(other)


def why_not_kept(calculator: Calculator, case: Case | None = None) -> str:
    """Why no measurement of a calculator, or not that of a case, can be known again; empty where it can."""
    identity, foundation = calculator.identity, calculator.foundation
    if case is not None and case.protocol.asks_foundation and foundation is not None:
        return why_not_kept(calculator) or why_not_kept(foundation)
    if identity.family == committee.FAMILY:
        return next((why for member in calculator.members if (why := why_not_kept(member))), "")
    of_file = identity.sha256 is not None and identity.sha256_of is None
    of_ase = identity.spec.startswith("ase:") and identity.version in WHOLE
    if of_file or of_ase or identity.model_identity:
        return ""
    return NO_IDENTITY if identity.family in ("py", "ase") else OF_A_FAMILY
