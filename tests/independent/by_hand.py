"""Every quantity of the suite once more, from the physics alone: plain ASE and numpy, one frame at a time.

Nothing here imports the package or scipy. The splines, the interpolant and the extrema are written out, so that an
agreement with the scorecard is an agreement of two derivations and not of one library with itself.

As a command it prints one table: ``python by_hand.py chgnet [CASE.toml ...]``, with ``dft`` or ``FILE.py:FACTORY`` in
place of ``chgnet`` for the stored DFT results or any ASE calculator.
"""

import argparse
import importlib.util
import itertools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
FIXED_PATH, FIXED_GAP, RELAXED_GAP = "fixed_path", "fixed_gap_slide", "relaxed_gap_slide"
LAWS = ("symmetry", "derivatives", "smoothness", "short_range_wall", "stated_level", "reproducibility")
FEATURES = ("extrapolation", "forgetting")
LEFT_OUT = ("speed", "path_agreement", "relaxed_path", "fcc_vacancy", "molecular_dynamics", *FEATURES, *LAWS)
PARITY = "parity"
CRYSTAL, ATOP, FAULT = 0.0, 1 / 3, 2 / 3  # registries u, in parts of one period of the slide
GRID_POINTS = 20_001  # of the search for stationary points: a twelfth of a period holds more than a thousand of them

Quantities = dict[str, float | None]


def by_hand(case_toml: Path, calculator: Any) -> Quantities:
    """All quantities the definitions give for a case, whether it judges them or not; None where there is no value."""
    protocol = tomllib.loads(case_toml.read_text(encoding="utf-8"))["protocol"]
    frames = read_frames(case_toml)
    if protocol["kind"] == FIXED_PATH:
        return migration(frames, calculator, protocol["migrating_atom"])
    if protocol["kind"] == FIXED_GAP:
        return fixed_gap_slide(frames, calculator, protocol["slide_vector"])
    if protocol["kind"] == RELAXED_GAP:
        return relaxed_gap_slide(frames, calculator)
    if protocol["kind"] == PARITY:
        return parity(frames, calculator)
    raise ValueError(f"nothing to evaluate by hand for a case of kind {protocol['kind']!r}")


def cases(reference: Path = REFERENCE) -> list[Path]:
    """The TOML files of all cases whose frames stay as they are, but those of inference.

    Speed and the agreement of paths are no properties of the potential energy; bands that relax are compared with
    ASE's in `test_vacancy.py` and `test_band_optimizer.py`; what physical laws do with random structures is in
    `test_laws_by_hand.py`.
    """
    return [path for path in sorted(reference.glob("*/*.toml")) if protocol_of(path)["kind"] not in LEFT_OUT]


def protocol_of(case_toml: Path) -> dict[str, Any]:
    """The protocol table of a case."""
    return tomllib.loads(case_toml.read_text(encoding="utf-8"))["protocol"]


def read_frames(case_toml: Path) -> list[Atoms]:
    """The structures of a case in file order, with the DFT energies and forces stored on them."""
    if case_toml.with_suffix(".extxyz").exists():
        return ase.io.read(case_toml.with_suffix(".extxyz"), index=":")
    frames: list[Atoms] = []
    for origin, pattern in protocol_of(case_toml)["origins"].items():
        folder, _, name = pattern.rpartition("/")
        for file in sorted((case_toml.parent / folder).glob(name)):
            for frame in ase.io.read(file, index=":"):
                known = any(
                    len(other) == len(frame)
                    and np.allclose(other.positions, frame.positions, atol=1e-7)
                    and np.allclose(other.cell[:], frame.cell[:], atol=1e-7)
                    for other in frames
                )
                if not known:
                    frame.info["origin"] = origin
                    frames.append(frame)
    return frames


# --- what a calculator says of the frames ----------------------------------------------------------------------------


def energy_and_forces(frame: Atoms, calculator: Any) -> tuple[float, np.ndarray]:
    """Energy in eV and forces in eV/A of one structure, on a copy, so that the stored DFT results stay."""
    atoms = frame.copy()
    atoms.calc = calculator
    return float(atoms.get_potential_energy()), np.array(atoms.get_forces(), dtype=float)


