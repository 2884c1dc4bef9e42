"""The shared network agrees with its plain reference, and tensor reorganization with its definition."""

import pytest
import torch
from torch import nn

from adagp.predictors import Layer, Replicas, SharedNetwork
from adagp.predictors._reference import ReferenceNetwork, learn
from adagp.predictors._shared import reorganize


def layers_and_outputs(memory_format):
    torch.manual_seed(0)
    modules = {
        "plain": nn.Conv2d(3, 8, 3),
        "strided": nn.Conv2d(8, 12, 5, stride=2, dilation=2),
        "grouped": nn.Conv2d(12, 6, 3, groups=3),
        "depthwise": nn.Conv2d(6, 6, 3, groups=6),
        "one by one": nn.Conv2d(6, 10, 1),
        "linear": nn.Linear(10, 7),
    }
    layers = [
        Layer(name=name, module=module.to(memory_format=memory_format) if name != "linear" else module, index=index)
        for index, (name, module) in enumerate(modules.items())
    ]
    shapes = [(4, 8, 9, 9), (4, 12, 5, 5), (4, 6, 3, 3), (4, 6, 20, 20), (4, 10, 8, 8), (4, 7)]
    return layers, [torch.randn(shape) for shape in shapes]


def reference_for(network, layers):
    reference = ReferenceNetwork(max(layer.shape[1] for layer in layers), network.size)
    for theirs, ours in zip(reference.parameters(), parameters(network), strict=True):
        theirs.data.copy_(ours.data)
    return reference


def parameters(network):
    return [network.conv_weight, network.conv_bias, network.linear_weight, network.linear_bias]


def four_dimensional(output):
    return output if output.dim() == 4 else output[:, :, None, None]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_prediction_and_learning_equal_the_reference(memory_format):
    layers, outputs = layers_and_outputs(memory_format)
    network = SharedNetwork(normalize=False, lr=1e-2, zero_start=False)
    network.bind(layers, Replicas())
    reference = reference_for(network, layers)
    optimizer = torch.optim.Adam(reference.parameters(), lr=1e-2)
    for step in range(5):
        for layer, output in zip(layers, outputs, strict=True):
            output = output.to(memory_format=memory_format) if output.dim() == 4 else output
            network.see(layer, output, output * (step + 1))
            layer.weight.grad = torch.randn_like(layer.weight)
        targets = [layer.matrix(layer.weight.grad).clone() for layer in layers]
        network.learn(layers, None, None)
        learn(reference, optimizer, [four_dimensional(output) * (step + 1) for output in outputs], targets)
    for ours, theirs in zip(parameters(network), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)

    for layer, output in zip(layers, outputs, strict=True):
        network.see(layer, output, output)
    network.predict(layers, None)
    for layer, output in zip(layers, outputs, strict=True):
        expected = reference(four_dimensional(output), layer.shape[1])
        torch.testing.assert_close(layer.matrix(layer.weight.grad), expected, rtol=1e-4, atol=1e-6)
        assert layer.weight.grad.stride() == layer.weight.stride()


def test_normalized_targets_are_gradients_over_their_running_scale():
    """A layer with gradients a million times larger learns as fast, and its predictions are a million times larger."""
    layers, outputs = layers_and_outputs(torch.contiguous_format)
    sizes = []
    for scale in (1.0, 1e6):
        network = SharedNetwork(lr=1e-2)
        network.bind(layers, Replicas())
        generator = torch.Generator().manual_seed(1)
        for _ in range(20):
            for layer, output in zip(layers, outputs, strict=True):
                network.see(layer, output, output)
                layer.weight.grad = scale * (1 + 0.1 * torch.randn(layer.weight.shape, generator=generator))
            network.learn(layers, None, None)
        for layer, output in zip(layers, outputs, strict=True):
            network.see(layer, output, output)
        network.predict(layers, None)
        sizes.append(torch.stack([layer.weight.grad.mean() for layer in layers]))
    torch.testing.assert_close(sizes[1], sizes[0] * 1e6, rtol=1e-3, atol=0.0)
    assert (sizes[0] > 0.3).all()  # it has learned the gradients' common part


def test_a_layer_never_trained_on_is_not_moved_by_noise():
    layers, outputs = layers_and_outputs(torch.contiguous_format)
    network = SharedNetwork()
    network.bind(layers, Replicas())
    network.see(layers[0], outputs[0], outputs[0])
    network.predict(layers[:1], None)
    assert layers[0].weight.grad.abs().max() == 0
    assert layers[1].weight.grad is None


def test_an_untrained_predictor_coasts_unless_it_starts_as_usual():
    layers, outputs = layers_and_outputs(torch.contiguous_format)
    for zero_start in (True, False):
        network = SharedNetwork(normalize=False, zero_start=zero_start)
        network.bind(layers, Replicas())
        for layer, output in zip(layers, outputs, strict=True):
            network.see(layer, output, output)
        network.predict(layers, None)
        assert all(bool((layer.weight.grad == 0).all()) == zero_start for layer in layers)


def test_the_gate_turns_an_uninformative_predictor_into_coasting():
    layers, outputs = layers_and_outputs(torch.contiguous_format)
    applied = {}
    for informative in (True, False):
        network = SharedNetwork(gate=True, lr=1e-2)
        network.bind(layers, Replicas())
        generator = torch.Generator().manual_seed(2)
        for step in range(200):
            for layer, output in zip(layers, outputs, strict=True):
                network.see(layer, output, output)
                sign = 1.0 if informative else (-1.0) ** step  # alternating: what was learned last is wrong now
                layer.weight.grad = sign * (1 + 0.1 * torch.randn(layer.weight.shape, generator=generator))
            network.learn(layers, None, None)
        for layer, output in zip(layers, outputs, strict=True):
            network.see(layer, output, output)
        network.predict(layers, None)
        applied[informative] = max(layer.weight.grad.norm() / layer.weight.numel() ** 0.5 for layer in layers)
    assert applied[True] > 0.5 and applied[False] < 0.1


@pytest.mark.parametrize("shape", [(5, 6, 7, 3), (5, 6, 1, 1), (1, 6, 4, 4)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_reorganization_of_a_convolution_is_the_batch_mean_by_channel(shape, memory_format):
    output = torch.randn(shape).to(memory_format=memory_format)
    torch.testing.assert_close(reorganize(output, "conv"), output.mean(0)[:, None], rtol=1e-5, atol=1e-6)


def test_reorganization_of_sequences_keeps_features_as_samples():
    output = torch.randn(4, 11, 6)  # (batch, time, features) of a Linear
    torch.testing.assert_close(reorganize(output, "linear"), output.mean(0).t()[:, None, :, None], rtol=1e-5, atol=1e-6)
    assert reorganize(torch.randn(4, 6, 11), "conv").shape == (6, 1, 1, 11)  # (batch, channels, length) of a Conv1d
