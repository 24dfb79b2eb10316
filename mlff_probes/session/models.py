"""What names a model, loaded: a SPEC, a file, an ASE calculator, or a loaded one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.calc_file import LABEL, LABEL_RULE
from mlff_probes.calculators.checkpoints.safety import check_pins_used
from mlff_probes.calculators.identity import cuda_devices, path_not_stated
from mlff_probes.calculators.registry import Shelf, each_head
from mlff_probes.calculators.wrapping import known_elements, wrapped
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity
from mlff_probes.session.store.models import Asked, KnownModels

Model = str | os.PathLike[str] | Calculator | Any
"""What names a calculator: a SPEC as after `--calculator=`, a file, an ASE calculator, or a loaded one."""

Models = Model | Sequence[Model] | Mapping[str, Model]
"""One model, several, or several by label."""

BASELINE = "--probe-baseline"
"""The option that names what a run is compared with."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How models are loaded.

    Attributes
    ----------
    device, dtype, gpu
        Where a model computes whose SPEC does not say, and in which precision; the CUDA device where none is numbered.
    require_device
        The only kind of device on which a model may compute; None for any.
    trust_checkpoint
        Whether a checkpoint that the check refuses is loaded all the same.
    sha256
        Hashes of which every checkpoint file must have one.
    pin_option
        What the user calls `sha256`.
    tell_apart
        How the user gives names to two models of one name.
    known
        What is known of models that were loaded before, so that they are loaded when they first measure; None to load
        each now.
    """

    device: str | None = None
    dtype: str | None = None
    gpu: int = 0
    require_device: str | None = None
    trust_checkpoint: bool = False
    sha256: tuple[str, ...] = ()
    pin_option: str = "--probe-sha256"
    tell_apart: str = "add ,label=… to tell them apart"
    known: KnownModels | None = None

    def each_head(self, spec: str) -> list[str]:
        """The SPECs that a SPEC stands for: with ``head=all`` one for each head of its model."""
        return each_head(spec, trust_checkpoint=self.trust_checkpoint, sha256=self.sha256)

    def load(self, spec: str, shelf: Shelf | None = None) -> Calculator:
        """The calculator that a SPEC names, its model shared with others that are on the `shelf`."""
        asked = Asked(
            device=self.device, dtype=self.dtype, gpu=self.gpu, trust_checkpoint=self.trust_checkpoint,
            sha256=self.sha256,
        )  # fmt: skip
        return self.known.calculator(spec, asked, shelf) if self.known else asked.load(spec, shelf)


def loaded_models(models: Models, loading: Loading, *, baseline: str | None = None) -> list[Calculator]:
    """Load or wrap what `models` names, and then what `baseline` names, if anything; a model that comes twice once.

    Raises
    ------
    InputError
        If it names nothing, or something that is no calculator, or two of one name, or a pin is not used, or a model
        computes elsewhere than it must.
    """
    named: list[tuple[str | None, Model]]
    if isinstance(models, Mapping):
        named = list(models.items())
    elif isinstance(models, list | tuple):
        named = [(None, each) for each in models]
    else:
        named = [(None, models)]
    if not named:
        raise InputError("", "no model is named", "write for instance model='chgnet' or model='path/to.model'")
    shelf = Shelf()
    found = [calculator for label, each in named for calculator in _calculators(label, each, loading, shelf)]
    if baseline is not None:
        found.append(_baseline(baseline, loading, shelf))
    check_pins_used(loading.sha256, [calculator.identity for calculator in found], option=loading.pin_option)
    for calculator in found:
        _check_device(calculator.identity, loading.require_device)
    labels = [calculator.label for calculator in found if not calculator.labelled]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise InputError("", f"two calculators are called '{twice}'", loading.tell_apart)
    return found


def one_model(spec: str, loading: Loading) -> Calculator:
    """The calculator that a SPEC names, where one is meant.

    Raises
    ------
    InputError
        As `loaded_models`, and if it names several (``head=all``).
    """
    calculator = loading.load(spec)
    check_pins_used(loading.sha256, [calculator.identity], option=loading.pin_option)
    return calculator


def _baseline(spec: str, loading: Loading, shelf: Shelf) -> Calculator:
    try:
        return loading.load(spec, shelf)
    except InputError as error:
        if error.where != f"--calculator={spec}":
            raise
        raise error.at(f"{BASELINE}={spec}") from error


def _calculators(label: str | None, model: Model, loading: Loading, shelf: Shelf) -> list[Calculator]:
    """The calculator that `model` names, or one for each of its heads."""
    if label is not None and not (isinstance(label, str) and LABEL.fullmatch(label)):
        raise InputError(f"model={{{label!r}: …}}", LABEL_RULE)
    if isinstance(model, str | os.PathLike):
        spec = os.fspath(model)
        wanted = f"{spec},label={label}" if label else spec
        return [loading.load(each, shelf) for each in loading.each_head(wanted)]
    for name in ("device", "dtype"):
        if (value := getattr(loading, name)) is not None:
            raise InputError(
                "", f"{name}='{value}' cannot be given to a calculator that is made already", "leave it out"
            )
    if not isinstance(model, Calculator):
        return [_bare(label, model)]
    identity = model.identity.model_copy(update={"label": label or model.label})
    return [replace(model, identity=identity, labelled=model.labelled or label is not None)]


def _bare(label: str | None, model: Any) -> Calculator:
    """An ASE calculator that somebody made, with what it says of itself."""
    if isinstance(model, type) or not callable(getattr(model, "get_potential_energy", None)):
        raise InputError(
            "", f"model={model!r} is neither a SPEC, a file nor an ASE calculator (an object with get_potential_energy)"
        )
    name = type(model).__name__
    request = CalculatorRequest(spec=name, target=name)
    elements = known_elements(model, request)
    found = wrapped(request, model, label=label or name, family="ase", elements=elements, device=NOT_STATED,
                    dtype=NOT_STATED)  # fmt: skip
    return replace(found, labelled=label is not None)


def _check_device(identity: CalculatorIdentity, required: str | None) -> None:
    """Refuse a calculator that computes elsewhere than `--probe-require-device` says.

    Raises
    ------
    InputError
        If it does, or nobody stated where it computes.
    """
    kind, _, number = identity.device.partition(":")
    if required is None:
        return
    option, said = f"--probe-require-device={required}", f"--calculator={identity.spec}"
    if identity.device == NOT_STATED:
        raise InputError(option, f"{said}: {path_not_stated(identity, of=('device',))}")
    if kind == required == "cuda" and cuda_devices() <= int(number or 0):
        raise InputError(
            option, f"{said} says that it computes on {identity.device}, and this machine has no such device"
        )
    if kind == required:
        return
    raise InputError(
        option,
        f"{said} computes on {identity.device} ({identity.device_name})",
        f"add --probe-device={required} or ,device={required}, run it where there is such a device, or leave "
        "--probe-require-device out",
    )