def evaluate(frames: list[Atoms], calculator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n) and forces (n, atoms, 3) of all frames, one after the other."""
    energies, forces = zip(*(energy_and_forces(frame, calculator) for frame in frames), strict=True)
    return np.array(energies), np.array(forces)


def energies_of(frames: list[Atoms], calculator: Any) -> np.ndarray:
    """Energies (n) of all frames, where no forces are needed, nor stored."""
    found = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        found.append(float(atoms.get_potential_energy()))
    return np.array(found)


class StoredDFT(Calculator):
    """The DFT results of a set of frames as a calculator, which knows these structures and no other."""

    implemented_properties = ("energy", "forces")

    def __init__(self, frames: list[Atoms]):
        super().__init__()
        self.frames = frames

    def calculate(self, atoms: Atoms, properties=("energy",), system_changes=all_changes) -> None:
        """Look the structure up by its positions and its cell."""
        super().calculate(atoms, properties, system_changes)
        for frame in self.frames:
            if np.array_equal(frame.positions, atoms.positions) and np.array_equal(frame.cell[:], atoms.cell[:]):
                self.results = dict(frame.calc.results)
                return
        raise PropertyNotImplementedError("no DFT calculation of this structure is stored")


# --- parity ----------------------------------------------------------------------------------------------------------


def parity(frames: list[Atoms], calculator: Any) -> Quantities:
    """Errors of energies and forces frame by frame, all together, by element and by origin."""
    rows, atoms = [], []  # (origin, energy error per atom), (origin, element, force of the model, force of DFT)
    for frame in frames:
        energy, forces = energy_and_forces(frame, calculator)
        origin = frame.info["origin"]
        rows.append((origin, len(frame), (energy - frame.get_potential_energy()) / len(frame)))
        atoms += zip([origin] * len(frame), frame.get_chemical_symbols(), forces, frame.get_forces(), strict=True)
    # the only two compositions here differ in their number of atoms: 5 and 21
    offset = {size: np.mean([error for _, n, error in rows if n == size]) for size in {n for _, n, _ in rows}}
    frames_of = {size: sum(n == size for _, n, _ in rows) for size in offset}  # their mean takes 1/n of a variance away
    energy_errors = [
        (origin, 1000 * (error - offset[n]) * (frames_of[n] / (frames_of[n] - 1)) ** 0.5) for origin, n, error in rows
    ]
    found: Quantities = {}
    for origin in [None, *dict.fromkeys(origin for origin, _ in energy_errors)]:
        suffix = f"_of_{origin}" if origin else ""
        errors = np.array([error for o, error in energy_errors if origin in (None, o)])
        found[f"energy_mae{suffix}"] = float(np.mean(np.abs(errors)))
        found[f"energy_rmse{suffix}"] = float(np.sqrt(np.mean(errors**2)))
        found |= force_errors([(f, r) for o, _, f, r in atoms if origin in (None, o)], suffix)
    for element in {element for _, element, _, _ in atoms}:
        found |= force_errors([(f, r) for _, e, f, r in atoms if e == element], f"_{element}")
    return found


def force_errors(pairs: list[tuple[np.ndarray, np.ndarray]], suffix: str) -> Quantities:
    """Force errors in meV/A, and the mean cosine of the atoms that feel 0.2 eV/A or more in DFT."""
    errors = np.array([1000 * (force - dft) for force, dft in pairs])
    cosines = [
        float(force @ dft) / float(np.linalg.norm(force) * np.linalg.norm(dft)) if np.linalg.norm(force) else 0.0
        for force, dft in pairs
        if np.linalg.norm(dft) >= 0.2
    ]
    return {
        f"force_mae{suffix}": float(np.mean(np.abs(errors))),
        f"force_rmse{suffix}": float(np.sqrt(np.mean(errors**2))),
        f"force_cosine{suffix}": float(np.mean(cosines)),
    }


# --- migration -------------------------------------------------------------------------------------------------------


def migration(frames: list[Atoms], calculator: Any, migrating_atom: int) -> Quantities:
    """Barrier, profile and force errors along a path of given images."""
    energies, forces = evaluate(frames, calculator)
    energies_dft, forces_dft = evaluate(frames, StoredDFT(frames))
    profile, profile_dft = energies - energies[0], energies_dft - energies_dft[0]
    force_errors = np.abs(forces - forces_dft)
    saddle = int(np.argmax(energies))
    quantities = {
        "barrier": profile[saddle],
        "reverse_barrier": energies[saddle] - energies[-1],
        "reaction_energy": profile[-1],
        "profile_mae": np.mean(np.abs(profile - profile_dft)),
        "saddle_position": path_fractions(frames)[saddle],
        "force_mae": np.mean(force_errors),
        "migrating_force_mae": np.mean(force_errors[:, migrating_atom, :]),
    }
    quantities |= {f"energy_image_{image}": profile[image] for image in range(1, len(frames))}
    found: Quantities = {name: float(value) for name, value in quantities.items()}
    if lacks_the_top(energies, energies_dft):
        found |= dict.fromkeys(("barrier", "reverse_barrier", "saddle_position"))
    return found


def lacks_the_top(energies: np.ndarray, energies_dft: np.ndarray) -> bool:
    """Whether DFT has a point between the ends that is higher than both, by more than float32 rounds, and this not."""

    def top(of: np.ndarray) -> bool:
        return bool(max(of[1:-1]) > max(of[0], of[-1]) + 4 * 2.0**-23 * max(abs(of)))

    return top(energies_dft) and not top(energies)


def path_fractions(frames: list[Atoms]) -> np.ndarray:
    """Where each image lies on the path, 0 to 1, by the minimum-image distance in all 3N coordinates."""
    steps = [0.0]
    for here, there in itertools.pairwise(frames):
        straight = there.positions - here.positions
        lattice = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ there.cell[:]
        copies = np.linalg.norm(straight[:, None] + lattice, axis=2)  # each atom to 125 copies of where it goes
        steps.append(float(np.sqrt(np.sum(np.min(copies, axis=1) ** 2))))
    arc = np.cumsum(steps)
    return arc / arc[-1]


# --- sliding at a fixed gap ------------------------------------------------------------------------------------------


def fixed_gap_slide(frames: list[Atoms], calculator: Any, slide_vector: list[int]) -> Quantities:
    """Energies, bridge and restoring force of rigid layers slid through one period."""
    n = len(frames)
    registries = np.arange(n) / n
    stored = np.array([frame.info["slide"] for frame in frames])
    if np.max(np.abs(stored - registries)) > 1e-9:
        raise ValueError("the frames are not equidistant registries in file order")
    energies = energies_of(frames, calculator)
    energies_dft = energies_of(frames, StoredDFT(frames))
    profile, profile_dft = energies - energies[0], energies_dft - energies_dft[0]

    period = slide_vector[0] * frames[0].cell[0] + slide_vector[1] * frames[0].cell[1]
    wave = TrigonometricInterpolant(profile)
    slope = lambda u: wave(u, derivative=1)  # noqa: E731
    curvature = lambda u: wave(u, derivative=2)  # noqa: E731
    bridges = [FAULT, 1.0, *roots(slope, FAULT, 1.0)]
    steepest = [0.0, *roots(curvature, 0.0, 1.0)]
    way_back = [*np.flatnonzero(registries > FAULT - 1e-9), 0]  # the crystal comes again at u = 1
    no_bridge = lacks_the_top(energies[way_back], energies_dft[way_back])
    return {
        "atop_energy": float(profile[registry(registries, ATOP)]),
        "stacking_fault_energy": float(profile[registry(registries, FAULT)]),
        "profile_mae": float(np.mean(np.abs(profile - profile_dft))),
        "bridge_barrier": None if no_bridge else max(float(wave(u)) for u in bridges),
        "max_lateral_force": max(abs(float(slope(u))) for u in steepest) / float(np.linalg.norm(period)),
        "periodicity": periodicity(frames[0], calculator, period),
    }


def registry(registries: np.ndarray, u: float) -> int:
    """The number of the frame at registry u, which must be among them."""
    (found,) = np.flatnonzero(np.abs(registries - u) < 1e-9)
    return int(found)


def periodicity(crystal: Atoms, calculator: Any, period: np.ndarray) -> float | None:
    """E(u = 1) - E(u = 0): the same crystal, written with a third cell vector that is one period longer."""
    slid = crystal.copy()
    cell = slid.cell[:].copy()
    cell[2] += period
    slid.set_cell(cell, scale_atoms=False)
    try:
        slid_energy, energy = energies_of([slid, crystal], calculator)
        return float(slid_energy - energy)
    except PropertyNotImplementedError:  # stored DFT results know u = 0 only
        return None


class TrigonometricInterpolant:
    """The one trigonometric polynomial of lowest degree through n equidistant values of a function of period 1.

    Cosines up to n/2 and sines below it: for even n the highest harmonic is a cosine alone, because its sine is zero
    at every sample.
    """

    def __init__(self, values: np.ndarray):
        n = len(values)
        samples = np.arange(n) / n
        self.cosines = np.arange(n // 2 + 1)
        self.sines = np.arange(1, (n + 1) // 2)
        self.coefficients = np.linalg.solve(self._basis(samples), values)

    def __call__(self, u: float | np.ndarray, derivative: int = 0) -> np.ndarray:
        """The value at u, or its first or second derivative by u."""
        return self._basis(np.asarray(u, dtype=float), derivative) @ self.coefficients

    def _basis(self, u: np.ndarray, derivative: int = 0) -> np.ndarray:
        """All harmonics at u; each derivative turns the phase by a quarter and multiplies by the wave number."""
        cosine_waves, sine_waves = 2 * np.pi * self.cosines, 2 * np.pi * self.sines
        quarter = derivative * np.pi / 2
        return np.concatenate(
            [
                cosine_waves**derivative * np.cos(np.multiply.outer(u, cosine_waves) + quarter),
                sine_waves**derivative * np.sin(np.multiply.outer(u, sine_waves) + quarter),
            ],
            axis=-1,
        )


def roots(function: Callable[[Any], Any], start: float, end: float) -> Iterator[float]:
    """Where a function changes sign between start and end: a fine grid, then bisection down to the last bit."""
    grid = np.linspace(start, end, GRID_POINTS)
    signs = np.sign(function(grid))
    yield from grid[signs == 0]
    for index in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        low, high = grid[index], grid[index + 1]
        for _ in range(60):
            middle = (low + high) / 2
            if np.sign(function(middle)) == signs[index]:
                low = middle
            else:
                high = middle
        yield (low + high) / 2


# --- sliding with the gap relaxed ------------------------------------------------------------------------------------


def relaxed_gap_slide(frames: list[Atoms], calculator: Any) -> Quantities:
    """Equilibrium gaps, energies at them, and the curve of pulling the layers apart."""
    energies = energies_of(frames, calculator)
    energies_dft = energies_of(frames, StoredDFT(frames))
    slides = np.array([frame.info["slide"] for frame in frames])
    gaps = np.array([frame.info["gap"] for frame in frames])

    def curve(u: float, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gaps and energies at one registry, by increasing gap."""
        chosen = np.flatnonzero(np.abs(slides - u) < 1e-6)
        chosen = chosen[np.argsort(gaps[chosen])]
        return gaps[chosen], of[chosen]

    gap_crystal, depth_crystal = spline_minimum(*curve(CRYSTAL, energies))
    gap_atop, depth_atop = spline_minimum(*curve(ATOP, energies))
    _, pulled = curve(CRYSTAL, energies)
    _, pulled_dft = curve(CRYSTAL, energies_dft)
    over = pulled_dft - pulled_dft[-1]
    bound = over <= abs(min(over))
    fault = {}
    if np.any(np.abs(slides - FAULT) < 1e-6):  # two equal layers have their crystal there once more
        gap_fault, depth_fault = spline_minimum(*curve(FAULT, energies))
        fault = {
            "equilibrium_gap_fault": gap_fault,
            "stacking_fault_energy": difference(depth_fault, depth_crystal),
        }
    return {
        **fault,
        "equilibrium_gap": gap_crystal,
        "equilibrium_gap_atop": gap_atop,
        "atop_energy": difference(depth_atop, depth_crystal),
        "binding_energy": difference(float(pulled[-1]), depth_crystal),
        "binding_curve_mae": float(np.mean(np.abs((pulled - pulled[-1]) - (pulled_dft - pulled_dft[-1]))[bound])),
    }


