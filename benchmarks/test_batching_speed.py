"""Does one forward pass for many frames pay, and how large should it be?

Runs each family over the frames of the migration and sliding cases: in a loop of single calls, and in
batches of at most so many atoms. Run it with::

    pytest benchmarks -p no:randomly -p no:xdist --benchmark-json=batching.json
    python benchmarks/test_batching_speed.py batching.json > benchmarks/results/batching_cpu.md
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mace_models import labelled_frames, random_mace

from mlff_probes import evaluate, load_calculator
from mlff_probes.calculators.base import CPU_BATCH_ATOMS
from mlff_probes.calculators.identity import cpu_count

FAMILIES = {
    "chgnet": "CHGNet 0.3.0, float32",
    "mace_float64": "MACE, float64",
    "mace_float32": "MACE, float32",
}
LADDER = (64, 128, 256, 384, 512, 1024)
"""`batch_atoms`: the most atoms in one batch; 0 stands for a loop of single calls."""

ROUNDS = 5
WARM_UP_ROUNDS = 2
"""TorchScript optimises itself during the first calls."""


@pytest.fixture(scope="module", params=FAMILIES)
def calculator(request, tmp_path_factory):
    """The force field; its random weights take the time that trained ones would."""
    if request.param == "chgnet":
        spec = "chgnet"
    else:
        path = tmp_path_factory.mktemp("mace") / "mace.model"
        random_mace(path, channels=64, max_ell=3, correlation=3)
        spec = f"{path},dtype={request.param.removeprefix('mace_')}"
    return request.param, load_calculator(spec, device="cpu")


@pytest.fixture(scope="module")
def frames():
    return labelled_frames()


@pytest.mark.parametrize("batch_atoms", [0, *LADDER])
@pytest.mark.parametrize("forces", [False, True], ids=["energies", "energies_and_forces"])
def test_loop_against_batches(benchmark, calculator, frames, forces, batch_atoms):
    family, loaded = calculator
    what = "energies and forces" if forces else "energies"
    model = replace(loaded, batch_atoms=batch_atoms) if batch_atoms else replace(loaded, batch=None)
    found = evaluate(model, frames, forces=forces)
    benchmark.group = f"{FAMILIES[family]}: {what}"
    benchmark.extra_info.update(
        family=family,
        what=what,
        batch_atoms=batch_atoms,
        frames=found.calls,
        atoms=sum(len(frame) for frame in frames),
        batches=found.batches,
        cpu=loaded.identity.device_name,
        cores=cpu_count(),
        threads=loaded.identity.threads,
        versions=loaded.identity.versions,
    )
    again = benchmark.pedantic(
        evaluate, (model, frames), {"forces": forces}, rounds=ROUNDS, warmup_rounds=WARM_UP_ROUNDS
    )
    assert again.calls == len(frames)
    assert again.batches == found.batches


def table(file: Path) -> str:
    """The results of `--benchmark-json` as Markdown: fastest round of each, and its ratio to the loop."""
    rows = [{**row["extra_info"], "s": row["stats"]["min"]} for row in json.loads(file.read_text())["benchmarks"]]
    versions = {name: version for row in rows for name, version in row["versions"].items()}
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "chgnet", "mace-torch"))
    lines = [
        "# Batches against a loop on a CPU",
        "",
        f"All {rows[0]['frames']} frames of the migration and sliding cases ({rows[0]['atoms']} atoms, 5 or 21 in a "
        f"frame) on {rows[0]['cpu']}, {rows[0]['cores']} cores, {rows[0]['threads']} threads; {packages}.",
        "",
        f"Seconds, the fastest of {ROUNDS} rounds after {WARM_UP_ROUNDS} to warm up; in brackets how many times faster "
        "than the loop, all in one run; the fastest of each row in bold. The columns are `batch_atoms`, the most atoms "
        f"in one batch; mlff-probes uses {CPU_BATCH_ATOMS} on a CPU. MACE has random weights, 64 channels, max_L 0 and "
        "2 layers. For energies alone the loop still pays for what the family's ASE calculator always computes.",
        "",
        "| | loop | " + " | ".join(map(str, LADDER)) + " |",
        "|---|" + "---:|" * (len(LADDER) + 1),
    ]
    for family, title in FAMILIES.items():
        for what in ("energies", "energies and forces"):
            found = {row["batch_atoms"]: row["s"] for row in rows if (row["family"], row["what"]) == (family, what)}
            best = min(found, key=lambda n: found[n])
            cells = [f"{found[n]:.2f}" + (f" ({found[0] / found[n]:.1f}×)" if n else "") for n in (0, *LADDER)]
            cells = [f"**{cell}**" if n == best else cell for n, cell in zip((0, *LADDER), cells, strict=True)]
            lines.append(f"| {title}, {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
