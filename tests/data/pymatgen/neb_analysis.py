"""Made `neb_analysis.json`: what pymatgen keeps of a band."""

import json
from pathlib import Path

from ase.build import bulk
from monty.json import MontyEncoder
from pymatgen.analysis.transition_state import NEBAnalysis
from pymatgen.io.ase import AseAtomsAdaptor

images = []
for x in (0.0, 0.5, 1.0):
    atoms = bulk("Al", "fcc", a=4.05, cubic=True)
    del atoms[0]
    atoms.positions[0] *= 1 - x
    images.append(AseAtomsAdaptor.get_structure(atoms))
analysis = NEBAnalysis(r=[0.0, 1.43, 2.86], energies=[-14.0, -13.3, -14.0], forces=[0.0, 0.0, 0.0], structures=images)
Path("neb_analysis.json").write_text(json.dumps(analysis.as_dict(), cls=MontyEncoder))
