"""VASP: settings as OUTCAR, vasprun.xml and documents made of them say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO
from xml.etree import ElementTree

from mlff_probes.cases.importers.codes.stated import Settings, plain

Tags = Mapping[str, str]
"""Parameters by the names of the INCAR, as text."""

GGA = {
    "PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05", "CA": "LDA", "PZ": "LDA",
    "B3": "B3LYP", "B5": "B3LYP",
}  # fmt: skip
"""Functionals by the tag GGA, and by LEXCH of the potentials where it is not given."""

METAGGA = {"SCAN": "SCAN", "RSCAN": "rSCAN", "R2SCAN": "r2SCAN", "TPSS": "TPSS", "RTPSS": "revTPSS", "M06L": "M06-L"}

OF_POTENTIALS = {"PAW_PBE": "PE", "PAW": "CA", "PAW_GGA": "91", "PAW_LDA": "CA"}
"""GGA by the first word of a TITEL."""

INTERNAL = {"8": "PE", "7": "91", "2": "CA"}
"""LEXCH as VASP numbers it."""

IVDW = {
    "1": "D2", "10": "D2", "11": "D3(0)", "12": "D3(BJ)", "13": "D4", "2": "TS", "20": "TS", "21": "TS-HI",
    "202": "MBD", "263": "MBD-FI", "3": "ulg", "4": "dDsC",
}  # fmt: skip

NONLOCAL = {
    "MK": "optB86b-vdW",
    "BO": "optB88-vdW",
    "OR": "optPBE-vdW",
    "CX": "vdW-DF-cx",
    "RE": "vdW-DF",
    "ML": "vdW-DF2",
}
"""Functionals with the nonlocal correlation of LUSE_VDW, by GGA."""

DETAILS = {
    "ENCUT": "eV",
    "KSPACING": "",
    "ISPIN": "",
    "PREC": "",
    "ISMEAR": "",
    "SIGMA": "eV",
    "NELECT": "",
    "LREAL": "",
    "LASPH": "",
}
"""Tags that make energies comparable, with their units."""

LOGICAL = ("LREAL", "LASPH")

PREC = {"accura": "Accurate", "normal": "Normal", "single": "Single", "high": "High", "medium": "Medium", "low": "Low"}
"""What VASP cuts to six letters."""

TAG = re.compile(r"\b([A-Z][A-Za-z0-9_]+)\s*=\s*([-+.\w]+)")
"""``ISMEAR =     1;   SIGMA  =   0.10``."""

PER_SPECIES = re.compile(r"(LDAU[LUJ])\s*=\s*([-+.\d\s]+)")
LEARNED = "ML_LMLFF"
"""Energies of a force field that VASP learns, or has learned, stand among those of the functional."""
KNOWN = {*DETAILS, LEARNED, "GGA", "METAGGA", "IVDW", "LUSE_VDW", "LHFCALC", "AEXX", "HFSCREEN", "LDAUTYPE"}
ORBITALS = "spdf"


def from_tags(tags: Tags, *, version: str = "", mesh: str = "", potentials: Sequence[str] = ()) -> Settings:
    """Settings from parameters by their names in the INCAR.

    Parameters
    ----------
    tags
        As VASP took them, defaults included as far as they are known.
    version
        Of VASP.
    mesh
        Divisions of the k-points, or their number.
    potentials
        Of each species, as ``PAW_PBE Si 05Jan2001``.
    """
    functional, unnamed = ("", f"{LEARNED} = T") if _on(tags, LEARNED) else _functional(tags, potentials)
    values = {name: _detail(name, tags[name]) for name in DETAILS if name in tags}
    if mesh:  # which says more than the spacing it was made of
        values.pop("KSPACING", None)
    units = {name: f"{value} {DETAILS[name]}".strip() for name, value in values.items()}
    kinds = {"POTCAR": ", ".join(potentials)} if potentials else {}
    return Settings(
        code="VASP",
        version=version,
        functional=functional,
        hubbard_u=_hubbard(tags, potentials),
        dispersion=_dispersion(tags),
        unnamed=unnamed,
        details={**units, **({"k-points": " ".join(mesh.split())} if mesh else {}), **kinds},
    )


def _detail(name: str, text: str) -> str:
    if name in LOGICAL:  # LREAL = Auto is on
        return "F" if text.strip().strip(".").upper().startswith("F") else "T"
    return PREC.get(text.strip().lower()[:6], text.strip()) if name == "PREC" else plain(text)


def _functional(tags: Tags, potentials: Sequence[str]) -> tuple[str, str]:
    """The functional, and what has no name."""
    base = tags.get("GGA", "--").strip().upper() or "--"
    if base == "--":
        base = _of_potentials(tags, potentials)
    name = GGA.get(base, "")
    if _on(tags, "LHFCALC"):
        return _hybrid(tags, base, name)
    meta = tags.get("METAGGA", "--").strip().upper()
    if meta not in ("--", "F", "NONE", "", ".FALSE."):
        name = METAGGA.get(meta, "")
        nonlocal_part = "+rVV10" if _on(tags, "LUSE_VDW") else ""
        return (name + nonlocal_part, "") if name else ("", f"METAGGA = {meta}")
    if _on(tags, "LUSE_VDW"):
        return (NONLOCAL[base], "") if base in NONLOCAL else ("", f"LUSE_VDW with GGA = {base}")
    return name, "" if name or base == "--" else f"GGA = {base}"


def _of_potentials(tags: Tags, potentials: Sequence[str]) -> str:
    if "LEXCH" in tags:
        return INTERNAL.get(tags["LEXCH"].strip(), tags["LEXCH"].strip().upper())
    kinds = {potential.split()[0].upper() for potential in potentials if potential.split()}
    return (
        {"PAW_PBE": "PE", "PAW": "CA", "PAW_GGA": "91", "PAW_LDA": "CA"}.get(kinds.pop(), "--")
        if len(kinds) == 1
        else "--"
    )


def _hybrid(tags: Tags, base: str, name: str) -> tuple[str, str]:
    if base in ("B3", "B5"):
        return "B3LYP", ""
    share, screened = float(tags.get("AEXX", "nan")), float(tags.get("HFSCREEN", "0"))
    known = {0.0: "PBE0", 0.2: "HSE06", 0.3: "HSE03"}
    if base == "PE" and share == 0.25 and round(screened, 2) in known:
        return known[round(screened, 2)], ""
    return name, f"with exact exchange of {share:g}, screening {screened:g}/A"


def _dispersion(tags: Tags) -> str:
    given = plain(tags.get("IVDW", "0"))
    if given in ("0", ".FALSE.", "F"):
        return "D2" if _on(tags, "LVDW") else ""
    return IVDW.get(given, f"IVDW={given}")


def _hubbard(tags: Tags, potentials: Sequence[str]) -> dict[str, str]:
    """U - J as Dudarev has it, or U and J, of each species with one that is not zero."""
    if not (_on(tags, "LDAU") or ("LDAUU" in tags and "LDAU" not in tags)):
        return {}
    orbitals, us, js = (tags.get(name, "").split() for name in ("LDAUL", "LDAUU", "LDAUJ"))
    js = js or ["0"] * len(us)
    found = {}
    for index, (u, j) in enumerate(zip(us, js, strict=False)):
        orbital = int(float(orbitals[index])) if index < len(orbitals) else 2
        if orbital < 0 or (not float(u) and not float(j)):
            continue
        words = potentials[index].split() if index < len(potentials) else []
        element = re.split(r"[_.]", words[1])[0] if len(words) > 1 else f"species {index + 1}"
        dudarev = plain(tags.get("LDAUTYPE", "2")) == "2"
        both = f"{plain(u)} J {plain(j)}"
        found[f"{element} {ORBITALS[orbital]}"] = plain(str(float(u) - float(j))) if dudarev else both
    return found


def _on(tags: Tags, name: str) -> bool:
    return tags.get(name, "F").strip().strip(".").upper().startswith("T")


def outcar(lines: Iterable[str]) -> Settings:
    """Settings from an OUTCAR, which echoes them before the energies of its first ionic step."""
    tags: dict[str, str] = {}
    potentials: list[str] = []
    version = mesh = number = ""
    automatic = False  # then their number follows from the symmetry of the image, too
    for line in lines:
        if "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            break
        if not version and (found := re.match(r"\s*vasp\.(\d[\d.]*)", line)):
            version = found[1].rstrip(".")
        elif "Automatic generation of k-mesh" in line:
            automatic = True
        elif found := re.match(r"\s*TITEL\s*=\s*(.+)", line):
            potentials.append(" ".join(found[1].split()))
        elif found := re.search(r"generate k-points for:\s*([\d\s]+)", line):
            mesh = found[1]
        elif found := re.search(r"NKPTS\s*=\s*(\d+)", line):
            number = f"{found[1]} points"
        elif found := PER_SPECIES.search(line):
            tags[found[1]] = found[2]
        elif "LDA+U is selected" in line:
            tags |= {"LDAU": "T", "LDAUTYPE": line.rpartition("=")[2].strip() or "2"}
        elif found := re.match(r"\s*LEXCH\s*=\s*(\w+)", line):
            tags["LEXCH"] = found[1]
        else:  # what VASP made of the INCAR comes after its echo
            tags |= {name: text for name, text in TAG.findall(line) if name in KNOWN}
    mesh = mesh or ("" if automatic else number)
    return from_tags(tags, version=version, mesh=mesh, potentials=potentials)


def vasprun(handle: IO[str]) -> Settings:
    """Settings from a vasprun.xml, which begins with them."""
    tags: dict[str, str] = {}
    given: dict[str, str] = {}
    potentials: list[str] = []
    version = mesh = number = ""
    try:
        for _, element in ElementTree.iterparse(handle):
            if element.tag == "calculation":
                break
            if element.tag == "incar":
                given = _xml_tags(element)
            elif element.tag == "kpoints" and not mesh:
                mesh = element.findtext("generation/v[@name='divisions']") or ""
                number = "" if element.find("generation") is not None else _points(element)
            elif element.tag == "parameters":
                tags = _xml_tags(element)
            elif element.tag == "array" and element.get("name") == "atomtypes":
                potentials = [" ".join((row.findall("c")[-1].text or "").split()) for row in element.iter("rc")]
            elif element.tag == "generator":
                version = (element.findtext("i[@name='version']") or "").strip()
    except ElementTree.ParseError:  # a run that was cut short says what it was before
        pass
    return from_tags({**given, **tags}, version=version, mesh=mesh or number, potentials=potentials)


def _points(element: ElementTree.Element) -> str:
    points = element.findall("varray[@name='kpointlist']/v")
    return f"{len(points)} points"


def _xml_tags(element: ElementTree.Element) -> dict[str, str]:
    """All parameters below an element; ENMAX of vasprun.xml is ENCUT."""
    found = {str(each.get("name")): (each.text or "").strip() for each in element.iter() if each.tag in ("i", "v")}
    return found | ({"ENCUT": found["ENMAX"]} if "ENMAX" in found else {})
