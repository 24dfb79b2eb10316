"""Spectra of oscillators and gases whose spectra are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from support import autoregressive

from mlff_probes.methods.analysis import sampling
from mlff_probes.methods.analysis.statistics import Unresolved
from mlff_probes.methods.analysis.vibrations import (
    PADDED,
    density_of_states,
    mean_frequency,
    mean_frequency_estimate,
    power_spectra,
    velocity_autocorrelation,
)

ALL = np.arange(3)


def aliasing(*of):
    """Why samples are too far apart, or None."""
    found = sampling.sampled(*of)
    return None if found is None else sampling.aliasing(found)


MASSES = np.array([52.0, 127.6, 1.0])


def oscillators(frequencies_thz, masses, interval_fs, samples, *, replicas=1, seed=0):
    """Velocities (A/fs) and forces (eV/A) of atoms in wells of their own, each component of the same mean energy."""
    omega = 2 * np.pi * np.asarray(frequencies_thz) / 1000
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, size=(replicas, 1, len(masses), 3))
    time = np.arange(samples)[None, :, None, None] * interval_fs
    speed = 0.01 / np.sqrt(masses)[:, None]
    velocities = speed * np.cos(omega[:, None] * time + phase)
    accelerations = -speed * omega[:, None] * np.sin(omega[:, None] * time + phase)
    return velocities, accelerations * masses[:, None] / units.fs**2


def test_the_autocorrelation_of_an_oscillator_is_a_cosine():
    velocities, _ = oscillators([2.0, 2.0, 2.0], MASSES, 10.0, 5000)
    found = velocity_autocorrelation(velocities, MASSES, ALL)
    lags = np.arange(1000)
    assert found[0] == 1
    np.testing.assert_allclose(found[:1000], np.cos(2 * np.pi * 0.002 * 10 * lags), atol=0.01)


def test_the_autocorrelation_agrees_with_direct_sums():
    velocities = np.random.default_rng(1).normal(size=(2, 9, 3, 3))
    found = velocity_autocorrelation(velocities, MASSES, [0, 2])
    direct = [
        np.mean([MASSES[a] * velocities[:, t, a] * velocities[:, t + lag, a] for t in range(9 - lag) for a in (0, 2)])
        for lag in range(9)
    ]
    np.testing.assert_allclose(found, np.array(direct) / direct[0], atol=1e-12)


def test_peaks_are_at_the_frequencies_each_with_its_share():
    velocities, _ = oscillators([1.0, 3.0, 6.5], MASSES, 20.0, 4000)
    frequency, dos = density_of_states(velocities, MASSES, ALL, 20.0)
    step = frequency[1]
    assert step == pytest.approx(0.1 / PADDED)  # 10 ps
    assert dos.sum() * step - (dos[0] + dos[-1]) * step / 2 == pytest.approx(1)
    for peak in (1.0, 3.0, 6.5):  # equal energies, whatever the mass
        near = np.abs(frequency - peak) < 0.5
        assert frequency[near][np.argmax(dos[near])] == pytest.approx(peak, abs=step)
        assert dos[near].sum() * step == pytest.approx(1 / 3, abs=0.01)
    assert mean_frequency(frequency, dos) == pytest.approx(3.5, abs=0.02)


def test_one_element_has_its_own_spectrum():
    velocities, _ = oscillators([1.0, 3.0, 6.5], MASSES, 20.0, 4000)
    frequency, dos = density_of_states(velocities, MASSES, np.array([False, True, False]), 20.0)
    assert mean_frequency(frequency, dos) == pytest.approx(3.0, abs=0.02)


def test_a_gas_keeps_its_velocity_and_all_weight_is_at_zero():
    velocities = np.tile(np.random.default_rng(2).normal(size=(2, 1, 3, 3)), (1, 400, 1, 1))
    np.testing.assert_allclose(velocity_autocorrelation(velocities, MASSES, ALL), 1, atol=1e-10)
    frequency, dos = density_of_states(velocities, MASSES, ALL, 10.0)
    assert dos[frequency > 2.5 * PADDED * frequency[1]].max() < 1e-3 * dos[0]  # a Hann window is two lines wide
    assert dos[0] == dos.max()
    assert aliasing(velocities, 0 * velocities, MASSES, ALL, 10.0) is None


def test_the_width_of_the_window_does_not_hide_what_is_missing():
    velocities, forces = oscillators([0.4, 0.4, 13.6], MASSES, 50.0, 64)  # 3.2 ps: lines 2 THz wide; folds to 6.4
    assert "fold the spectrum" in aliasing(velocities, forces, MASSES, ALL, 50.0)
    velocities, forces = oscillators([1.0, 3.0, 6.4], MASSES, 50.0, 64)
    assert aliasing(velocities, forces, MASSES, ALL, 50.0) is None


def test_a_debye_spectrum_has_its_shape_mean_and_second_moment():
    modes, top, interval = 300, 8.0, 20.0
    frequencies = top * ((np.arange(modes) + 0.5) / modes) ** (1 / 3)
    masses = np.full(modes, 50.0)
    velocities, forces = oscillators(frequencies, masses, interval, 2000)
    frequency, dos = density_of_states(velocities, masses, np.arange(modes), interval)
    assert mean_frequency(frequency, dos) == pytest.approx(0.75 * top, rel=0.005)
    inside = (frequency > 1) & (frequency < 7.5)
    np.testing.assert_allclose(dos[inside], 3 * frequency[inside] ** 2 / top**3, atol=0.03)
    assert aliasing(velocities, forces, masses, np.arange(modes), interval) is None


def noisy_spectrum(rng, samples):
    """Velocities at an interval of 50 fs with an even spectrum up to 5 THz, half the Nyquist frequency."""
    white = rng.normal(size=(2, samples, 3, 3))
    spectrum = np.fft.rfft(white, axis=1)
    spectrum[:, np.fft.rfftfreq(samples, 0.05) > 5] = 0
    return np.fft.irfft(spectrum, samples, axis=1)


def test_intervals_of_the_mean_frequency_are_honest():
    rng = np.random.default_rng(3)
    hits, found = covered(lambda: noisy_spectrum(rng, 1600), 2.5, window=160)
    assert len(found) >= 47
    assert hits >= 0.9 * len(found)
    assert all(estimate.samples <= 38 for estimate in found)  # ten stretches of two replicas, overlapping by half


def covered(make, truth, *, window, trials=50):
    """How many estimates of the mean frequency hold the truth, and those that were resolved."""
    found = []
    for _ in range(trials):
        try:
            found.append(mean_frequency_estimate(make(), np.ones(3), ALL, 50.0, window=window))
        except Unresolved:
            continue
    hits = sum(abs(estimate.value - truth) <= estimate.uncertainty for estimate in found)
    print(hits, len(found))
    return hits, found


def exchanging_modes(rng, replicas, samples, correlation):
    """Velocities of nine modes of 1 to 5 THz, whose amplitudes and phases last for so many samples of 50 fs."""
    shape = (replicas * 9, samples)
    amplitudes = autoregressive(rng, *shape, correlation) + 1j * autoregressive(rng, *shape, correlation)
    turns = np.exp(2j * np.pi * 0.05 * np.multiply.outer(np.linspace(1, 5, 9), np.arange(samples)))
    modes = (amplitudes.reshape(replicas, 9, samples) * turns).real
    return np.moveaxis(modes, 1, 2).reshape(replicas, samples, 3, 3)


@pytest.mark.parametrize(("replicas", "samples"), [(3, 600), (1, 1800)])
@pytest.mark.parametrize(("correlation", "least"), [(5, 45), (20, 42), (100, 30)])
def test_modes_that_exchange_energy_slowly_are_known_less_well(replicas, samples, correlation, least):
    """The energy of a mode lasts for half of the time of its amplitude: up to half a window of 100 samples."""
    rng = np.random.default_rng(6)
    frequency, spectra = power_spectra(
        exchanging_modes(rng, 60, samples, correlation), np.ones(3), ALL, 50.0, window=100
    )
    truth = mean_frequency(frequency, spectra.mean(axis=0))
    hits, found = covered(lambda: exchanging_modes(rng, replicas, samples, correlation), truth, window=100)
    assert len(found) >= least
    assert hits >= 0.9 * len(found)


def test_modes_that_hardly_exchanged_energy_are_mostly_refused():
    rng = np.random.default_rng(7)
    _, found = covered(lambda: exchanging_modes(rng, 1, 1800, 600), 3.0, window=100)  # three times
    assert len(found) <= 10
    rest = np.ones((1, 100, 3, 3)) + 0.001 * np.arange(100)[:, None, None]  # 5 fs: all forward
    with pytest.raises(Unresolved, match=r"windows of 0.4 fs hold 0.46 periods .*, and at least 2 are needed"):
        mean_frequency_estimate(rest, np.ones(3), ALL, 0.05, window=8)


def test_a_crystal_sampled_finely_passes():
    velocities, forces = oscillators([1.0, 3.0, 6.5], MASSES, 10.0, 2000, replicas=2)
    assert aliasing(velocities, forces, MASSES, ALL, 10.0) is None


def test_a_crystal_sampled_every_200_fs_is_refused_with_the_remedy():
    velocities, forces = oscillators([1.0, 3.0, 6.5], MASSES, 200.0, 2000)
    reason = aliasing(velocities, forces, MASSES, ALL, 200.0)
    exact = np.sqrt((1 + 9 + 6.5**2) / 3)
    assert reason is not None
    assert reason.startswith("samples every 200 fs fold the spectrum")
    assert f"forces and velocities say {exact:.3g} THz" in reason
    assert reason.endswith("record a sample every 40 fs or less (a smaller sample_every)")


def test_a_line_that_folds_into_the_middle_is_found_out():
    velocities, forces = oscillators([6.2] * 3, MASSES, 200.0, 2000)  # Nyquist frequency 2.5: it folds to 1.2
    frequency, dos = density_of_states(velocities, MASSES, ALL, 200.0)
    assert frequency[np.argmax(dos)] == pytest.approx(1.2, abs=0.05)
    assert "is 1.2 THz, but forces and velocities say 6.2 THz" in aliasing(velocities, forces, MASSES, ALL, 200.0)


def test_few_light_atoms_that_fold_are_found_out():
    masses = np.array([50.0] * 19 + [1.0])
    velocities, forces = oscillators([4.0] * 19 + [12.5], masses, 50.0, 2000)  # folds to 7.5 of 10 THz
    assert "fold the spectrum" in aliasing(velocities, forces, masses, np.arange(20), 50.0)
    assert aliasing(velocities, forces, masses, np.arange(19), 50.0) is None


def test_a_spectrum_that_reaches_the_nyquist_frequency_is_refused():
    velocities, forces = oscillators([1.0, 3.0, 6.5], MASSES, 70.0, 2000)  # Nyquist frequency 7.1
    reason = aliasing(velocities, forces, MASSES, ALL, 70.0)
    assert "33% of it lies above 80% of the Nyquist frequency, 7.14 THz" in reason
    assert "every 35 fs or less" in reason


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_without_forces_only_the_nyquist_frequency_is_asked(missing):
    masses = np.array([52.0, 127.6, 58.7])
    velocities, _ = oscillators([1.0, 3.0, 6.5], masses, 10.0, 2000)
    assert aliasing(velocities, np.full_like(velocities, missing), masses, ALL, 10.0) is None
    velocities, forces = oscillators([1.0, 3.0, 6.5], MASSES, 70.0, 2000)
    forces[0, 7] = missing
    reason = aliasing(velocities, forces, MASSES, ALL, 70.0)
    assert "33% of it lies above 80% of the Nyquist frequency, 7.14 THz" in reason
    assert reason.endswith("record a sample every 35 fs or less (a smaller sample_every)")


def test_what_makes_no_spectrum_is_refused():
    velocities, _ = oscillators([1.0, 3.0, 6.5], MASSES, 10.0, 31)
    with pytest.raises(Unresolved, match="windows of 6 of 31 samples, spectra need at least 8"):
        density_of_states(velocities, MASSES, ALL, 10.0)
    with pytest.raises(ValueError, match="none that moves"):
        velocity_autocorrelation(np.zeros((1, 9, 3, 3)), MASSES, ALL)
    with pytest.raises(ValueError, match="do not fit 2 masses"):
        velocity_autocorrelation(velocities, MASSES[:2], [0])
    with pytest.raises(Unresolved, match="9 independent samples"):
        mean_frequency_estimate(np.tile(velocities, (1, 40, 1, 1)), MASSES, ALL, 10.0, window=248)


def test_a_real_crystal_obeys_the_sum_rule_and_shows_where_its_samples_are_too_few():
    """Copper in EMT: anharmonic, at constant energy, 2 ps; its spectrum ends at 7.5 THz or so."""
    atoms = bulk("Cu", cubic=True).repeat((2, 2, 1))
    atoms.calc = EMT()
    atoms.set_velocities(np.random.default_rng(4).normal(scale=0.02, size=(16, 3)))
    velocities, forces = [], []

    def sample():
        velocities.append(atoms.get_velocities() * units.fs)
        forces.append(atoms.get_forces())

    dynamics = VelocityVerlet(atoms, timestep=4 * units.fs)
    dynamics.attach(sample, interval=5)
    dynamics.run(800)
    v, f = np.array([velocities]), np.array([forces])
    masses, everything = atoms.get_masses(), np.arange(16)
    frequency, dos = density_of_states(v, masses, everything, 20.0)
    exact = (f**2).sum() / masses[0] ** 2 / (v**2).sum() * (units.fs * 1000 / 2 / np.pi) ** 2 * units.fs**2
    assert (dos * frequency**2).sum() * frequency[1] == pytest.approx(exact, rel=0.05)
    assert dos[frequency > 9].sum() * frequency[1] < 0.015
    assert aliasing(v, f, masses, everything, 20.0) is None
    assert "fold the spectrum" in aliasing(v[:, ::5], f[:, ::5], masses, everything, 100.0)
