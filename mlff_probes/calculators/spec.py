"""The grammar of `--calculator=SPEC[,key=value…]`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlff_probes.calculators.base import CalculatorRequest
from mlff_probes.calculators.calc_file import ADDED, LABEL, LABEL_RULE, SUFFIX, described
from mlff_probes.core.errors import InputError

_OPTION = re.compile(r",([A-Za-z_][A-Za-z0-9_]*)=([^,]*)$")
_OURS = ("label", "device", "dtype", "compile", "kernels", "family", "level", "batch", "foundation")
DTYPES = ("float32", "float64")


def parse_request(spec: str, *, device: str | None = None, dtype: str | None = None) -> CalculatorRequest:
    """Split one `--calculator` value into its target and options, and read the calculator file it may name.

    Parameters
    ----------
    spec
        ``SPEC[,key=value…]``. The keys `label`, `device`, `dtype`, `compile`, `kernels`, `family`, `level` (of
        theory), `batch` and `foundation` are the suite's, and `dispersion` where its value is one of `ADDED`; any other
        is handed to the calculator's own constructor.
    device, dtype
        What `--probe-device` and `--probe-dtype` say; a key of the spec or of the calculator file wins.

    Raises
    ------
    InputError
        If the spec is empty, a key is given twice or has an unusable value, or a calculator file is unusable.
    """
    target, options = _split(spec)
    ours = {key: options.pop(key) for key in _OURS if key in options}
    if options.get("dispersion") in ADDED:  # anything else may be a switch of the calculator's own
        ours["dispersion"] = options.pop("dispersion")
    _check(spec, ours)
    request = CalculatorRequest(
        spec=spec,
        target=target,
        path=Path(target) if is_file(target) else None,
        family=ours.get("family"),
        label=ours.get("label"),
        device=ours.get("device"),
        dtype=ours.get("dtype"),
        level_of_theory=ours.get("level"),
        batch=ours.get("batch", "auto") != "off",
        dispersion=ours.get("dispersion"),
        compile_mode=ours.get("compile"),
        kernels=ours.get("kernels"),
        foundation=ours.get("foundation"),
        options={key: literal(value) for key, value in options.items()},
    )
    if request.path is not None and request.path.suffix == SUFFIX and request.family is None:
        request = described(request, request.path)
    return replace(request, device=request.device or device, dtype=request.dtype or dtype)


def with_keys(spec: str, **keys: str) -> str:
    """`spec` with some of its keys at other values."""
    target, options = _split(spec)
    return target + "".join(f",{key}={value}" for key, value in (options | keys).items())


def _split(spec: str) -> tuple[str, dict[str, str]]:
    """The target and the keys behind it; an existing file may itself hold what looks like a key."""
    target, options = os.path.expanduser(spec.strip()), dict[str, str]()  # noqa: PTH111 - it need not be a path
    while not is_file(target) and (match := _OPTION.search(target)):
        key, value = match.groups()
        if key in options:
            raise InputError(f"--calculator={spec}", f"the key '{key}' is given twice")
        options[key], target = value, target[: match.start()]
    if not target:
        raise InputError(
            f"--calculator={spec}",
            "no calculator is named",
            "write for instance --calculator=chgnet or --calculator=path/to.model",
        )
    return target, dict(reversed(options.items()))


def is_file(name: str) -> bool:
    """Whether `name` names a file; False too where the system cannot even ask (a name too long, say)."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def _check(spec: str, ours: dict[str, str]) -> None:
    for key, value in ours.items():
        if not value:
            raise InputError(f"--calculator={spec}", f"the key '{key}' has no value")
    label = ours.get("label")
    if label is not None and not LABEL.fullmatch(label):
        raise InputError(f"--calculator={spec}", f"{LABEL_RULE}, found '{label}'")
    for key, allowed in (("dtype", DTYPES), ("batch", ("auto", "off"))):
        if ours.get(key, allowed[0]) not in allowed:
            raise InputError(f"--calculator={spec}", f"{key} must be {' or '.join(allowed)}, found '{ours[key]}'")


def literal(text: str) -> Any:
    """A number, true/false or none where `text` is one, else the text itself."""
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
