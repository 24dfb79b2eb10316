"""What identifies a calculation: hash of the model, versions, device, and the path of the numbers."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_probes.calculators.calc_file import ADDED
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity
from mlff_probes.core.version import installed_version

if TYPE_CHECKING:
    from mlff_probes.calculators.base import CalculatorRequest

DRIVER = Path("/proc/driver/nvidia/version")
"""The file in which NVIDIA's kernel module states its version."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Versions of the suite, Python, ASE, numpy and the named packages that are installed."""
    found = {"mlff-probes": installed_version(), "python": platform.python_version()}
    for package in ("ase", "numpy", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """Model name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models and models[0] else platform.processor() or platform.machine()


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_devices() -> int:
    """How many CUDA devices this process may use; torch is asked where it is loaded, and not loaded for this."""
    if torch := sys.modules.get("torch"):
        return int(torch.cuda.device_count())
    there = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    chosen = [name.strip() for name in visible.split(",")]
    return min(there, next((n for n, name in enumerate(chosen) if name in ("", "-1")), len(chosen)))


def driver_version(text: str) -> str | None:
    """The driver version in `text`, which is what NVIDIA's kernel module states; None if it names no version."""
    found = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)(?:\s|$)", text, re.MULTILINE)
    return found[1] if found else None


def cuda_facts(device: str) -> dict[str, Any]:
    """The fields `tf32`, `cuda` and `driver` of the identity of a calculator that runs torch on `device`."""
    if not device.startswith("cuda"):
        return {}
    import torch

    try:
        driver = driver_version(DRIVER.read_text(encoding="utf-8"))
    except OSError:
        driver = None
    matmul = torch.backends.cuda.matmul
    # the old name cannot be read any more once the new one was set
    tf32 = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    return {"tf32": tf32, "cuda": torch.version.cuda, "driver": driver}


def same_model(one: CalculatorIdentity, other: CalculatorIdentity) -> bool:
    """Whether two identities are of one model: written alike, of one file, or of one factory with the same options."""
    if one.spec == other.spec:
        return True
    if one.sha256 is None or (one.sha256, one.sha256_of) != (other.sha256, other.sha256_of):
        return False
    return one.sha256_of is None or (one.options, one.files) == (other.options, other.files)


def path_not_stated(identity: CalculatorIdentity, *, of: tuple[str, ...] = ("device", "dtype")) -> str | None:
    """What of a calculator's path (the fields `of`) nobody stated, and how to state it; None if all is stated."""
    what = {"device": "on which device", "dtype": "in which precision"}
    missing = [name for name in of if getattr(identity, name) == NOT_STATED]
    if not missing:
        return None
    names = " and ".join(f"'{name}'" for name in missing)
    argument, attribute = (
        (f"an argument {names}", "an attribute of that name")
        if len(missing) == 1
        else (f"the arguments {names}", "attributes of those names")
    )
    spec = ", or add ,device=cpu" if missing == ["device"] else ""
    return (
        f"the calculator does not say {' and '.join(what[name] for name in missing)} it computes; give its factory "
        f"{argument}{',' if spec else ' or'} the calculator {attribute}{spec}"
    )


def torch_device(wanted: str | None, spec: str, gpu: int = 0) -> tuple[str, str]:
    """Resolve a torch device: (device, its name).

    Parameters
    ----------
    wanted
        `cpu`, `cuda`, `cuda:N`, `mps`, or None / `auto` for CUDA where there is one and else the CPU.
    spec
        The `--calculator` value, for the message.
    gpu
        The CUDA device that is meant where none is numbered, counted on from the first past the last.

    Raises
    ------
    InputError
        If the device is unknown to torch or not there.
    """
    import torch

    device = wanted or "auto"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and torch.cuda.is_available() and (own := gpu % torch.cuda.device_count()):
        device = f"cuda:{own}"
    kind, _, index = device.partition(":")
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", device):
        raise InputError(f"--calculator={spec}", f"unknown device '{device}'", "use cpu, cuda, cuda:N, mps or auto")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise InputError(
                f"--calculator={spec}",
                f"the device '{device}' is not there: torch {torch.__version__} sees {count} CUDA devices",
                "use --probe-device=cpu, or a torch built for your driver",
            )
        return device, torch.cuda.get_device_name(device)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"--calculator={spec}", "the device 'mps' is not there", "use --probe-device=cpu")
    return device, cpu_name() if kind == "cpu" else "Apple MPS"


def refuse_options(options: dict[str, Any], known: tuple[str, ...], *, spec: str, family: str) -> None:
    """Refuse a key that the family does not know, rather than ignoring it."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        ours = [
            "label",
            "device",
            "dtype",
            "compile",
            "kernels",
            "level",
            "batch",
            f"dispersion ({' or '.join(ADDED)})",
        ]
        takes = ", ".join([*ours, *known])
        raise InputError(
            f"--calculator={spec}", f"the family '{family}' has no option '{unknown[0]}'", f"it takes {takes}"
        )


def refuse_device(request: CalculatorRequest, who: str) -> None:
    """Refuse another device than the CPU for `who` runs on nothing else."""
    if request.device not in (None, "auto", "cpu"):
        problem = f"{who} runs on the CPU only, {request.device} was asked for"
        raise InputError(f"--calculator={request.spec}", problem, "leave the device out, or add ,device=cpu")


def refuse_dtype(request: CalculatorRequest, who: str, dtype: str) -> None:
    """Refuse another precision than the one in which `who` computes."""
    if request.dtype in (None, dtype):
        return
    if dtype == NOT_STATED:
        does, remedy = "does not say in which precision it computes", "leave the dtype out"
    else:
        does, remedy = f"computes in {dtype} only", f"leave the dtype out, or add ,dtype={dtype} to this calculator"
    raise InputError(f"--calculator={request.spec}", f"{who} {does}, {request.dtype} was asked for", remedy)


def refuse_acceleration(request: CalculatorRequest, reason: str) -> None:
    """Refuse the keys `compile` and `kernels` for a family that has neither; `reason` says that it has not."""
    for key, wanted in (("compile", request.compile_mode), ("kernels", request.kernels)):
        if wanted is not None:
            raise InputError(
                f"--calculator={request.spec}", f"{key}={wanted} was asked for, but {reason}", "leave it out"
            )


def import_family(module: str, *, spec: str, extra: str) -> None:
    """Import what a family needs, or say which extra installs it."""
    from importlib import import_module

    try:
        import_module(module)
    except ImportError as error:
        raise InputError(
            f"--calculator={spec}",
            f"the package '{module.partition('.')[0]}' cannot be imported ({error})",
            f"install it with: pip install 'path/to/mlff-probes[{extra}]' (a checkout or a wheel)",
        ) from error
