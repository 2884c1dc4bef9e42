"""The engine on a CUDA device trains as on the CPU, with the shapes that are most likely to fail there."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import adagp


def net():
    torch.manual_seed(0)
    # A last map of 1 x 1 and a Linear layer: their strides are those of more than one memory format.
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    )


def trained(device, predictor):
    model = net().to(device, memory_format=torch.channels_last)
    schedule = adagp.LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    engine = adagp.AdaGP(model, optimizer, schedule=schedule, predictor=predictor)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        batches = [(torch.randn(16, 3, 9, 9, generator=generator), torch.arange(16) % 5) for _ in range(12)]
        for x, y in engine.epoch(batches):
            x = x.to(device, memory_format=torch.channels_last)
            engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y.to(device))
    return torch.cat([p.detach().cpu().flatten() for p in model.parameters()])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("predictor", ["shared-network", "coast"])
def test_a_cuda_device_trains_as_the_cpu_does(predictor):
    torch.testing.assert_close(trained("cuda", predictor), trained("cpu", predictor), rtol=1e-2, atol=1e-3)
