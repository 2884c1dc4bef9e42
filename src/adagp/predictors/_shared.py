"""The paper's predictor: one small network that answers for every layer, an output channel at a time."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._base import Layer, Mean, Needs, Score


def reorganize(output: Tensor, kind: str) -> Float[Tensor, "out_ch 1 h w"]:
    """Tensor reorganization: the mean over the batch of a layer's output, each output channel one sample.

    Args:
        output: (batch, out_ch, h, w) and (batch, out_ch, length) for 'conv'; (batch, ..., features) for 'linear', whose
            inner axes (time, say) are laid along the height.

    The mean is a matrix product over the tensor's memory as it lies: a mean over the first axis of a channels-last
    tensor walks memory in strides and was measured at fifty times the cost.
    """
    batch = output.shape[0]
    if kind == "linear":
        flat = output.reshape(batch, -1)
        mean = _batch_mean(flat).reshape(-1, output.shape[-1])  # (inner, features)
        return mean.t()[:, None, :, None]
    if output.dim() == 3:
        output = output[:, :, None, :]
    if output.is_contiguous(memory_format=torch.channels_last) and not output.is_contiguous():
        channels, height, width = output.shape[1:]
        flat = output.permute(0, 2, 3, 1).reshape(batch, -1)
        return _batch_mean(flat).reshape(height, width, channels).permute(2, 0, 1)[:, None]
    return _batch_mean(output.reshape(batch, -1)).reshape(output.shape[1:])[:, None]


def _batch_mean(flat: Float[Tensor, "batch rest"]) -> Float[Tensor, " rest"]:
    weights = flat.new_full((1, flat.shape[0]), 1 / flat.shape[0])
    return (weights @ flat)[0].float()


class SharedNetwork:
    """Pooling, one small convolution and one fully connected layer, shared by all layers of the model.

    A layer's output averaged over the batch gives out_ch samples of (1, h, w). Each is pooled to ``pool`` x ``pool``,
    convolved to ``channels`` maps with stride 2, and mapped to as many numbers as the largest layer has weights a
    channel; a smaller layer uses (and computes) the first of them only. The structure is the paper's as reported
    publicly; the sizes are our choice, since the paper's are not public.

    The network learns by Adam on the mean squared error, averaged over layers, whose gradients are written out here: no
    autograd graph over all layers is built.

    Its last layer starts at zero (our choice: the paper's initialization is not public), so that an untrained predictor coasts.
    With the usual initialization it starts as one fixed random direction, which Adam at 1e-4 takes thousands of steps to forget
    and which Phase GP would apply coherently, batch after batch.

    Args:
        pool: side of the pooled map; with ``channels`` it makes another ``PredictorSize``.
        channels: maps of the convolution.
        lr: Adam's learning rate (the paper's is recalled as 1e-4).
        normalize: train on gradients divided by their layer's running root mean square, and multiply predictions by
            it. Our choice: layers' gradients differ by orders of magnitude and raw targets train badly. False for the ablation.
        gate: scale what is applied by a running least-squares gain <pred, true> / <pred, pred>, never negative, so that
            an uninformative predictor turns into coasting. Ours; the paper has none.
        zero_start: whether the last layer starts at zero; False draws it as PyTorch draws a Linear layer: a control.
        seed: of the initial weights, drawn from a generator of their own: the model's random numbers are untouched.
    """

    needs = Needs()
    _decay = 0.9  # of the running root mean square and of the gate's sums: about ten batches

    def __init__(
        self,
        *,
        pool: int = PredictorSize.pool,
        channels: int = PredictorSize.channels,
        lr: float = 1e-4,
        normalize: bool = True,
        gate: bool = False,
        zero_start: bool = True,
        seed: int = 0,
    ) -> None:
        if lr <= 0:
            raise UsageError(f"shared-network option lr must be positive, got {lr}")
        self.size, self.lr = PredictorSize(pool=pool, channels=channels), lr
        self.normalize, self.gate, self.zero_start, self.seed = normalize, gate, zero_start, seed
        self.layers: Sequence[Layer] = ()

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers, self._mean = layers, mean
        device = layers[0].weight.device
        generator = torch.Generator().manual_seed(self.seed)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # the usual initialization of PyTorch's layers
            return (torch.rand(*shape, generator=generator) * 2 - 1).mul_(fan_in**-0.5).to(device).requires_grad_()

        size, longest = self.size, max(layer.shape[1] for layer in layers)
        self.conv_weight = uniform(size.channels, 1, size.kernel, size.kernel, fan_in=size.kernel**2)
        self.conv_bias = uniform(size.channels, fan_in=size.kernel**2)
        self.linear_weight = uniform(longest, size.features, fan_in=size.features)
        self.linear_bias = uniform(longest, fan_in=size.features)
        if self.zero_start:
            self.linear_weight.data.zero_()
            self.linear_bias.data.zero_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        count = len(layers)
        self.mean_square = torch.zeros(count, device=device)
        self.batches = torch.zeros(count, device=device)
        self.gain = torch.zeros(count, 2, device=device)  # running <pred, true>, <pred, pred>
        self.pooled: dict[int, tuple[Tensor, int]] = {}
        """What was seen: by layer, the mean over its uses of its pooled maps, and how many uses."""

    def parameters(self) -> list[Tensor]:
        """The network's weights."""
        return [self.conv_weight, self.conv_bias, self.linear_weight, self.linear_bias]

    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        kind = "linear" if isinstance(layer.module, torch.nn.Linear) else "conv"
        # As (out_ch, h, w): with a fourth axis of one channel its strides can look like channels-last, and the CUDA kernel for
        # those then reads beyond the tensor (seen with torch 2.11).
        pooled = F.adaptive_avg_pool2d(reorganize(output, kind)[:, 0].contiguous(), self.size.pool)[:, None]
        uses = 0
        if layer.index in self.pooled:  # a module used twice: the mean of its uses
            before, uses = self.pooled[layer.index]
            pooled = before + (pooled - before) / (uses + 1)
        self.pooled[layer.index] = pooled, uses + 1

    def forget(self) -> None:
        self.pooled = {}

    def _take_pooled(self) -> tuple[list[Layer], Tensor | None]:
        """The layers reached in this step and their pooled maps, one under the other."""
        reached = [self.layers[index] for index in sorted(self.pooled)]
        maps = [self.pooled[layer.index][0] for layer in reached]
        self.forget()
        return reached, self._mean(torch.cat(maps)) if maps else None

    def _hidden(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features"]:
        stride, padding = self.size.stride, self.size.kernel // 2
        return F.conv2d(maps, self.conv_weight, self.conv_bias, stride=stride, padding=padding).relu_().flatten(1)

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        reached, maps = self._take_pooled()
        if maps is None:
            return
        scale = self._scales(reached)
        for layer, hidden, factor in zip(reached, self._split(reached, self._hidden(maps)), scale, strict=True):
            gradient, matrix = layer.new_gradient()
            row = matrix.shape[1]
            bias, weight = self.linear_bias[:row] * factor, self.linear_weight[:row]
            # The scale goes onto the small factors of the product, so that the large result is written once.
            hidden = hidden * factor
            if matrix.dtype == hidden.dtype and matrix.is_contiguous():
                torch.addmm(bias, hidden, weight.t(), out=matrix)
            else:
                matrix = torch.addmm(bias, hidden, weight.t())
            layer.put(matrix, gradient)

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        reached, maps = self._take_pooled()
        if maps is None:
            return
        hidden_all = self._hidden(maps)
        into_hidden = torch.zeros_like(hidden_all)
        into_weight, into_bias = torch.zeros_like(self.linear_weight), torch.zeros_like(self.linear_bias)
        parts = zip(
            reached, self._split(reached, hidden_all), self._split(reached, into_hidden), self._scales(reached, gate=False),
            strict=True,
        )  # fmt: skip
        for layer, hidden, out, scale in parts:
            if layer.weight.grad is None:
                continue
            true = layer.matrix(layer.weight.grad).float()
            rows, row = true.shape
            weight, bias = self.linear_weight[:row], self.linear_bias[:row]
            if score is not None:
                score(layer, torch.addmm(bias * scale, hidden * scale, weight.t()), true)
            # The residual R = H W' + 1 b' - T / s is as large as the layer. Its products with H, 1 and W are all that
            # is needed, and expand into products of small matrices and three passes over T.
            seen, total = hidden.t() @ hidden, hidden.sum(0)
            across = true.t() @ hidden
            along = true.sum(0)
            if self.gate:
                both = (across * weight).sum() + along @ bias
                own = (seen * (weight.t() @ weight)).sum() + 2 * total @ (bias @ weight) + rows * bias @ bias
                self.gain[layer.index].lerp_(torch.stack([both * scale, own * scale**2]), 1 - self._decay)
            if self.normalize:
                scale = self._update_scale(layer, true)
            step = 2 / (rows * row * len(reached))  # d/dP of the mean over layers of mean((P - T)^2)
            into_weight[:row] += torch.addmm(torch.outer(bias, total), weight, seen).sub_(across / scale).mul_(step)
            into_bias[:row] += (weight @ total + rows * bias - along / scale).mul_(step)
            torch.mm(hidden, weight.t() @ weight, out=out)
            out.add_(bias @ weight).sub_((true @ weight).div_(scale)).mul_(step)
        self._update(maps, hidden_all, into_hidden, into_weight, into_bias)

    def _update(self, maps: Tensor, hidden: Tensor, into_hidden: Tensor, into_weight: Tensor, into_bias: Tensor) -> None:
        """Backpropagate through the rectifier and the convolution, then one step of Adam."""
        channels, kernel, stride, side = self.size.channels, self.size.kernel, self.size.stride, self.size.side
        inner = (into_hidden * (hidden > 0)).unflatten(1, (channels, side * side)).transpose(0, 1)
        # Views of the padded maps: F.unfold of thousands of small maps takes ten times as long.
        padded = F.pad(maps, (kernel // 2,) * 4)[:, 0]
        patches = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)[:, :side, :side]
        grads = (inner.reshape(channels, -1) @ patches.reshape(-1, kernel**2)).view(self.conv_weight.shape)
        for parameter, gradient in zip(self.parameters(), (grads, inner.sum((1, 2)), into_weight, into_bias), strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def _split(self, layers: Sequence[Layer], rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split([layer.shape[0] for layer in layers])

    def _update_scale(self, layer: Layer, true: Tensor) -> Tensor:
        """Running root mean square of the layer's gradients, corrected for its start at zero."""
        index = layer.index
        flat = true.reshape(-1)
        self.mean_square[index].lerp_(flat @ flat / flat.numel(), 1 - self._decay)  # a dot product makes no copy of its size
        self.batches[index] += 1
        return self.rms()[index]

    def rms(self) -> Float[Tensor, " layers"]:
        """Running root mean square of each layer's gradients, corrected for its start at zero."""
        corrected = self.mean_square / (1 - self._decay ** self.batches.clamp(min=1))
        return corrected.sqrt().clamp(min=1e-12)

    def _scales(self, layers: Sequence[Layer], gate: bool = True) -> list[Tensor]:
        """What a layer's raw prediction is multiplied by to become a gradient."""
        scale = torch.ones_like(self.mean_square)
        if self.normalize:
            scale = torch.where(self.batches > 0, self.rms(), 0.0)  # never trained on: no gradient to speak of
        if gate and self.gate:
            scale = scale * (self.gain[:, 0] / self.gain[:, 1].clamp(min=1e-30)).clamp(min=0)
        return [scale[layer.index] for layer in layers]

    def state_dict(self) -> dict:
        state = {"parameters": [p.detach().clone() for p in self.parameters()], "optimizer": self.optimizer.state_dict()}
        state |= {name: getattr(self, name).clone() for name in ("mean_square", "batches", "gain")}
        return state | {"pooled": {index: (maps.clone(), uses) for index, (maps, uses) in self.pooled.items()}}

    def load_state_dict(self, state: dict) -> None:
        for parameter, value in zip(self.parameters(), state["parameters"], strict=True):
            if parameter.shape != value.shape:
                raise UsageError(
                    f"this state is of a predictor with weights {tuple(value.shape)}, expected {tuple(parameter.shape)}; "
                    "load it into an engine around the same model with the same options"
                )
            parameter.data.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("mean_square", "batches", "gain"):
            getattr(self, name).copy_(state[name])
        device = self.mean_square.device
        self.pooled = {index: (maps.to(device), uses) for index, (maps, uses) in state["pooled"].items()}


class Shuffled:
    """The shared network fed the activations of the step before: a control. It keeps the statistics of real activations
    and takes away what belongs to this batch.

    Args:
        options: as for ``SharedNetwork``.
    """

    needs = Needs()

    def __init__(self, **options: Any) -> None:
        self.network = SharedNetwork(**options)

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.network.bind(layers, mean)
        self._before: dict[int, Tensor] = {}

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self.network.see(layer, inputs, output)

    def _exchange(self) -> None:
        """Give the network what was seen in the step before, and keep what was seen in this one."""
        now = {index: maps for index, (maps, _) in self.network.pooled.items()}
        self.network.pooled = {index: (self._before.get(index, maps), 1) for index, maps in now.items()}
        self._before = now

    def learn(self, score: Score | None, error: Tensor | None) -> None:
        self._exchange()
        self.network.learn(score, error)

    def predict(self, error: Tensor | None) -> None:
        self._exchange()
        self.network.predict(error)

    def forget(self) -> None:
        self.network.forget()

    def num_parameters(self) -> int:
        return self.network.num_parameters()

    def state_dict(self) -> dict:
        before = {index: maps.clone() for index, maps in self._before.items()}
        return {"network": self.network.state_dict(), "before": before}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        device = self.network.mean_square.device
        self._before = {index: maps.to(device) for index, maps in state["before"].items()}
