"""A million descriptors through subspace, Q and T^2.

``pytest benchmarks/test_subspace.py -s`` (or ``make bench``); figures in ``results/subspace.md``.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from mlff_probes.methods.analysis.subspace import Training

ATOMS, PART, INNER = 1_000_000, 50_000, 12
MOST_S, MOST_GIB = 60.0, 4.0


def parts(features: int):
    """Samples in a subspace of `INNER` dimensions with noise around it, the same in every pass."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(INNER, features))
    for _ in range(ATOMS // PART):
        yield rng.normal(size=(PART, INNER)) @ axes + 0.3 * rng.normal(size=(PART, features))


@pytest.mark.parametrize("features", [64, 128, 256])
def test_a_million_atoms(features):
    training, fit, distances, beyond = Training(), 0.0, 0.0, 0
    for part in parts(features):
        start = time.perf_counter()
        training.add(part)
        fit += time.perf_counter() - start
    start = time.perf_counter()
    space = training.subspace()
    limit = space.q_limit()
    fit += time.perf_counter() - start
    for part in parts(features):
        start = time.perf_counter()
        q, _ = space.distances(part)
        distances += time.perf_counter() - start
        beyond += int((q > limit).sum())
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{features} features: subspace {fit:.1f} s, Q and T^2 {distances:.1f} s, {gib:.2f} GiB at most")
    assert fit + distances < MOST_S
    assert gib < MOST_GIB
    assert 0.04 < beyond / ATOMS < 0.06
