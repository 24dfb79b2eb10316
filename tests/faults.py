"""Force fields with one fault each: `Sound`, broken in one place.

The first line of a docstring is the fault, the rest where it has been met; both go into `docs/faults.md`.
`test_fault_matrix.py` says which probes see it.
"""

from __future__ import annotations

import numpy as np
from ase import units
from fake_gpu import RealTimeGpu
from sound import ELEMENTS, LAUNCH_S, Sound, summed, tapered

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.device import HOST
from mlff_probes.core.records import CalculatorIdentity
from mlff_probes.core.structures import derived

AL, CR, CU, SB, TE = 13, 24, 29, 51, 52


def between(pairs, one: int, other: int) -> np.ndarray:
    """Which pairs join these two elements."""
    a, b = pairs.z_first, pairs.z_second
    return ((a == one) & (b == other)) | ((a == other) & (b == one))


def fade(distances: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """A weight that falls smoothly from 1 to 0 at `cutoff`, and its slope."""
    return tapered(np.ones_like(distances), np.zeros_like(distances), distances, cutoff)


def bump(distances: np.ndarray, centre: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth bump, 1 at `centre` and nothing farther from it than `width`, and its slope."""
    x = (distances - centre) / width
    inside = np.maximum(1 - x**2, 0)
    return inside**3, -6 * x * inside**2 / width


def step(distances: np.ndarray, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """0 down to `begin`, 1 from `end` downwards, smooth between, and its slope."""
    x = np.clip((begin - distances) / (begin - end), 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2), -30 * x**2 * (1 - x) ** 2 / (begin - end)


def sums(pairs, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over the neighbours of each atom."""
    return summed(values, pairs.first, pairs.atoms)


def scaled(results: dict, factor: float) -> dict:
    """Energy, forces and stress times `factor`: wrong, and consistent with each other."""
    return {name: value * factor for name, value in results.items()}


def left_handed(atoms) -> bool:
    """Whether the cell vectors are."""
    return bool(np.linalg.det(atoms.cell.array) < 0)


# Forces, stress and energy that do not belong together


class ForceHead(Sound):
    """Forces are not the derivative of the energy.

    A network with an output of its own for the forces, which is faster than differentiating the energy.
    """

    strength = 2e-3

    def evaluated(self, atoms):
        results, pairs = super().evaluated(atoms), self.pairs(atoms)
        weights = fade(pairs.distances, self.cutoff)[0][:, None]
        results["forces"] += self.strength * sums(pairs, weights) * sums(pairs, weights * pairs.ways)
        return results


class EnergyUnit(Sound):
    """The energy is in hartree, the forces are in eV/A.

    A wrapper around a code in atomic units that converts one and forgets the other.
    """

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"energy": results["energy"] / units.Hartree}


class ForceUnit(Sound):
    """The forces are in hartree per bohr.

    Labels of a code in atomic units of which only the energies were converted.
    """

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"forces": results["forces"] * units.Bohr / units.Hartree}


class ForceSign(Sound):
    """The forces on tellurium have the wrong sign.

    Gradients taken for forces where the files of one code were read: here, those of the tellurides.
    """

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        results["forces"][atoms.numbers == TE] *= -1
        return results


class StressSign(Sound):
    """The stress has the wrong sign.

    VASP writes pressure where ASE wants stress.
    """

    factor = -1.0

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        if "stress" in results:
            results["stress"] = self.factor * results["stress"]
        return results


class StressUnit(StressSign):
    """The stress is in GPa instead of eV/A^3.

    CHGNet and MatGL compute in GPa, and a wrapper hands it on as it is.
    """

    factor = 1 / units.GPa


class LeftHandedStress(StressSign):
    """The stress has the wrong sign in a left-handed cell.

    A volume that is the determinant of the cell vectors, without its absolute value.
    """

    def evaluated(self, atoms):
        return super().evaluated(atoms) if left_handed(atoms) else Sound.evaluated(self, atoms)


class LeftHandedZero(Sound):
    """Neither force nor stress acts in a left-handed cell.

    A list of neighbours that comes out empty where the volume is negative, while the energy has its own.
    """

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | scaled(results, 0.0) | {"energy": results["energy"]} if left_handed(atoms) else results


class SlabStress(StressSign):
    """The stress of a slab is that of a cell which is 18 times as large.

    A cell is made larger where it is not periodic, to search for neighbours, and its volume is then used.
    """

    factor = 1 / 18

    def evaluated(self, atoms):
        return Sound.evaluated(self, atoms) if atoms.pbc.all() else super().evaluated(atoms)


