"""Facts about where and what: hash, versions, device."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from mlff_probes import __version__
from mlff_probes.errors import InputError


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Versions of the suite, Python, ASE, numpy and the named packages that are installed."""
    found = {"mlff-probes": __version__, "python": platform.python_version()}
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


def torch_device(wanted: str | None, spec: str) -> tuple[str, str]:
    """Resolve a torch device: (device, its name).

    Parameters
    ----------
    wanted
        `cpu`, `cuda`, `cuda:N`, `mps`, or None / `auto` for CUDA where there is one and else the CPU.
    spec
        The `--calculator` value, for the message.

    Raises
    ------
    InputError
        If the device is unknown to torch or not there.
    """
    import torch

    device = wanted or "auto"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", device):
        raise InputError(f"--calculator={spec}: unknown device '{device}'; use cpu, cuda, cuda:N, mps or auto")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise InputError(
                f"--calculator={spec}: the device '{device}' is not there: torch {torch.__version__} sees "
                f"{count} CUDA devices; use --probe-device=cpu, or a torch built for your driver"
            )
        return device, torch.cuda.get_device_name(device)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"--calculator={spec}: the device 'mps' is not there; use --probe-device=cpu")
    return device, cpu_name() if kind == "cpu" else "Apple MPS"


def refuse_options(options: dict[str, Any], known: tuple[str, ...], *, spec: str, family: str) -> None:
    """Refuse a key that the family does not know, rather than ignoring it."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = ", ".join(["label", "device", "dtype", "level", "batch", *known])
        raise InputError(f"--calculator={spec}: the family '{family}' has no option '{unknown[0]}'; it takes {takes}")


def import_family(module: str, *, spec: str, extra: str) -> None:
    """Import what a family needs, or say which extra installs it."""
    from importlib import import_module

    try:
        import_module(module)
    except ImportError as error:
        raise InputError(
            f"--calculator={spec}: the package '{module.partition('.')[0]}' cannot be imported ({error}); "
            f"install it with: pip install 'mlff-probes[{extra}]'"
        ) from error


def path_not_stated(identity):
    return None
