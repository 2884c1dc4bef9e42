"""Measured correlations against plain loops over samples, and what is measured while a network trains."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adagp import AdaGP, evidence, measuring
from adagp.running import Run


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4), nn.ReLU(), nn.Linear(4, 5))
    engine = AdaGP(net, torch.optim.SGD(net.parameters(), lr=0.1))
    x, y = torch.randn(12, 2, 8, 8), torch.randint(5, (12,))
    engine.begin_epoch()
    for _ in range(3):
        engine.step(lambda: F.cross_entropy(net(x), y))
    sums = measuring.sample_sums(engine, [(x[:8], y[:8]), (x[8:], y[8:])], given="network")
    gradients, predictions, statistics = ({layer.name: [] for layer in engine.layers} for _ in range(3))
    for i in range(12):  # plain: one sample after the other
        seen = {}
        handles = [m.module.register_forward_hook(lambda _, a, o, n=m.name: seen.update({n: a[0]})) for m in engine.layers]
        net.zero_grad()
        logits = net(x[i : i + 1])
        F.cross_entropy(logits, y[i : i + 1]).backward()
        for handle in handles:
            handle.remove()
        error = logits.detach().softmax(1) - F.one_hot(y[i : i + 1], 5)
        made = engine.predictions(lambda i=i: F.cross_entropy(net(x[i : i + 1]), y[i : i + 1]))
        for layer in engine.layers:
            inputs = seen[layer.name]
            patches = (F.unfold(inputs, 3, stride=2).mean(2) if inputs.dim() == 4 else inputs).detach()
            gradients[layer.name].append(layer.weight.grad.flatten(1).clone())
            predictions[layer.name].append(made[layer.name])
            statistics[layer.name].append(error.t() @ patches)
    stacked = [{name: torch.stack(rows) for name, rows in found.items()} for found in (gradients, predictions, statistics)]
    return sums, *stacked


def correlation(a, b):
    a, b = (v - v.mean(0) for v in (a, b))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def test_correlations_are_those_of_loops_over_samples(measured):
    sums, gradients, predictions, statistics = measured
    for name, g in gradients.items():
        matrix = torch.randn(g.shape[1], 5)
        assert sums[name].given("network") == pytest.approx(correlation(predictions[name], g), abs=1e-4)
        assert sums[name].projected(matrix) == pytest.approx(correlation(matrix @ statistics[name], g), abs=1e-4)
        assert sums[name].noise == pytest.approx(float((g - g.mean(0)).square().sum() / 12), rel=1e-4)
        expected = float(g.mean(0).square().sum()) - sums[name].noise / 12
        assert sums[name].signal == pytest.approx(expected, abs=1e-5)


def test_the_best_projection_is_the_least_squares_one_and_exact_in_the_last_layer(measured):
    sums, gradients, _, statistics = measured
    for name, g in gradients.items():
        s = statistics[name]
        design, target = s.permute(0, 2, 1).reshape(-1, 5), g.permute(0, 2, 1).reshape(-1, g.shape[1])
        fitted = torch.linalg.lstsq(design, target).solution.t()
        errors = [float((matrix @ s - g).square().sum()) for matrix in (sums[name].best(), fitted)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-3, abs=1e-6)
    assert sums["5"].projected(torch.eye(5)) == pytest.approx(1)  # the error times the inputs is its gradient


@pytest.mark.slow
def test_correlations_of_a_run_have_a_row_for_each_epoch_and_layer():
    run = Run(model="vgg13", dataset="digits", method="bp", width=0.125, epochs=2, batch_size=16, train_limit=96, lr=0.05)
    said = []
    rows = measuring.measure_correlations(run, at=(1, 2), samples=64, report=said.append)
    table = evidence.correlation_table(evidence.Correlations(run=run, rows=rows))
    assert {row["epoch"] for row in rows} == {1, 2} and len(said) == 2 and len(table) == len(rows) / 2 == 13
    assert all(-1 <= row[name] <= 1.001 for row in rows for name in evidence.PREDICTIONS)
    assert rows == measuring.measure_correlations(run, at=(1, 2), samples=64, report=said.append)
