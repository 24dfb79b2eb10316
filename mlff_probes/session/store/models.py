"""What is known of models that were loaded before, so that a run that only judges again loads none.

A file a model, ``models/KEY.json``: its identity and all else that the suite asks of a calculator before it measures.
The key is what the user asked for and the hash of the file; it holds for the same versions of the same packages.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.identity import cpu_count, cpu_name, cuda_devices, sha256, versions
from mlff_probes.calculators.registry import Shelf, is_ours, load_calculator
from mlff_probes.calculators.spec import parse_request
from mlff_probes.core.digest import digest
from mlff_probes.core.errors import InputError
from mlff_probes.core.keeping import write_whole
from mlff_probes.core.records import CalculatorIdentity
from mlff_probes.session.store.keys import FORMAT, code

FOLDER = "models"
OF_THE_SUITE = ("mlff-probes", "python", "ase", "numpy")
"""Versions that every identity has."""

PLAIN = ("features_name", "batch_atoms", "device_given_out", "labelled", "other_kernels", "can_compile")
"""What is kept of a calculator beside its identity and the properties that it has."""

ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What of the environment an identity depends on."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a model is to be loaded, whichever it is: as of `load_calculator`."""

    device: str | None
    dtype: str | None
    gpu: int
    trust_checkpoint: bool
    sha256: tuple[str, ...]

    def load(self, spec: str, shelf: Shelf | None = None) -> Calculator:
        """The calculator that `spec` names."""
        return load_calculator(
            spec, device=self.device, dtype=self.dtype, gpu=self.gpu, trust_checkpoint=self.trust_checkpoint,
            sha256=self.sha256, shelf=shelf,
        )  # fmt: skip


class KnownModels:
    """The models of a store.

    Parameters
    ----------
    directory
        That of the store; made when the first model is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.folder = directory / FOLDER

    def calculator(self, spec: str, asked: Asked, shelf: Shelf | None = None) -> Calculator:
        """The calculator that `spec` names, which is loaded when it first measures if all else of it is known.

        Raises
        ------
        InputError
            As `load_calculator`.
        """
        try:
            request = parse_request(spec, device=asked.device, dtype=asked.dtype)
            file = self._file(request, asked)
        except (InputError, OSError):  # which is said better where it is loaded
            return asked.load(spec, shelf)
        if file is None:
            return asked.load(spec, shelf)
        if (found := self._known(file, spec)) is not None:
            pins = (found.identity.sha256,) if request.path and found.identity.sha256 else asked.sha256
            return replace(found, fresh=_later(spec, replace(asked, sha256=pins)))  # not what the file is by then
        calculator = asked.load(spec, shelf)
        if request.path is None or calculator.identity.sha256 == sha256(request.path):
            self._keep(file, calculator)
        return calculator

    def _file(self, request: CalculatorRequest, asked: Asked) -> Path | None:
        """Where what is known of a model is; None for one that nothing but loading it can identify.

        The weights of a file are known by its hash, those of CHGNet by the version of the package that holds them.
        """
        of_package = request.path is None and request.target.partition(":")[0] == "chgnet" and request.family is None
        if not (request.path or of_package) or request.table or request.foundation or _may_use_a_gpu(request.device):
            return None
        name, content = (request.path.name, sha256(request.path)) if request.path else ("", "")
        parts = (
            FORMAT, code(), replace(request, spec="", target="" if name else request.target, path=None), name, content,
            asked, cpu_name(), cpu_count(), cuda_devices(), sys.version, platform.platform(),
            [os.environ.get(name) for name in ENVIRONMENT],
        )  # fmt: skip
        return self.folder / f"{digest(*parts)}.json"

    def _known(self, file: Path, spec: str) -> Calculator | None:
        """A calculator without its model; None where nothing is known of it, or it was with other versions."""
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            properties = data.pop("properties")
            identity = CalculatorIdentity.model_validate(data.pop("identity"), strict=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        packages = [name for name in identity.versions if name not in OF_THE_SUITE]
        if dict(versions(*packages)) != identity.versions or set(data) != set(PLAIN):
            return None
        data["other_kernels"] = tuple(data["other_kernels"])
        identity = identity.model_copy(update={"spec": spec, "load_s": 0.0})
        return Calculator(identity, None, properties=None if properties is None else frozenset(properties), **data)

    def _keep(self, file: Path, calculator: Calculator) -> None:
        """Keep what is known of a model that has a hash; where that cannot be written, it is loaded again."""
        identity = calculator.identity
        if identity.sha256 is None or identity.sha256_of is not None or not is_ours(identity.family):
            return
        if identity.files or identity.device != "cpu":  # files that the model names are not in the key
            return
        properties = None if calculator.properties is None else sorted(calculator.properties)
        said = {name: getattr(calculator, name) for name in PLAIN}
        data = {"identity": identity.model_dump(mode="json"), "properties": properties, **said}
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(data))


def _may_use_a_gpu(device: str | None) -> bool:
    """Whether a model may compute on a GPU, of whose driver, name and rounding nothing is known before it is loaded."""
    return device != "cpu" and (device not in (None, "auto") or cuda_devices() > 0 or sys.platform == "darwin")


def _later(spec: str, asked: Asked) -> Callable[..., Calculator]:
    """What loads the calculator, or the same with some of what was asked for changed."""

    def fresh(**changes: Any) -> Calculator:
        loaded = asked.load(spec)
        assert loaded.fresh is not None
        return loaded.fresh(**changes) if changes else loaded

    return fresh
