"""What the first part of a simulation says of all of it, against what all of it then says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mlff_probes.methods.analysis import foresight, statistics
from mlff_probes.methods.analysis.diffusion import CM2_S, diffusion, too_few_lags
from mlff_probes.methods.analysis.displacement import mean_squared_displacement

TIMES = 5.0


def autoregressive(seed: int, memory: float = 0.9, shape: tuple[int, int] = (4, 2000)):
    return lfilter([1.0], [1.0, -memory], np.random.default_rng(seed).normal(size=shape), axis=1)


def first(series):
    return series[:, : int(series.shape[1] / TIMES)]


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.97])
def test_means_are_known_as_well_as_was_foreseen(memory):
    """Medians over thirty series: the longest memory is 66 samples of 400."""
    ratios = []
    for seed in range(30):
        series = autoregressive(seed, memory)
        seen, found = foresight.mean(first(series), TIMES), statistics.mean(series)
        error = found.uncertainty / statistics.quantile(found.degrees) * statistics.quantile(np.inf)
        ratios.append((seen.uncertainty / error, seen.samples / found.samples))
    assert np.median(ratios, axis=0) == pytest.approx([1, 1], abs=0.25)


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
def test_slopes_are_known_as_well_as_was_foreseen(memory):
    ratios = []
    for seed in range(30):
        series, time = autoregressive(seed, memory), np.arange(2000.0)
        seen, found = foresight.drift(first(time[None])[0], first(series), TIMES), statistics.drift(time, series)
        error = found.uncertainty / statistics.quantile(found.degrees) * statistics.quantile(np.inf)
        ratios.append(seen.uncertainty / error)
    assert np.median(ratios) == pytest.approx(1, abs=0.25)


def test_how_long_a_simulation_must_be():
    mean = foresight.Foreseen(value=0.0, uncertainty_now=2.0, samples=40.0, times=4.0)
    assert mean.uncertainty == 1.0
    assert mean.longer(needed=0.25) == pytest.approx(16.0)
    assert mean.longer(needed=2.0) == 1.0
    slope = foresight.Foreseen(0.0, 8.0, 40.0, 4.0, foresight.OF_SLOPES)
    assert slope.uncertainty == 1.0
    assert slope.longer(needed=0.125) == pytest.approx(4.0)
    assert foresight.Foreseen(0.0, 0.0, 2.0, 4.0).longer(needed=1.0) == 5.0


def test_diffusion_is_foreseen_from_walkers():
    """Brownian walkers of a known coefficient; the whole is five times as long as what is looked at."""
    steps = np.random.default_rng(4).normal(scale=np.sqrt(0.1), size=(1, 1000, 40, 3))
    paths, time = np.cumsum(steps, axis=1), np.arange(1000) * 20.0
    of = np.ones(41), np.arange(40)
    walked = np.concatenate([paths, np.zeros((1, 1000, 1, 3))], axis=2)
    walked[:, :, 40] = -paths.sum(axis=2)  # keeps the centre of mass where it is
    early = mean_squared_displacement(walked[:, :200], of[0], of[1], time[:200])
    late = mean_squared_displacement(walked, of[0], of[1], time)
    assert foresight.displacement(early, TIMES) == pytest.approx(late.msd.max(), rel=0.3)
    seen = foresight.diffusion(early, TIMES, 4.5, float(time[199]))
    found = diffusion(late, hop_length=3.0)
    assert seen.value == pytest.approx(0.3 / 20 / 6 * CM2_S, rel=0.2)
    assert 1 / 3 < seen.uncertainty / found.uncertainty < 3


@pytest.mark.parametrize(("duration", "enough"), [(500.0, False), (2390.0, False), (2400.0, True), (1e6, True)])
def test_a_trajectory_that_ends_before_displacements_are_diffusive(duration, enough):
    assert (too_few_lags(duration, 50.0) == "") is enough
    assert not too_few_lags(duration, 50.0) or "simulate 2.4 ps or more" in too_few_lags(duration, 50.0)
