"""CP2K: settings as its output says them, or the input and restart files that lie beside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from mlff_probes.cases.importers.codes.stated import Settings, plain

FUNCTIONALS = {
    ("PBE",): "PBE", ("GGA_C_PBE", "GGA_X_PBE"): "PBE", ("GGA_C_PBE_SOL", "GGA_X_PBE_SOL"): "PBEsol",
    ("GGA_C_PBE", "GGA_X_RPBE"): "RPBE", ("GGA_C_PBE", "GGA_X_PBE_R"): "revPBE", ("PADE",): "LDA",
    ("MGGA_C_SCAN", "MGGA_X_SCAN"): "SCAN", ("MGGA_C_R2SCAN", "MGGA_X_R2SCAN"): "r2SCAN",
    ("MGGA_C_RSCAN", "MGGA_X_RSCAN"): "rSCAN", ("BECKE88", "LYP"): "BLYP", ("GGA_C_LYP", "GGA_X_B88"): "BLYP",
}  # fmt: skip
"""Functionals by their parts, in alphabetical order."""

PARAMETRISED = {"PBESOL": "PBEsol", "REVPBE": "revPBE", "ORIG": "PBE", "RPBE": "RPBE"}
"""What PBE is with another PARAMETRIZATION, or where the output cites such a one."""

DISPERSION = {"DFTD2": "D2", "DFTD3": "D3(0)", "DFTD3(BJ)": "D3(BJ)", "DFTD4": "D4"}
"""TYPE of the pair potential."""

PRINTED: dict[str, tuple[str, Callable[[str], str]]] = {
    r"QS\| Density cutoff \[a\.u\.\]:\s+([\d.]+)": ("CUTOFF", lambda hartree: f"{plain(str(2 * float(hartree)))} Ry"),
    r"BRILLOUIN\| K-Point grid\s+(.+)": ("k-points", lambda grid: " ".join(grid.split())),
    r"DFT\| Multiplicity\s+(\d+)": ("multiplicity", str),
    r"DFT\| Charge\s+(-?\d+)": ("charge", str),
    r"DFT\| Spin (unrestricted|restricted)": ("UKS", lambda kind: "yes" if kind == "unrestricted" else "no"),
    r"Electronic temperature \[K\]:\s+([\d.]+)": ("electronic temperature", lambda kelvin: f"{plain(kelvin)} K"),
}
"""What makes energies comparable, as the output prints it."""

PER_KIND = {r"Orbital Basis Set\s+(\S+)": "basis", r"GTH Potential information for\s+(\S+)": "potential"}
"""What the output prints of each kind of atom, after ``1. Atomic kind: H``."""

NONLOCAL = "with a nonlocal functional for dispersion"
ON = ("", "T", "TRUE", ".TRUE.", "ON", "YES")

Section = tuple[str, ...]


def output(lines: Iterable[str]) -> Settings:
    """Settings from an output of CP2K; with PRINT_LEVEL LOW it holds none of them."""
    version = cited = kind = ""
    parts: list[str] = []
    van_der_waals: list[str] = []
    details: dict[str, str] = {}
    for line in lines:
        text = line.strip()
        if found := re.match(r"CP2K\| version string:\s+CP2K version (\S+)", text):
            version = found[1]
        elif found := re.match(r"FUNCTIONAL\| (\w+):$", text):
            parts.append(found[1])
        elif text.startswith("FUNCTIONAL|") and (found := re.search(r"\b(PBEsol|revPBE|RPBE)\b", text)):
            cited = found[1]
        elif text.startswith("vdW POTENTIAL|"):
            van_der_waals.append(text)
        elif "ENERGY| Total FORCE_EVAL" in text:
            break
        elif found := re.match(r"\d+\. Atomic kind: (\w+)", text):
            kind = found[1]
        else:
            details |= _detail(text)
            for pattern, name in PER_KIND.items():
                if found := re.match(pattern, text):
                    details[f"{name} of {kind}"] = found[1].upper()
    functional, unnamed = _functional(parts, cited)
    dispersion, odd = _of_output(van_der_waals)
    return Settings("CP2K", version, functional, {}, dispersion, unnamed or odd, details)


def _detail(text: str) -> dict[str, str]:
    found = ((name, as_text, re.match(pattern, text)) for pattern, (name, as_text) in PRINTED.items())
    return {name: as_text(match[1]) for name, as_text, match in found if match}


def _of_output(lines: list[str]) -> tuple[str, str]:
    """The dispersion that the output says, or what of it has no name."""
    said = " ".join(lines)
    if not said:
        return "", ""
    if "DFT-D3" in said:
        return ("D3(BJ)" if "BJ Damping" in said else "D3(0)"), ""
    if "DFT-D2" in said or "DFT-D4" in said:
        return ("D2" if "DFT-D2" in said else "D4"), ""
    return "", NONLOCAL


def _functional(parts: Iterable[str], cited: str) -> tuple[str, str]:
    key = tuple(sorted({part.upper() for part in parts}))
    name = FUNCTIONALS.get(key, "")
    if name == "PBE" and cited:
        return PARAMETRISED.get(cited.upper(), ""), "" if cited.upper() in PARAMETRISED else f"PBE of {cited}"
    return name, "" if name or not key else " + ".join(key)


def input_file(lines: Iterable[str]) -> Settings:
    """Settings from an input, or from a restart file, which is a whole input."""
    parts: list[str] = []
    stated: dict[tuple[str, str], str] = {}
    hubbard: dict[str, str] = {}
    kind = ""
    basis: dict[str, str] = {}
    for section, words in _keywords(lines):
        name, *values = words
        within, value = (section[-1] if section else ""), " ".join(values)
        if "XC_FUNCTIONAL" in section and name.startswith("&"):
            parts.append(name[1:])
        elif name == "&XC_FUNCTIONAL":
            parts += [value] if value not in ("", "NO_SHORTCUT", "NONE") else []
        elif name == "&KIND":
            kind = value.capitalize()
        elif within == "KIND" and name in ("BASIS_SET", "POTENTIAL"):
            basis[f"{name.lower().replace('_set', '')} of {kind}"] = values[-1]
        elif within == "DFT_PLUS_U" and name == "U_MINUS_J":
            hubbard[kind] = value
        else:
            stated[within, name] = value
    functional, unnamed = _functional(parts, stated.get(("PBE", "PARAMETRIZATION"), ""))
    dispersion, odd = _of_input(stated)
    return Settings("CP2K", "", functional, hubbard, dispersion, unnamed or odd, {**_details(stated), **basis})


def _of_input(stated: dict[tuple[str, str], str]) -> tuple[str, str]:
    """The dispersion that the input asks for, or what of it has no name."""
    kind = stated.get(("VDW_POTENTIAL", "POTENTIAL_TYPE")) or stated.get(("VDW_POTENTIAL", "DISPERSION_FUNCTIONAL"))
    if kind == "NON_LOCAL":
        return "", NONLOCAL
    named = stated.get(("PAIR_POTENTIAL", "TYPE"), "")
    return (DISPERSION.get(named, named) if kind not in (None, "NONE") else ""), ""


def _details(stated: dict[tuple[str, str], str]) -> dict[str, str]:
    """What makes energies comparable, in the words of `output`."""
    found = {}
    if cutoff := stated.get(("MGRID", "CUTOFF")):
        found["CUTOFF"] = f"{plain(cutoff.split()[-1])} Ry"
    if scheme := stated.get(("KPOINTS", "SCHEME")):
        found["k-points"] = " ".join(scheme.split()[1:]) or scheme
    for name, key in (("multiplicity", "MULTIPLICITY"), ("charge", "CHARGE")):
        if value := stated.get(("DFT", key)):
            found[name] = value
    spin = stated.get(("DFT", "UKS"), stated.get(("DFT", "LSD"), "F"))
    found["UKS"] = "yes" if spin in ON else "no"
    if temperature := stated.get(("SMEAR", "ELECTRONIC_TEMPERATURE")):
        found["electronic temperature"] = f"{plain(temperature.split()[-1])} K"
    return found


def _keywords(lines: Iterable[str]) -> Iterator[tuple[Section, list[str]]]:
    """Each keyword with the sections that it stands in, capitals throughout; sections as ``&NAME`` in the one above."""
    section: list[str] = []
    for line in lines:
        words = re.split(r"[!#]", line)[0].upper().split()
        if not words:
            continue
        if words[0] == "&END":
            section = section[:-1]
            continue
        yield tuple(section), words
        if words[0].startswith("&"):
            section.append(words[0][1:])