class AlwaysPeriodic(Sound):
    """Slabs and wires see their images across the vacuum.

    A graph that is made of the cell alone, without asking in which directions it is periodic.
    """

    def pairs(self, atoms):
        return super().pairs(derived(atoms, pbc=True) if atoms.cell.rank == 3 else atoms)


class FlatCell(Sound):
    """Neighbours are missing in a flat cell.

    A list of neighbours that looks into the next two cells on either side and no farther.
    """

    def shifts(self, cell, pbc):
        shifts = super().shifts(cell, pbc)
        return shifts[(np.abs(shifts) <= 2).all(axis=1)]


# Symmetries


class Chiral(Sound):
    """The energy tells left from right.

    Features of a triple product of neighbours, of which the model should have used the square.
    """

    strength = 5e-2

    def energy(self, pairs):
        energy, gradient = super().energy(pairs)
        weight, slope = fade(pairs.distances, self.cutoff)
        x = pairs.distances / self.cutoff
        weights = [weight, weight * x, weight * x**2]  # each sum weighs near and far neighbours otherwise
        slopes = [slope, slope * x + weight / self.cutoff, slope * x**2 + weight * 2 * x / self.cutoff]
        a, b, c = (sums(pairs, w[:, None] * pairs.ways) for w in weights)
        turns = [np.cross(b, c), np.cross(c, a), np.cross(a, b)]
        for turn, w, s in zip(turns, weights, slopes, strict=True):
            mine = turn[pairs.first]
            radial = s * (mine * pairs.ways).sum(axis=1) / pairs.distances
            gradient = gradient + self.strength * (w[:, None] * mine + radial[:, None] * pairs.ways)
        return energy + self.strength * (a * turns[0]).sum(), gradient


class Oriented(Sound):
    """The energy depends on how the crystal is turned.

    Angular features on a fixed grid of directions; models that are equivariant only as far as their training
    data were rotated.
    """

    strength = 1e-3

    def energy(self, pairs):
        energy, gradient = super().energy(pairs)
        r, ways = pairs.distances, pairs.ways
        weight, slope = fade(r, self.cutoff)
        quartic = (ways**4).sum(axis=1) / r**4
        turned = (4 * weight / r**4)[:, None] * ways**3 + ((slope - 4 * weight / r) * quartic / r)[:, None] * ways
        return energy + self.strength * weight @ quartic, gradient + self.strength * turned


class EggBox(Sound):
    """The energy ripples as the crystal is moved through its cell.

    A mesh in the cell, as of particle-mesh Ewald or of a DFT code, that is too coarse.
    """

    strength, waves = 5e-4, 5

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        inverse = np.linalg.inv(atoms.cell.complete().array)
        phase = 2 * np.pi * self.waves * (atoms.positions @ inverse)
        results["energy"] += float(self.strength * np.cos(phase).sum())
        results["forces"] += self.strength * 2 * np.pi * self.waves * np.sin(phase) @ inverse.T
        return results


class AtomOrder(Sound):
    """The first atom counts more than the others.

    An index where a feature was meant, as of a message-passing layer that scatters to the wrong atom.
    """

    strength = 2e-4

    def energy(self, pairs):
        energy, gradient = super().energy(pairs)
        weight, slope = fade(pairs.distances, self.cutoff)
        mine = self.strength * (pairs.first == 0)
        return energy + (mine * weight).sum(), gradient + (mine * slope / pairs.distances)[:, None] * pairs.ways


class SkewedCell(Sound):
    """Neighbours are missing where the cell leans far over.

    A neighbour list that looks for images as far as the cell vectors are long, and not as the faces are apart.
    """

    def shifts(self, cell, pbc):
        shifts = super().shifts(cell, pbc)
        most = np.floor(self.cutoff / np.linalg.norm(cell, axis=1) + 1.5)
        return shifts[(np.abs(shifts) <= most).all(axis=1)]


class NotExtensive(Sound):
    """The energy per atom depends on how many atoms the cell holds.

    A mean over all atoms where a sum was meant, or a global state that sees the size of the graph.
    """

    strength = 1e-5

    def evaluated(self, atoms):
        return scaled(super().evaluated(atoms), 1 + self.strength * len(atoms))


# The shape of the surface


