"""Made `neb.traj` and `image_0.txt`: H between two others, with GPAW."""

from ase import Atoms
from ase.constraints import FixAtoms
from ase.neb import NEB
from ase.optimize import BFGS
from gpaw import GPAW, PW, FermiDirac

start = Atoms("H3", positions=[(1.817, 2.2, 2.2), (2.646, 2.2, 2.2), (4.784, 2.2, 2.2)], cell=(6.9, 4.4, 4.4), pbc=True)
end = start.copy()
end.positions[1, 0] = 3.955
images = [start, *(start.copy() for _ in range(3)), end]
for n, image in enumerate(images):
    image.set_initial_magnetic_moments([0.4] * 3)
    image.set_constraint(FixAtoms([0, 2]))
    image.calc = GPAW(
        mode=PW(150),
        xc="PBE",
        kpts=(1, 1, 1),
        symmetry="off",
        occupations=FermiDirac(0.1),
        txt=f"image_{n}.txt",
    )
neb = NEB(images)
neb.interpolate()
for image in (images[0], images[-1]):
    image.get_forces()
BFGS(neb, trajectory="neb.traj", logfile="neb.log").run(fmax=0.1, steps=3)
