"""CP2K as references of ours were computed with it: GPW, PBE, GTH pseudopotentials, MOLOPT bases, no dispersion, no U.

ASE runs it; ``ASE_CP2K_COMMAND="mpirun -np 4 cp2k.psmp -s"`` says with how many processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ase.calculators.cp2k import CP2K

INPUT = """
&GLOBAL
  RUN_TYPE ENERGY_FORCE
&END GLOBAL
&FORCE_EVAL
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    BASIS_SET_FILE_NAME BASIS_MOLOPT_UZH
    POTENTIAL_FILE_NAME {potential_file}
    {spin}
    &KPOINTS
      SCHEME MACDONALD {kpoints}
      FULL_GRID F
      SYMMETRY F
    &END KPOINTS
    &MGRID
      CUTOFF {cutoff_ry}
      REL_CUTOFF 60
      NGRIDS 5
    &END MGRID
    &QS
      EPS_DEFAULT 1.0E-10
    &END QS
    &SCF
      EPS_SCF {eps_scf}
      MAX_SCF 120
      SCF_GUESS ATOMIC
      ADDED_MOS {added_mos}
      &SMEAR ON
        METHOD FERMI_DIRAC
        ELECTRONIC_TEMPERATURE [K] {electronic_temperature_k}
      &END SMEAR
      &DIAGONALIZATION
        ALGORITHM STANDARD
      &END DIAGONALIZATION
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA {mixing}
        NBROYDEN 10
      &END MIXING
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
{kinds}
  &END SUBSYS
&END FORCE_EVAL
"""

KIND = """    &KIND {symbol}
      BASIS_SET {basis}-q{electrons}
      POTENTIAL GTH-PBE-q{electrons}
      {magnetization}
    &END KIND"""

BY_ASE = {"basis_set": "", "basis_set_file": "", "potential_file": "", "pseudo_potential": "", "xc": "", "cutoff": 0,
          "max_scf": 0, "stress_tensor": False}  # fmt: skip
"""Nothing of the input is left to the defaults of ASE."""


def make(
    elements: Mapping[str, int],
    kpoints: Sequence[int],
    *,
    potential_file: str = "POTENTIAL_UZH",
    basis: str = "DZVP-MOLOPT-SR-GTH",
    cutoff_ry: float = 400,
    electronic_temperature_k: float = 580,
    eps_scf: float = 1e-6,
    mixing: float = 0.3,
    multiplicity: int = 0,
    magnetization: Mapping[str, float] | None = None,
) -> CP2K:
    """A calculator for crystals.

    Parameters
    ----------
    elements
        Valence electrons of the pseudopotential of each element.
    kpoints
        Points along each reciprocal vector; the mesh holds Gamma.
    potential_file, basis
        File of the pseudopotentials, and name of the basis without its number of electrons.
    cutoff_ry, electronic_temperature_k, eps_scf, mixing
        Plane-wave cutoff (Ry), Fermi-Dirac temperature (K), threshold of the SCF, and the part of the new density.
    multiplicity
        Of a spin-polarised calculation; 0 for one without spin.
    magnetization
        Moments of the atoms at which the SCF starts, by element, Bohr magnetons.
    """
    shifts = [0.0 if number % 2 else 0.5 / number for number in kpoints]
    start = magnetization or {}
    kinds = [
        KIND.format(
            symbol=symbol,
            basis=basis,
            electrons=electrons,
            magnetization=f"MAGNETIZATION {start[symbol]}" if symbol in start else "",
        )
        for symbol, electrons in elements.items()
    ]
    text = INPUT.format(
        potential_file=potential_file,
        spin=f"UKS T\n    MULTIPLICITY {multiplicity}" if multiplicity else "",
        kpoints=" ".join(map(str, [*kpoints, *shifts])),
        cutoff_ry=cutoff_ry,
        eps_scf=eps_scf,
        added_mos="40 40" if multiplicity else 20,
        electronic_temperature_k=electronic_temperature_k,
        mixing=mixing,
        kinds="\n".join(kinds),
    )
    return CP2K(inp=text, **BY_ASE)