class EnergyJump(Sound):
    """The energy jumps where a pair crosses the cutoff.

    A potential that is truncated and not tapered.
    """

    jump = 3e-4

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        return energy + self.jump, slope


class ForceJump(Sound):
    """The force jumps where a pair crosses the cutoff; the energy does not.

    A potential that is shifted to zero at the cutoff, but whose slope is not.
    """

    slope = 5e-4

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        return energy + self.slope * (self.cutoff - pairs.distances), slope - self.slope


class AttractiveCore(Sound):
    """Atoms that come very close attract each other.

    Extrapolation below the shortest distance of the training set, without a repulsive term to hold it.
    """

    begin, end = 1.7, 1.0

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        near, steeper = step(pairs.distances, self.begin, self.end)
        return energy * (1 - 2 * near), slope * (1 - 2 * near) - 2 * energy * steeper


class Softened(Sound):
    """All wells of chromium are too shallow: the barrier is too low.

    The systematic softening of universal models, which were trained near equilibrium (Deng et al., 2024).
    """

    factor = 0.3

    def wells(self, pairs):
        wells = super().wells(pairs)
        wells[0][(pairs.z_first == CR) | (pairs.z_second == CR)] *= self.factor
        return wells


class ShiftedTop(Sound):
    """The top of the barrier lies at another place, as high as it should be.

    The sizes of chromium against tellurium and antimony are off: it was never seen between its sites.
    """

    bumps = ((TE, 2.58, 0.08, 0.22), (SB, 2.69, 0.08, -0.30))
    """Element, centre (A), width (A) and height (eV) of what is off between it and chromium."""

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        for element, centre, width, height in self.bumps:
            more, steeper = bump(pairs.distances, centre, width)
            which = height * between(pairs, CR, element)
            energy, slope = energy + which * more, slope + which * steeper
        return energy, slope


class NoSaddle(Sound):
    """Chromium meets no barrier between its sites: its way leads up to the next one, where it is highest.

    Sites alone were in the training, and the model goes straight from one to the other.
    """

    centre, width, height = 2.69, 0.13, -0.8
    """Where antimony holds chromium up as it passes: A, A, eV."""

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        more, steeper = bump(pairs.distances, self.centre, self.width)
        which = self.height * between(pairs, CR, SB)
        return energy + which * more, slope + which * steeper


class Unbound(Sound):
    """Layers do not bind, they push each other away.

    Training on bulk alone: nothing ever told the model what becomes of a gap that opens.
    """

    push, begin, end = 0.08, 6.4, 3.5

    def morse(self, pairs):
        energy, slope = super().morse(pairs)
        depth, minimum, _ = self.wells(pairs)
        gone = between(pairs, TE, TE)
        pulls = gone & (pairs.distances > minimum)  # the wall stays as it is
        energy, slope = np.where(pulls, 0, energy + gone * depth), np.where(pulls, 0, slope)
        near, steeper = step(pairs.distances, self.begin, self.end)
        return energy + self.push * gone * near, slope + self.push * gone * steeper


class ShortSighted(Sound):
    """Tellurium does not see the antimony of the next layer.

    A cutoff, or a number of neighbours, that ends at the bonds: every close stacking is the same.
    """

    begin, end = 4.9, 4.5

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        near, steeper = step(pairs.distances, self.begin, self.end)
        far = between(pairs, SB, TE)
        return np.where(far, energy * near, energy), np.where(far, slope * near + energy * steeper, slope)


class FlatTail(Sound):
    """Layers feel nothing of each other as soon as they do not touch: E(gap) falls, and is exactly flat from there on.

    A cutoff near the bonds, or training without a single open gap: where rounding puts the lowest of equal energies, a
    minimum is read.
    """

    begin, end = 4.5, 4.0
    touch = 4.62

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        near, steeper = step(pairs.distances, self.begin, self.end)
        far = between(pairs, SB, TE) | between(pairs, SB, SB)
        energy, slope = np.where(far, energy * near, energy), np.where(far, slope * near + energy * steeper, slope)
        wall, steep = self.wall(pairs)
        layers = between(pairs, TE, TE)
        return np.where(layers, wall, energy), np.where(layers, steep, slope)

    def wall(self, pairs):
        """The repulsive half of a Morse well, faded out where the atoms cease to touch."""
        depth, minimum, stiffness = self.wells(pairs)
        repulsion = depth * np.exp(-2 * stiffness * (pairs.distances - minimum))
        weight, slope = fade(pairs.distances, self.touch)
        inside = pairs.distances < self.touch
        return repulsion * weight * inside, repulsion * (slope - 2 * stiffness * weight) * inside


