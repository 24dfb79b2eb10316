"""What a measurement depends on: the key under which it is kept."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlff_probes.calculators import committee
from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.identity import cpu_count
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
NAMED_BY_HASH = 12
"""Digits of a hash by which a file of a model is called in the name of an entry."""


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
def code() -> str:
    """The hash of the code that measures."""
    files = [file for room in MEASURING for file in (PACKAGE / room).rglob("*") if file.suffix in (".py", ".toml")]
    return digest([(file.relative_to(PACKAGE).as_posix(), file.read_bytes()) for file in sorted(files)])


def key_of(calculator: Calculator, case: Case, *, seed: int, shared: bool) -> Key:
    """The key of the measurement of `case` with `calculator`.

    Labels, levels of theory and tolerances are not in it, so that a measurement is judged again by others (but for the
    tolerances of what ends early where they would not be met).

    Parameters
    ----------
    seed
        What `--probe-seed` says.
    shared
        Whether other workers compute on the same device, so that nothing is timed.

    Raises
    ------
    TypeError
        If the case holds what no hash is known of.
    """
    protocol, identity = case.protocol.reseeded(seed), calculator.identity
    path = _path(identity)
    foundation = _path(calculator.foundation.identity) if calculator.foundation and protocol.asks_foundation else None
    tolerances = {row.quantity: (row.value, row.tolerance.value) for row in case.expectations}
    place = (platform.node(), identity.device_name, identity.device, identity.threads, cpu_count(), shared)
    depends = (
        FORMAT, code(), path, foundation, case.id, protocol, sorted(case.quantities), case.frames, case.stored,
        case.reference, case.dynamics, case.unlabelled, case.training, tolerances if protocol.looks_ahead else None,
        place if protocol.of_machine else None,
    )  # fmt: skip
    model = identity.version or (identity.sha256 or "")[:NAMED_BY_HASH]
    about = {"model": f"{identity.family}-{model}", "case": case.id, "kind": protocol.kind, "seed": seed} | path
    return Key(digest(*depends), about)


def _path(identity: CalculatorIdentity) -> dict[str, Any]:
    kind, _, _ = identity.device.partition(":")
    versions = {
        name: version for name, version in identity.versions.items() if name != SUITE
    }  # for which its code stands
    return identity.model_dump(mode="json", include=OF_NUMBERS) | {"versions": versions, "device": kind}


def why_not_kept(calculator: Calculator) -> str:
    """Why no measurement of a calculator can be known again; empty where each can."""
    identity = calculator.identity
    if identity.family == committee.FAMILY:
        return next((why for member in calculator.members if (why := why_not_kept(member))), "")
    of_file = identity.sha256 is not None and identity.sha256_of is None
    of_ase = identity.spec.startswith("ase:")  # its class, its version and the hashes of its files say all
    return "" if of_file or of_ase or identity.model_identity else NO_IDENTITY
