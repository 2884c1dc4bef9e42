"""The paper's predictor: one small network that answers for every layer, an output channel at a time."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .._errors import UsageError
from .._work import GPWork, PredictorSize
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named
from ._layer import Layer


def reorganize(output: Tensor, kind: str) -> Float[Tensor, "out_ch 1 h w"]:
    """Tensor reorganization: the mean over the batch of a layer's output, each output channel one sample.

    Args:
        output: (batch, out_ch, h, w), (batch, out_ch, length) and (batch, out_ch, d, h, w) for 'conv', the depth laid along
            the height; (batch, ..., features) for 'linear', whose inner axes (time, say) are laid along the height.

    The mean is taken over the tensor's memory as it lies, on a CPU by a matrix product: a mean over the first axis of a
    channels-last tensor walks memory in strides there and was measured at fifty times the cost.
    """
    batch = output.shape[0]
    if kind == "linear":
        flat = output.reshape(batch, -1)
        mean = _batch_mean(flat).reshape(-1, output.shape[-1])  # (inner, features)
        return mean.t()[:, None, :, None]
    if output.dim() == 3:
        output = output[:, :, None, :]
    if output.dim() == 5:
        output = output.flatten(2, 3)
    if output.is_contiguous(memory_format=torch.channels_last) and not output.is_contiguous():
        channels, height, width = output.shape[1:]
        flat = output.permute(0, 2, 3, 1).reshape(batch, -1)
        return _batch_mean(flat).reshape(height, width, channels).permute(2, 0, 1)[:, None]
    return _batch_mean(output.reshape(batch, -1)).reshape(output.shape[1:])[:, None]


def _batch_mean(flat: Float[Tensor, "batch rest"]) -> Float[Tensor, " rest"]:
    if flat.device.type != "cpu":
        return flat.mean(0, dtype=torch.float32)
    weights = flat.new_full((1, flat.shape[0]), 1 / flat.shape[0])
    return (weights @ flat)[0].float()


_USES = 16
"""Uses of a layer in a step that are looked at: of a recurrent one's hundreds, more cost more than they tell (our choice)."""