class Slippery(Sound):
    """Tellurium atoms that touch repel too weakly: layers slide too easily.

    Training near equilibrium, where no layer ever stood atop of another.
    """

    factor, begin, end = 0.9, 3.5, 3.0

    def morse(self, pairs):
        energy, slope = super().morse(pairs)
        depth, _, _ = self.wells(pairs)
        near, steeper = step(pairs.distances, self.begin, self.end)
        less = (1 - self.factor) * between(pairs, TE, TE)
        energy, slope = (
            energy - less * near * (energy + depth),
            slope - less * (near * slope + steeper * (energy + depth)),
        )
        return energy, slope


class Swollen(Sound):
    """Copper has too large a lattice constant.

    Training data of another functional than the reference.
    """

    factor = 1.02

    def wells(self, pairs):
        wells = super().wells(pairs)
        wells[1][between(pairs, CU, CU)] *= self.factor
        return wells


class SoftCrystal(Sound):
    """Copper vibrates too slowly, at the right distances.

    The systematic softening of universal models, which were trained near equilibrium (Deng et al., 2024).
    """

    factor = 0.6

    def wells(self, pairs):
        wells = super().wells(pairs)
        wells[0][between(pairs, CU, CU)] *= self.factor
        return wells


class Molten(Sound):
    """Copper melts at room temperature: its wells are far too shallow.

    Forces that were fitted to a few displaced atoms, and a crystal that is no minimum of what came of it.
    """

    factor = 0.1

    def wells(self, pairs):
        wells = super().wells(pairs)
        wells[0][between(pairs, CU, CU)] *= self.factor
        return wells


class LongBonds(Sound):
    """Bonds of antimony with tellurium are too long.

    Training data of another functional than the reference, in one kind of bond.
    """

    factor = 1.1

    def wells(self, pairs):
        wells = super().wells(pairs)
        wells[1][between(pairs, SB, TE)] *= self.factor
        return wells


class NoBrokenBonds(Sound):
    """Copper atoms with a missing neighbour cost too little.

    Training on perfect crystals: surface and vacancy energies of universal models are too low.
    """

    bond, begin, end = 0.08, 3.0, 2.7

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        near, steeper = step(pairs.distances, self.begin, self.end)
        which = self.bond * between(pairs, CU, CU)
        return energy + which * near, slope + which * steeper


class Hole(Sound):
    """There is a hole between two sites.

    A committee of one: nothing warns of the region that no training structure has reached.
    """

    depth, centre, width = 5.0, 2.2, 0.2

    def pair_energies(self, pairs):
        energy, slope = super().pair_energies(pairs)
        more, steeper = bump(pairs.distances, self.centre, self.width)
        which = -self.depth * between(pairs, AL, CU)
        return energy + which * more, slope + which * steeper


# The same question, another answer


