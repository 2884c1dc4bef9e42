"""The criterion against a simulation of the estimator."""

import numpy as np
import pandas as pd
import pytest

from adagp import evidence
from adagp.evidence import Correlations
from adagp.running import Run

RUN = Run(model="vgg13", dataset="cifar10", method="bp", width=0.125, epochs=10)


@pytest.mark.parametrize(("part", "rho"), [(0.25, 0.8), (0.5, 0.6), (0.75, 0.0)])
def test_the_variance_is_that_of_the_simulated_estimator(part, rho):
    random, batch, trials = np.random.default_rng(0), 16, 200_000
    g = random.standard_normal((trials, batch))
    p = 3 * (rho * g + np.sqrt(1 - rho**2) * random.standard_normal((trials, batch)))
    chosen = slice(0, round(part * batch))
    best = rho / 3  # correlation times the ratio of the standard deviations
    estimate = g[:, chosen].mean(1) + best * (p.mean(1) - p[:, chosen].mean(1))
    assert estimate.var() * batch == pytest.approx(evidence.variance(part, rho**2), rel=0.02)
    assert abs(estimate.mean()) < 0.01


@pytest.mark.parametrize(("always", "sampled", "prediction"), [(1, 2, 0), (1, 1, 0), (1, 2, 0.1), (3, 1, 0.5)])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_at_the_threshold_equal_cost_has_equal_variance(always, sampled, prediction, part):
    rho2 = evidence.threshold(part, always=always, sampled=sampled, prediction=prediction)
    cost = (always + prediction + part * sampled) / (always + sampled)
    assert evidence.variance(part, rho2) * cost == pytest.approx(1)
    assert evidence.variance(part, rho2 + 0.01) * cost < 1


def test_the_published_numbers_of_the_criterion():
    assert evidence.threshold(0.5) ** 0.5 == pytest.approx(0.71, abs=0.005)
    assert evidence.threshold(1 - 1e-9) ** 0.5 == pytest.approx(0.58, abs=0.005)


@pytest.mark.parametrize("rho2", [0.0, 0.3, 0.4, 0.7, 0.95, 1.0])
def test_with_one_layer_the_best_mixture_is_the_best_part(rho2):
    parts = np.linspace(1e-4, 1, 100_000)
    noise = evidence.variance(parts, rho2) * (1 + 2 * parts) / 3
    found, (share,) = evidence.least_noise([5.0], [2.0], 1.0, [rho2])
    assert found == pytest.approx(noise.min(), rel=1e-3)
    assert share == pytest.approx(parts[noise.argmin()], abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_no_mixture_of_three_layers_beats_the_best(seed):
    """All orders of numbers of samples on a grid."""
    random = np.random.default_rng(seed)
    noise, backward, rho2 = random.exponential(1, 3), random.uniform(0.2, 2, 3), random.uniform(0, 1, 3) * (seed % 3 > 0)
    grid = np.linspace(0.02, 1, 50)
    n = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    n = n[(n[:, 0] <= n[:, 1]) & (n[:, 1] <= n[:, 2])]
    spread = (noise * ((1 - rho2) / n + rho2)).sum(1)
    ratios = spread * (0.7 + n @ backward) / (noise.sum() * (0.7 + backward.sum()))
    found, shares = evidence.least_noise(noise, backward, 0.7, rho2)
    assert found <= ratios.min() * (1 + 1e-9) and found == pytest.approx(ratios.min(), rel=5e-3)
    assert np.all(np.diff([*shares, 1.0]) >= -1e-12)


def test_shares_of_noise_and_cost():
    rows = [
        {"seed": 0, "epoch": 1, "layer": n, "position": i, "forward": 1.0, "backward": b, "noise": noise}
        | dict.fromkeys(evidence.PREDICTIONS, rho)
        for i, (n, b, noise, rho) in enumerate([("a", 1.0, 1.0, 0.0), ("b", 2.0, 1.0, 0.5), ("c", 2.0, 2.0, 1.0)])
    ]
    table = evidence.correlation_table(Correlations(run=RUN, rows=rows + [r | {"epoch": 0} for r in rows]))
    assert list(table["noise share"]) == [0.25, 0.25, 0.5]
    assert set(evidence.whole_network(table)["rho2"]) == {0.25 * 0.25 + 0.5}
    cuts = evidence.cuts(table)
    assert list(cuts["layer"]) == ["b", "c"] and list(cuts["rho2"]) == [0.75, 0.5]
    assert list(cuts["cost"]) == [(3 + 1 + 2) / 8, (3 + 1) / 8]
    assert isinstance(cuts, pd.DataFrame)