class SharedNetwork(GradientPredictor):
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

    needs = Needs(sharded=True)
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
        self.work = GPWork(predictor=self.size)
        self.normalize, self.gate, self.zero_start, self.seed = normalize, gate, zero_start, seed
        self.layers: Sequence[Layer] = ()
        self.pooled: dict[Layer, tuple[Tensor, int]] = {}
        """What was seen: by layer, the mean over its uses of its pooled maps, and how many uses."""
        self._by_rows: dict[Layer, tuple[Tensor, Tensor]] = {}  # of weights handed to functions: sums of maps, uses of each row

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        before, self.layers, self._replicas = self.layers, layers, replicas
        device = layers[0].weight.device
        elsewhere = next((layer for layer in layers if layer.weight.device != device), None)
        if elsewhere is not None:
            raise UsageError(
                f"shared-network predicts for layers on one device, got {device} and, for {elsewhere.name}, "
                f"{elsewhere.weight.device}; choose another predictor, such as 'ema'"
            )
        self._sharded = any(layer.sharded for layer in layers)
        if self._sharded and not all(layer.sharded for layer in layers):
            raise UsageError("shared-network takes weights that are all sharded by fully_shard, or none; shard the whole model")
        longest = max(layer.shape[1] for layer in layers)
        if not before:
            self._initialize(longest, device)
        elif longest > len(self.linear):
            self._lengthen(longest)
        self._here = {layer: layer.rows.stop - layer.rows.start for layer in layers}  # rows of this process
        sizes = [layer.shape[0] * layer.shape[1] for layer in layers]
        self._weights = torch.tensor(sizes, dtype=torch.float32, device=device)
        self._reached: tuple[tuple[Layer, ...], Tensor, Tensor] = (), torch.empty(0), torch.empty(0)  # see ``_places``
        self._arrange(before)

    def _initialize(self, longest: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(self.seed)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # the usual initialization of PyTorch's layers
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu")
            return (drawn * 2 - 1).mul_(fan_in**-0.5).to(device).requires_grad_()

        size = self.size
        self.conv_weight = uniform(size.channels, 1, size.kernel, size.kernel, fan_in=size.kernel**2)
        self.conv_bias = uniform(size.channels, fan_in=size.kernel**2)
        weight, bias = uniform(longest, size.features, fan_in=size.features), uniform(longest, fan_in=size.features)
        # One matrix, the bias its last column: of many small tensors an accelerator would spend its time on launches.
        self.linear = torch.cat([weight, bias[:, None]], 1).detach().requires_grad_()
        if self.zero_start:
            self.linear.data.zero_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        self.mean_square, self.batches, self.gain = torch.empty(0), torch.empty(0), torch.empty(0)

    def _lengthen(self, longest: int) -> None:
        """Give the fully connected layer zero rows, for layers longer than those it began with."""

        def grown(tensor: Tensor) -> Tensor:
            return F.pad(tensor, (0, 0, 0, longest - len(tensor)))

        state = self.optimizer.state_dict()
        self.linear = grown(self.linear.detach()).requires_grad_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        last = state["state"].get(2, {})  # the third of ``parameters``
        last.update({name: grown(last[name]) for name in ("exp_avg", "exp_avg_sq") if name in last})
        self.optimizer.load_state_dict(state)

    def _arrange(self, before: Sequence[Layer]) -> None:
        """Order the running figures as the layers are now; those of new layers begin at zero."""
        at = {layer: position for position, layer in enumerate(before)}
        new, old = [layer.index for layer in self.layers if layer in at], [at[layer] for layer in self.layers if layer in at]
        device, count = self.layers[0].weight.device, len(self.layers)
        figures = {"mean_square": (count,), "batches": (count,), "gain": (count, 2)}  # gain: running <pred, true>, <pred, pred>
        for name, shape in figures.items():
            value = torch.zeros(shape, dtype=torch.float32, device=device)
            if old:
                value[new] = getattr(self, name)[old]
            setattr(self, name, value)

    def parameters(self) -> list[Tensor]:
        """Return the network's weights; none before it knows the layers."""
        if not self.layers:
            return []
        return [self.conv_weight, self.conv_bias, self.linear]

    @property
    def linear_weight(self) -> Float[Tensor, "longest features"]:
        """Of the fully connected layer."""
        return self.linear.detach()[:, :-1]

    @property
    def linear_bias(self) -> Float[Tensor, " longest"]:
        """Of the fully connected layer."""
        return self.linear.detach()[:, -1]

    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        if rows is not None:
            self._see_rows(layer, output, rows)
            return
        if layer in self.pooled and self.pooled[layer][1] >= _USES:
            return
        kind = "conv" if layer.kind.axis == 1 and output.dim() > 2 else "linear"
        # As (out_ch, h, w): with a fourth axis of one channel its strides can look like channels-last, and the CUDA kernel for
        # those then reads beyond the tensor (seen with torch 2.11).
        pooled = F.adaptive_avg_pool2d(reorganize(output, kind)[:, 0].contiguous(), self.size.pool)[:, None]
        uses = 0
        if layer in self.pooled:  # a module used twice: the mean of its uses
            before, uses = self.pooled[layer]
            pooled = before + (pooled - before) / (uses + 1)
        self.pooled[layer] = pooled, uses + 1

    def _see_rows(self, layer: Layer, output: Float[Tensor, "positions rows"], rows: slice) -> None:
        """Where a weight is handed to a function it is not known which axis was the batch: one mean over all positions."""
        if layer not in self._by_rows:
            maps = torch.zeros(layer.shape[0], 1, self.size.pool, self.size.pool, device=output.device, dtype=torch.float32)
            self._by_rows[layer] = maps, maps.new_zeros(layer.shape[0], 1, 1, 1)
        maps, uses = self._by_rows[layer]
        maps[rows] += _batch_mean(output)[:, None, None, None]
        uses[rows] += 1

    def gather(self) -> dict[Layer, tuple[Tensor, int]]:
        """Return what was seen, by layer, as in ``pooled``, and forget it."""
        seen = self.pooled | {layer: (maps / uses.clamp(min=1), 1) for layer, (maps, uses) in self._by_rows.items()}
        self.forget()
        return seen

    def forget(self) -> None:
        self.pooled, self._by_rows = {}, {}

    def _take_pooled(self, layers: Sequence[Layer]) -> tuple[list[Layer], Tensor | None]:
        """The layers of which something was seen, and their pooled maps, one under the other: the rows of this process.

        With replicas these are all ``layers``: of one that another replica ran, the mean over those that ran it.
        """
        seen = self.gather()
        reached = [layer for layer in layers if layer in seen or not self._replicas.alone]
        if not reached:
            return [], None
        if self._replicas.alone:
            return reached, torch.cat([seen[layer][0] for layer in reached])
        pool, device = self.size.pool, self.mean_square.device
        none = torch.zeros(max(layer.shape[0] for layer in reached), 1, pool, pool, device=device, dtype=torch.float32)
        maps = torch.cat([seen[layer][0] if layer in seen else none[: layer.shape[0]] for layer in reached])
        here = torch.tensor([float(layer in seen) for layer in reached], dtype=torch.float32, device=device)
        both = self._replicas.mean(torch.cat([maps.flatten(), here]))
        share = both[-len(reached) :].clamp(min=1e-30)
        maps = both[: -len(reached)].view(maps.shape)
        parts = maps.split([layer.shape[0] for layer in reached])
        return reached, torch.cat([part[layer.rows] / own for layer, part, own in zip(reached, parts, share, strict=True)])

    def hidden(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features"]:
        """Return what the fully connected layer takes, from pooled maps."""
        stride, padding = self.size.stride, self.size.kernel // 2
        return F.conv2d(maps, self.conv_weight, self.conv_bias, stride=stride, padding=padding).relu_().flatten(1)

    def _features(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features_and_one"]:
        """The inputs of the fully connected layer, and a last column of ones, which its bias is for."""
        return F.pad(self.hidden(maps), (0, 1), value=1.0)

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        reached, maps = self._take_pooled(layers)
        for layer in set(layers).difference(reached):
            layer.put_zero()
        if maps is None:
            return
        # The scale goes onto the small factor of the product, so that the large result is written once.
        # Where a forward pass overflowed there is nothing to predict from: those rows coast.
        scaled = self._features(maps).nan_to_num_(0.0, 0.0, 0.0) * self._by_row(reached, self.scales())
        for layer, features in zip(reached, self._split(reached, scaled), strict=True):
            gradient, matrix = layer.new_gradient()
            linear = self.linear[: matrix.shape[1]]
            if matrix.dtype == features.dtype and matrix.is_contiguous():
                torch.mm(features, linear.t(), out=matrix)
            else:
                matrix = features @ linear.t()
            layer.put(matrix, gradient)

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        reached, maps = self._take_pooled(layers)
        if maps is None:
            return
        features = self._features(maps)
        if score is not None:
            scaled = features * self._by_row(reached, self.scales(gate=False))
            for layer, own in zip(reached, self._split(reached, scaled), strict=True):
                score(layer, own @ self.linear[: layer.shape[1]].t(), self._true(layer))
        if self.gate:
            self._update_gain(reached, features)
        if self.normalize:
            self._update_scale(reached)
        # With features H and the layer's rows W of ``linear``, the residual R = H W' - T / s is as large as the layer. The
        # gradients R' H and R W are all that is needed, and expand into products of small matrices and two passes over T.
        step = self._by_row(reached, 2 / (len(reached) * self._weights))  # d/dP of the mean over layers of mean((P - T)^2)
        against = step / self._by_row(reached, self.scales(gate=False))
        into, through, back = torch.zeros_like(self.linear), torch.empty_like(features), torch.empty_like(features)
        parts = (self._split(reached, rows) for rows in (features, features * step, features * against, through, back))
        for layer, own, stepped, opposed, product, target in zip(reached, *parts, strict=True):
            true, linear = self._true(layer), self.linear[: layer.shape[1]]
            into[: layer.shape[1]].addmm_(linear, own.t() @ stepped).addmm_(true.t(), opposed, alpha=-1)
            torch.mm(own, linear.t() @ linear, out=product)
            torch.mm(true, linear, out=target)
        if self._sharded:
            self._replicas.sum(into)
        into_hidden = (through * step).addcmul_(back, against, value=-1)[:, :-1]
        fine = into.isfinite().all()  # a gradient that is not finite, which some optimizers skip, teaches nothing
        self._update(maps, features[:, :-1], into_hidden, into, fine)

    def _update(self, maps: Tensor, hidden: Tensor, into_hidden: Tensor, into_linear: Tensor, fine: Tensor) -> None:
        """Backpropagate through the rectifier and the convolution, then one step of Adam."""
        channels, kernel, stride, side = self.size.channels, self.size.kernel, self.size.stride, self.size.side
        inner = (into_hidden * (hidden > 0)).unflatten(1, (channels, side * side)).transpose(0, 1)
        # Views of the padded maps: F.unfold of thousands of small maps takes ten times as long.
        padded = F.pad(maps, (kernel // 2,) * 4)[:, 0]
        patches = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)[:, :side, :side]
        grads = (inner.reshape(channels, -1) @ patches.reshape(-1, kernel**2)).view(self.conv_weight.shape)
        into_bias = inner.sum((1, 2))
        if self._sharded:
            self._replicas.sum(grads), self._replicas.sum(into_bias)
        for parameter, gradient in zip(self.parameters(), (grads, into_bias, into_linear), strict=True):
            parameter.grad = torch.where(fine, gradient, 0.0)
        self.optimizer.step()

    def _true(self, layer: Layer) -> Float[Tensor, "out_ch row"]:
        assert layer.weight.grad is not None
        return layer.matrix(layer.weight.grad).float()

    def _split(self, layers: Sequence[Layer], rows: Tensor) -> tuple[Tensor, ...]:
        return rows.split([self._here[layer] for layer in layers])

    def _by_row(self, layers: Sequence[Layer], values: Float[Tensor, " all_layers"]) -> Float[Tensor, "rows 1"]:
        """A number a layer as one a row, for the rows of these layers' maps one under the other."""
        return values[self._places(layers)[0]][:, None]

    def _places(self, layers: Sequence[Layer]) -> tuple[Int[Tensor, " rows"], Int[Tensor, " layers"]]:
        """The index of the layer that each row belongs to, and those of the layers."""
        reached = tuple(layers)
        if reached != self._reached[0]:  # seldom, since it waits for the device
            device = self.mean_square.device
            indices = torch.tensor([layer.index for layer in layers])
            owners = indices.repeat_interleave(torch.tensor([self._here[layer] for layer in layers]))
            self._reached = reached, owners.to(device), indices.to(device)
        return self._reached[1:]

    def _update_gain(self, reached: Sequence[Layer], features: Tensor) -> None:
        """Running <pred, true> and <pred, pred>, from products of small matrices."""
        scales = self.scales(gate=False)
        for layer, own in zip(reached, self._split(reached, features), strict=True):
            linear, scale = self.linear[: layer.shape[1]], scales[layer.index]
            both = ((self._true(layer).t() @ own) * linear).sum()
            size = ((own.t() @ own) * (linear.t() @ linear)).sum()
            found = torch.stack([both * scale, size * scale**2])
            found = self._replicas.sum(found) if self._sharded else found
            found = torch.where(found.isfinite().all(), found, self.gain[layer.index])
            self.gain[layer.index].lerp_(found, 1 - self._decay)

    def _update_scale(self, reached: Sequence[Layer]) -> None:
        """Running root mean square of the layers' gradients, corrected for its start at zero."""
        squares, here = torch.zeros_like(self.mean_square), torch.zeros_like(self.mean_square)
        for layer in reached:
            flat = self._true(layer).reshape(-1)
            torch.dot(flat, flat, out=squares[layer.index])  # makes no copy of the layer's size
        if self._sharded:
            self._replicas.sum(squares)
        here[self._places(reached)[1]] = 1.0
        here *= squares.isfinite()
        squares = squares.nan_to_num_(0.0, 0.0, 0.0)
        self.mean_square.lerp_(squares / self._weights, (1 - self._decay) * here)
        self.batches += here

    def rms(self) -> Float[Tensor, " layers"]:
        """Running root mean square of each layer's gradients, corrected for its start at zero."""
        corrected = self.mean_square / (1 - self._decay ** self.batches.clamp(min=1))
        return corrected.sqrt().clamp(min=1e-12)

    def scales(self, gate: bool = True) -> Float[Tensor, " layers"]:
        """What a layer's raw prediction is multiplied by to become a gradient."""
        scale = torch.ones_like(self.mean_square)
        if self.normalize:
            scale = torch.where(self.batches > 0, self.rms(), 0.0)  # never trained on: no gradient to speak of
        if gate and self.gate:
            scale = scale * (self.gain[:, 0] / self.gain[:, 1].clamp(min=1e-30)).clamp(min=0)
        return scale

    def state_dict(self) -> dict:
        # Copies, since an optimizer's state is handed out as it is and trains on.
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        state = {"parameters": [p.detach().clone() for p in self.parameters()], "optimizer": optimizer}
        state |= {name: getattr(self, name).clone() for name in ("mean_square", "batches", "gain")}
        seen = {layer: (maps.clone(), uses) for layer, (maps, uses) in self.pooled.items()}
        by_rows = {layer: (maps.clone(), uses.clone()) for layer, (maps, uses) in self._by_rows.items()}
        return state | {"layers": [x.name for x in self.layers], "pooled": named(seen), "by_rows": named(by_rows)}

    def load_state_dict(self, state: dict) -> None:
        longer = len(state["parameters"][2]) - len(self.linear)
        if longer > 0:  # its longest layer is gone meanwhile
            self._lengthen(len(self.linear) + longer)
        for parameter, value in zip(self.parameters(), state["parameters"], strict=True):
            if parameter.shape != value.shape:
                raise UsageError(
                    f"this state is of a predictor with weights {tuple(value.shape)}, expected {tuple(parameter.shape)}; "
                    "load it into an engine around the same model with the same options"
                )
            parameter.data.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        theirs = {name: position for position, name in enumerate(state["layers"])}
        mine = [layer for layer in self.layers if layer.name in theirs]
        here, there = [layer.index for layer in mine], [theirs[layer.name] for layer in mine]
        for name in ("mean_square", "batches", "gain"):
            value = getattr(self, name).zero_()
            value[here] = state[name][there].to(value.device)
        device = self.mean_square.device
        self.pooled = {
            layer: (maps.to(device), uses) for layer, (maps, uses) in by_layer(self.layers, state["pooled"]).items()
        }
        self._by_rows = {
            layer: (maps.to(device), uses.to(device)) for layer, (maps, uses) in by_layer(self.layers, state["by_rows"]).items()
        }


class Shuffled(GradientPredictor):
    """The shared network fed the activations of the step before: a control. It keeps the statistics of real activations
    and takes away what belongs to this batch.

    Args:
        options: as for ``SharedNetwork``.
    """

    def __init__(self, **options: Any) -> None:
        self.network = SharedNetwork(**options)
        self.work = self.network.work
        self._before: dict[Layer, Tensor] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.network.bind(layers, replicas)

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self.network.see(layer, inputs, output, rows)

    def _exchange(self) -> None:
        """Give the network what was seen in the step before, and keep what was seen in this one."""
        now = {layer: maps for layer, (maps, _) in self.network.gather().items()}
        self.network.pooled = {layer: (self._before.get(layer, maps), 1) for layer, maps in now.items()}
        self._before = now

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        self._exchange()
        self.network.learn(layers, score, error)

    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        self._exchange()
        self.network.predict(layers, error)

    def forget(self) -> None:
        self.network.forget()

    def num_parameters(self) -> int:
        return self.network.num_parameters()

    def state_dict(self) -> dict:
        before = {layer: maps.clone() for layer, maps in self._before.items()}
        return {"network": self.network.state_dict(), "before": named(before)}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        device = self.network.mean_square.device
        self._before = {k: maps.to(device) for k, maps in by_layer(self.network.layers, state["before"]).items()}