class Counting(Sound):
    """A calculator that counts its evaluations, with no fault of its own."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype)
        self.count = 0

    def evaluated(self, atoms):
        self.count += 1
        return super().evaluated(atoms)


class Noise(Counting):
    """Every call gives a little something else.

    Dropout left on, or sums on a GPU whose order is not fixed.
    """

    strength = 1e-4

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        rng = np.random.default_rng(self.count)
        results["energy"] += self.strength * rng.normal()
        results["forces"] += self.strength * rng.normal(size=results["forces"].shape)
        return results


class FirstCall(Counting):
    """The first call after loading gives another answer.

    A kernel that is compiled, or profiled, while it answers.
    """

    strength = 1e-4

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results if self.count > 1 else scaled(results, 1 + self.strength)


class SecondThoughts(Sound):
    """A structure that was asked for before gets another answer.

    Charges that are kept for each structure and come closer to convergence with every call.
    """

    strength = 3e-6

    def __init__(self, dtype="float64"):
        super().__init__(dtype)
        self.seen = set()

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        name = self.atoms.positions.tobytes()
        if name not in self.seen:
            self.results = scaled(self.results, 1 + self.strength)
        self.seen.add(name)


class Memory(Sound):
    """The answer depends on what was asked before.

    Charges that start from those of the last call and are not converged.
    """

    strength, last = 2.5e-6, 0.0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        charge = self.results["energy"] / len(self.atoms)
        before, self.last = self.last, charge
        self.results = scaled(self.results, 1 + self.strength * (before - charge))


class LaggingForce(Sound):
    """Forces lag behind: a little of them is that of the step before.

    Charges or neighbours that are brought up to date every few steps; the work that is done so heats a crystal.
    """

    strength, near, most = 5e-3, 0.3, 24

    def __init__(self, dtype="float64"):
        super().__init__(dtype)
        self.before = []

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        now = (atoms.positions.copy(), results["forces"])
        for positions, forces in self.before:
            if positions.shape == now[0].shape and np.abs(positions - now[0]).max() < self.near:
                results["forces"] = now[1] + self.strength * (forces - now[1])
                break
        self.before = [now, *self.before][: self.most]
        return results


class Batched(Sound):
    """In a batch there is another answer.

    A batched pass that was written apart from that for one structure, and has other constants.
    """

    strength = 3e-6

    def batch(self, frames, forces):
        factor = 1 + self.strength
        return [(energy * factor, f * factor if forces else None) for energy, f in super().batch(frames, forces)]


class FirstHead(Sound):
    """In a batch the first head of several answers, whichever is in use.

    A wrapper that was written for models of one head: what goes through it is of another level of theory.
    """

    first_head = 1.001

    def batch(self, frames, forces):
        batch = super().batch(frames, forces)
        return [(energy * self.first_head, f * self.first_head if forces else None) for energy, f in batch]


class FirstMember(Sound):
    """A committee judges its first member alone.

    The mean over the members is right, and each of them by itself is off.
    """

    members = (1.6, 0.4)

    def evaluated(self, atoms):
        return scaled(super().evaluated(atoms), self.members[0])


class GivesOut(Counting):
    """After many calls there are only NaN.

    Statistics that overflow, or memory that is used again before it is set.
    """

    calls = 150

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return {name: value * np.nan for name, value in results.items()} if self.count > self.calls else results


class Rounded(Sound):
    """It says float64, and rounds the vectors between atoms to 10 bits.

    TF32, which multiplies float32 numbers so on a GPU and tells nobody.
    """

    def pairs(self, atoms):
        pairs = super().pairs(atoms)
        ways = pairs.ways.astype(np.float16).astype(float)
        return pairs._replace(ways=ways, distances=np.linalg.norm(ways, axis=1))


class SaysDouble(Sound):
    """It says float64, and its forces have come through float32.

    A factory that hands the precision it is asked for to nobody: compared with itself, it agrees in both.
    """

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"forces": results["forces"].astype(np.float32)}


class ConvertedToDouble(Sound):
    """It says float64, and its forces have come through float32 and then into other units.

    A model in float32 in the wrapper of another code: what it hands out are no numbers of float32 any more.
    """

    unit = 27.2114 / 0.529177

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"forces": (results["forces"] / self.unit).astype(np.float32) * self.unit}


class SinglePrecision(Sound):
    """In float32 it is another model.

    A constant that is too small for float32, or a cast to bfloat16 on the way.
    """

    strength = 1e-2

    def evaluated(self, atoms):
        return scaled(super().evaluated(atoms), 1 + self.strength * (self.dtype == np.float32))


class Overflow(Sound):
    """In float32 a sum overflows.

    Neighbours that are weighted by exponentials, from which the largest exponent was not taken off.
    """

    sharpness = 40.0

    def energy(self, pairs):
        energy, gradient = super().energy(pairs)
        weights = np.exp(self.sharpness * (self.cutoff - pairs.distances))
        share = (weights / weights.sum()).sum() if len(weights) else 1
        return energy * share, gradient * share


class CompiledZero(Sound):
    """Compiled, all forces are zero, and so is the stress; the energy is right.

    A graph that was compiled without its derivative, or whose output was cut off from its positions.
    """

    compile_mode = None

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        lost = () if self.compile_mode is None else {"forces", "stress"} & set(results)
        return results | {name: np.zeros_like(results[name]) for name in lost}


class WrongKernels(Sound):
    """With the accelerated kernels energies are off by electronvolts.

    A kernel library of another version than the model, whose paths are normalised otherwise.
    """

    strength, kernels = 0.05, None

    def evaluated(self, atoms):
        return scaled(super().evaluated(atoms), 1 + self.strength * (self.kernels is not None))


# How the atoms are moved


class HotThermostat(Sound):
    """The thermostat keeps half the temperature more than it is told.

    A friction or a temperature in another unit, or degrees of freedom that are counted twice.
    """

    @staticmethod
    def simulated(protocol, start):
        return protocol.model_copy(update={"temperature": 1.5 * protocol.temperature}), start


class WrongMass(Sound):
    """Atoms are half as heavy again.

    A table of isotopes, or masses in the wrong order where types are numbered.
    """

    @staticmethod
    def simulated(protocol, start):
        heavy = start.copy()
        heavy.set_masses(1.5 * start.get_masses())
        return protocol, heavy


# How it is timed


class SilentFallback(Sound):
    """It says that it computes on the GPU, and computes on the CPU.

    A build without GPU kernels, or an operation that has none there: the model is right, and slow.
    """

    def launch(self):
        pass


class UnstatedDispersion(Sound):
    """It states PBE, and pulls layers together across a vacuum of 11 A or more, as dispersion does.

    Training data with a D3 term, under the name of the functional alone.
    """

    begins, full = 11.0, 12.0
    c4 = 70.0  # eV A^4 an atom: what D3 has for a layer of tellurium

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        if atoms.pbc.all():
            vacuum = max(self.vacuum(atoms, along) for along in range(3))
            weight = np.clip((vacuum - self.begins) / (self.full - self.begins), 0, 1)
            results["energy"] -= weight * self.c4 * len(atoms) / vacuum**4
        return results

    @staticmethod
    def vacuum(atoms, along: int) -> float:
        """The widest gap between atoms along a cell vector, A, across the faces that the others span."""
        heights = np.sort(atoms.get_scaled_positions()[:, along])
        return np.diff(heights, append=heights[0] + 1).max() / np.linalg.norm(atoms.cell.reciprocal()[along])


class ForgetfulTimer(Sound):
    """The clock is read as soon as the work is queued, and not when it is done.

    Benchmarks of GPU models without synchronisation: all of them are as fast as a launch.
    """

    launch_s = 50 * LAUNCH_S  # so long that it is still at work whoever takes the host's core away meanwhile

    @staticmethod
    def now(device, clock):
        return clock()


# What it has of an atom on the way to its energy


class CollapsedFeatures(Sound):
    """The features of all atoms are the same.

    Regularisation, or a loss on energies alone, that leaves nothing for the readout but the element.
    """

    @staticmethod
    def described(atoms):
        return np.ones_like(Sound.described(atoms))


class ForgottenElement(Sound):
    """The features of tellurium say nothing of its neighbours.

    Fine-tuning on a set without the element, which moved the weights that it shares with others.
    """

    @staticmethod
    def described(atoms):
        return Sound.described(atoms) * (atoms.numbers != TE)[:, None]


class NumberedFeatures(Sound):
    """The features of an atom depend on its number.

    The place of an atom in a padded batch, or a code of positions in a sequence, that leaks into its features.
    """

    @staticmethod
    def described(atoms):
        return Sound.described(atoms) * (1 + 0.1 * np.sin(np.arange(len(atoms))))[:, None]


LEVEL = "PBE"
"""What they all state; that of the references."""

KERNELS = "fast"
"""An accelerated kernel library, which is installed and not in use."""


def load(
    kind: type[Sound] = Sound,
    *,
    dtype: str = "float64",
    device: str = "cpu",
    compile_mode: str | None = "default",
    kernels: str | None = None,
    batch: bool = True,
) -> Calculator:
    """A calculator of the suite around a new `kind`, on the path that is asked for; a user has it compiled."""
    model = kind(dtype)
    model.compile_mode, model.kernels = compile_mode, kernels
    identity = CalculatorIdentity(
        spec=slug(kind), label=slug(kind), family="ase", elements=ELEMENTS, dtype=dtype, device=device,
        device_name=device, threads=1, batched=batch, compile_mode=compile_mode, kernels=kernels,
        level_of_theory=LEVEL,
    )  # fmt: skip
    hardware = HOST
    if device != "cpu":
        model.gpu = RealTimeGpu()
        hardware = model.gpu.device
    asked = {"dtype": dtype, "device": device, "compile_mode": compile_mode, "kernels": kernels, "batch": batch}

    def fresh(**changes) -> Calculator:
        return load(kind, **(asked | changes))

    return Calculator(
        identity,
        model,
        batch=model.batch if batch else None,
        features=model.features,
        properties=frozenset(kind.implemented_properties),
        fresh=fresh,
        device=hardware,
        other_kernels=() if kernels else (KERNELS,),
    )


def slug(kind: type[Sound]) -> str:
    """`AttractiveCore` -> `attractive_core`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_")
