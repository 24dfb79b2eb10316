"""Quantum ESPRESSO: settings as the output of pw.x says them, and what only the input beside it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mlff_probes.cases.importers.codes.stated import Settings, plain

CODE = "Quantum ESPRESSO"

FUNCTIONALS = {
    "PBE": "PBE", "SLA PW PBX PBC": "PBE", "PBESOL": "PBEsol", "SLA PW PSX PSC": "PBEsol", "REVPBE": "revPBE",
    "SLA PZ NOGX NOGC": "LDA", "PZ": "LDA", "PW91": "PW91", "SCAN": "SCAN", "RSCAN": "rSCAN", "R2SCAN": "r2SCAN",
    "PBE0": "PBE0", "HSE": "HSE06", "B3LYP": "B3LYP", "VDW-DF": "vdW-DF", "VDW-DF2": "vdW-DF2",
    "VDW-DF-CX": "vdW-DF-cx", "VDW-DF-OBK8": "optB88-vdW", "VDW-DF-OB86": "optB86b-vdW",
}  # fmt: skip
"""Functionals by the name that pw.x prints."""

DISPERSION = {
    "Grimme-D2": "D2", "DFT-D3 Dispersion": "D3", "Tkatchenko-Scheffler": "TS", "MBD energy": "MBD",
    "XDM": "XDM",
}  # fmt: skip
"""What is added, by what pw.x prints of it."""

DAMPING = {"2": "D2", "3": "D3(0)", "4": "D3(BJ)", "5": "D3M(0)", "6": "D3M(BJ)"}
"""dftd3_version of the input, 3 where it is not said."""

INPUTS = (".in", ".pwi", ".inp")
ANGULAR = "spdf"
MESH = re.compile(r"K_POINTS\W*automatic\W*?\n\s*(\d+\s+\d+\s+\d+(?:\s+[01]){0,3})", re.IGNORECASE)


def pw_output(lines: Iterable[str]) -> Settings:
    """Settings from the output of pw.x.

    The number of k-points is left out, since it follows from the symmetry of each image, too.
    """
    version = functional = unnamed = dispersion = ""
    details: dict[str, str] = {}
    pseudo: list[str] = []
    hubbard: dict[str, str] = {}
    of_species = False
    for line in lines:
        text = line.strip()
        if found := re.match(r"Program PWSCF v\.?(\S+)", text):
            version = found[1]
        elif found := re.match(r"Exchange-correlation\s*=\s*([^(]+)", text):
            said = " ".join(found[1].split())
            functional, unnamed = FUNCTIONALS.get(said.upper(), ""), "" if said.upper() in FUNCTIONALS else said
        elif found := re.match(r"(kinetic-energy|charge density) cutoff\s*=\s*([\d.]+)", text):
            details["ecutwfc" if found[1][0] == "k" else "ecutrho"] = f"{plain(found[2])} Ry"
        elif found := re.search(r"(\S+) smearing, width \(Ry\)=\s*([\d.]+)", text):
            details["smearing"] = f"{found[1].lower()} {plain(found[2])} Ry"
        elif text.startswith("Starting magnetic structure"):
            details["spin"] = "polarised"
        elif found := re.match(r"MD5 check sum: (\w+)", text):
            pseudo.append(found[1][:8])
        elif found := re.match(r"U\((\w+?)-(\d\w)\)\s*=\s*([\d.]+)", text):
            hubbard[f"{found[1]} {found[2][-1]}"] = plain(found[3])
        elif re.match(r"(Simplified )?LDA\+U calculation", text):
            of_species = True
        elif of_species and (found := re.match(r"([A-Z]\w*)\s+(\d)\s+([\d.]+)(\s+[\d.]+)*$", text)):
            hubbard[f"{found[1]} {ANGULAR[int(found[2])]}"] = plain(found[3])
        elif found := re.search("|".join(map(re.escape, DISPERSION)), text):
            dispersion = DISPERSION[found[0]]
        if text.startswith("End of self-consistent calculation"):
            break
    details |= {"pseudopotentials": ", ".join(pseudo)} if pseudo else {}
    return Settings(CODE, version, functional, hubbard, dispersion, unnamed, details)


def with_input(settings: Settings, inputs: Sequence[Path]) -> Settings:
    """The settings with what inputs add: the mesh of k-points, and which damping D3 has.

    Without any nobody knows the damping, and so no level of theory.
    """
    text = "\n".join(file.read_text(errors="replace") for file in inputs)
    mesh = MESH.search(text)
    details = {**settings.details, **({"k-points": " ".join(mesh[1].split())} if mesh else {})}
    if settings.dispersion != "D3":
        return replace(settings, details=details)
    version = re.search(r"dftd3_version\s*=\s*(\d)", text)
    damping = DAMPING.get(version[1], "D3") if version else DAMPING["3"]
    unnamed = settings.unnamed or ("" if inputs else "with D3 of unknown damping")
    return replace(settings, details=details, dispersion=damping, unnamed=unnamed)


def inputs_beside(output: Path) -> list[Path]:
    """The input of a run of pw.x, which has the name of the output with another suffix."""
    stem = output.name.removesuffix(".gz").rpartition(".")[0] or output.name
    return [file for suffix in INPUTS if (file := output.with_name(f"{stem}{suffix}")).is_file()]


def inputs_of_neb(folder: Path) -> list[Path]:
    """Inputs of neb.x in a folder."""
    files = [file for suffix in INPUTS for file in sorted(folder.glob(f"*{suffix}"))]
    return [file for file in files if "BEGIN_ENGINE_INPUT" in file.read_text(errors="replace")]