def difference(value: float | None, zero: float | None) -> float | None:
    """A difference of two energies, which has no value where one of them has none."""
    return None if value is None or zero is None else value - zero


def not_a_knot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients (a, b, c, d) of a + b t + c t^2 + d t^3, t = x - x_i, on each interval of the cubic spline.

    The unknowns are the second derivatives m at the samples. Inside, the slopes on both sides of a sample agree; at
    the second sample from either end the third derivative is continuous too, so that it is no knot.
    """
    n = len(x)
    h = np.diff(x)
    secants = np.diff(y) / h
    matrix, right = np.zeros((n, n)), np.zeros(n)
    for i in range(1, n - 1):
        matrix[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        right[i] = 6 * (secants[i] - secants[i - 1])
    matrix[0, :3] = -1 / h[0], 1 / h[0] + 1 / h[1], -1 / h[1]
    matrix[-1, -3:] = -1 / h[-2], 1 / h[-2] + 1 / h[-1], -1 / h[-1]
    m = np.linalg.solve(matrix, right)
    return np.array([y[:-1], secants - h * (2 * m[:-1] + m[1:]) / 6, m[:-1] / 2, np.diff(m) / (6 * h)]).T


ROUNDING_EV = 1e-5
"""Of a total energy of some ten eV in float32: what rises by no more is flat."""


def spline_minimum(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Place and depth of the minimum next to the lowest sample; none without samples on both sides that are higher."""
    lowest = int(np.argmin(y))
    if lowest in (0, len(x) - 1) or min(y[:lowest].max(), y[lowest + 1 :].max()) - y[lowest] <= ROUNDING_EV:
        return None, None
    # The zero of y is moved to the lowest sample: total energies of some hundred eV would cost digits of the depth.
    pieces = not_a_knot(x, y - y[lowest])
    minima = []
    for i in (lowest - 1, lowest):
        a, b, c, d = pieces[i]
        for t in quadratic_roots(3 * d, 2 * c, b):
            if 0 <= t <= x[i + 1] - x[i] and 2 * c + 6 * d * t > 0:
                minima.append((a + b * t + c * t**2 + d * t**3, x[i] + t))
    depth, place = min(minima)
    return float(place), float(depth + y[lowest])


def quadratic_roots(a: float, b: float, c: float) -> list[float]:
    """The real roots of a x^2 + b x + c, without cancellation."""
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    q = -(b + np.copysign(np.sqrt(discriminant), b)) / 2
    return [numerator / denominator for numerator, denominator in ((q, a), (c, q)) if denominator != 0]


# --- as a command ----------------------------------------------------------------------------------------------------


def named_calculator(name: str, case_toml: Path) -> Any:
    """The calculator of the command line for one case."""
    if name == "dft":
        return StoredDFT(read_frames(case_toml))
    if name == "chgnet":
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu")
    path, _, factory = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, factory)()


def main() -> None:
    """Print the quantities of some cases, or of all that come with the suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calculator", help="chgnet, dft or FILE.py:FACTORY")
    parser.add_argument("case", nargs="*", type=Path, help="TOML file of a case (default: all that come along)")
    arguments = parser.parse_args()
    for case_toml in arguments.case or cases():
        print(case_toml.stem)
        for quantity, value in by_hand(case_toml, named_calculator(arguments.calculator, case_toml)).items():
            print(f"  {quantity:24} {'no value' if value is None else format(value, '14.8f')}")


if __name__ == "__main__":
    main()
