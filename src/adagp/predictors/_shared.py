"""The paper's predictor: one small network that predicts for all layers, one output channel at a time."""

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
    """Return the mean over the batch of a layer's output, with each output channel as one sample (tensor reorganization).

    The mean is taken in the order of the tensor's memory, on a CPU by a matrix product. A mean over the first axis of a
    channels-last tensor strides through memory there, and was measured at fifty times the cost.

    Args:
        output: for kind 'conv' (batch, out_ch, h, w), (batch, out_ch, length) or (batch, out_ch, d, h, w), whose depth is
            laid along the height; for kind 'linear' (batch, ..., features), whose inner axes (time, say) are laid along the
            height.
        kind: 'conv' or 'linear'.
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
"""Largest number of uses of a layer that are averaged in one step. A recurrent layer has hundreds, and using more of them costs
more than it informs (our choice)."""


class SharedNetwork(GradientPredictor):
    """The paper's predictor: pooling, one small convolution and one fully connected layer, shared by all layers of the model.

    A layer's output, averaged over the batch, gives out_ch samples of (1, h, w). Each sample is pooled to ``pool`` x ``pool``,
    convolved to ``channels`` maps with stride 2, and mapped to as many numbers as the largest layer has weights per output
    channel. A smaller layer uses (and computes) only the first of these numbers. The structure is the paper's, as reported
    publicly. The sizes are our choice, since the paper's are not public.

    The network learns by Adam on the mean squared error, averaged over layers. Its gradients are written out here, so no
    autograd graph over all layers is built.

    Its last layer starts at zero, so that an untrained predictor coasts (our choice: the paper's initialization is not public).
    With PyTorch's usual initialization its predictions start as one fixed random direction. Phase GP would apply this direction
    coherently, batch after batch, and Adam at 1e-4 takes thousands of steps to forget it.

    Args:
        pool: side of the pooled map; with ``channels`` it makes another ``PredictorSize``.
        channels: maps of the convolution.
        lr: Adam's learning rate (the paper's is recalled as 1e-4).
        normalize: divide the true gradients by their layer's running root mean square for learning, and multiply predictions by
            it. Our choice: gradients of different layers differ by orders of magnitude, and raw targets train badly. False is
            the ablation.
        gate: multiply predictions by a running least-squares gain <pred, true> / <pred, pred>, which is never negative. An
            uninformative predictor then coasts. The gate is ours; the paper has none.
        zero_start: whether the last layer starts at zero. False draws it as PyTorch draws a Linear layer, as a control.
        seed: seed of the initial weights. They are drawn from a generator of their own, so the model's random numbers stay the
            same.
    """

    needs = Needs(sharded=True)
    _decay = 0.9  # of the running root mean square and of the gate's sums: an average over about ten batches

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
        """For each layer seen in this step: its pooled maps, averaged over its uses, and the number of uses."""
        # The same for weights that the model hands to functions: sums of the maps, and the number of uses of each row.
        self._by_rows: dict[Layer, tuple[Tensor, Tensor]] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        before, self.layers, self._replicas = self.layers, layers, replicas
        device = layers[0].weight.device
        elsewhere = next((layer for layer in layers if layer.weight.device != device), None)
        if elsewhere is not None:
            raise UsageError(
                f"shared-network predicts for layers on one device, got {device} and, for {elsewhere.name}, "
                f"{elsewhere.weight.device}; use another predictor, such as 'ema'"
            )
        self._sharded = any(layer.sharded for layer in layers)
        if self._sharded and not all(layer.sharded for layer in layers):
            raise UsageError("shared-network takes weights that are all sharded by fully_shard, or none; shard the whole model")
        longest = max(layer.shape[1] for layer in layers)
        if not before:
            self._initialize(longest, device)
        elif longest > len(self.linear):
            self._lengthen(longest)
        self._row_counts = {layer: layer.rows.stop - layer.rows.start for layer in layers}  # rows that this process holds
        sizes = [layer.shape[0] * layer.shape[1] for layer in layers]
        self._weights = torch.tensor(sizes, dtype=torch.float32, device=device)
        self._last_indices: tuple[tuple[Layer, ...], Tensor, Tensor] = (), torch.empty(0), torch.empty(0)  # see ``_indices``
        self._arrange(before)

    def _initialize(self, longest: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(self.seed)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # PyTorch's usual initialization of a layer
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu")
            return (drawn * 2 - 1).mul_(fan_in**-0.5).to(device).requires_grad_()

        size = self.size
        self.conv_weight = uniform(size.channels, 1, size.kernel, size.kernel, fan_in=size.kernel**2)
        self.conv_bias = uniform(size.channels, fan_in=size.kernel**2)
        weight, bias = uniform(longest, size.features, fan_in=size.features), uniform(longest, fan_in=size.features)
        # One matrix with the bias as its last column: with many small tensors, an accelerator spends its time on launches.
        self.linear = torch.cat([weight, bias[:, None]], 1).detach().requires_grad_()
        if self.zero_start:
            self.linear.data.zero_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        self.mean_square, self.batches, self.gain = torch.empty(0), torch.empty(0), torch.empty(0)

    def _lengthen(self, longest: int) -> None:
        """Add zero rows to the fully connected layer, for layers with longer rows than those it was made for."""

        def padded(tensor: Tensor) -> Tensor:
            return F.pad(tensor, (0, 0, 0, longest - len(tensor)))

        state = self.optimizer.state_dict()
        self.linear = padded(self.linear.detach()).requires_grad_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        moments = state["state"].get(2, {})  # of ``linear``, the third of ``parameters``
        moments.update({name: padded(moments[name]) for name in ("exp_avg", "exp_avg_sq") if name in moments})
        self.optimizer.load_state_dict(state)

    def _arrange(self, before: Sequence[Layer]) -> None:
        """Reorder the running statistics from the layers ``before`` to the current ones; those of new layers start at zero."""
        positions = {layer: position for position, layer in enumerate(before)}
        known = [layer for layer in self.layers if layer in positions]
        new, old = [layer.index for layer in known], [positions[layer] for layer in known]
        device, count = self.layers[0].weight.device, len(self.layers)
        # The two columns of gain are running means of <pred, true> and <pred, pred>.
        statistics = {"mean_square": (count,), "batches": (count,), "gain": (count, 2)}
        for name, shape in statistics.items():
            value = torch.zeros(shape, dtype=torch.float32, device=device)
            if old:
                value[new] = getattr(self, name)[old]
            setattr(self, name, value)

    def parameters(self) -> list[Tensor]:
        """Return the network's weights; an empty list before ``bind``."""
        if not self.layers:
            return []
        return [self.conv_weight, self.conv_bias, self.linear]

    @property
    def linear_weight(self) -> Float[Tensor, "longest features"]:
        """Weight of the fully connected layer."""
        return self.linear.detach()[:, :-1]

    @property
    def linear_bias(self) -> Float[Tensor, " longest"]:
        """Bias of the fully connected layer."""
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
        # Pool it as (out_ch, h, w). With a fourth axis for one channel its strides can look like channels-last, and the CUDA
        # kernel for that format then reads beyond the tensor (seen with torch 2.11).
        pooled = F.adaptive_avg_pool2d(reorganize(output, kind)[:, 0].contiguous(), self.size.pool)[:, None]
        uses = 0
        if layer in self.pooled:  # a module that is used twice gets the mean over its uses
            before, uses = self.pooled[layer]
            pooled = before + (pooled - before) / (uses + 1)
        self.pooled[layer] = pooled, uses + 1

    def _see_rows(self, layer: Layer, output: Float[Tensor, "positions rows"], rows: slice) -> None:
        """Record a use of some rows by a function. Its batch axis is not known, so the mean is taken over all positions."""
        if layer not in self._by_rows:
            maps = torch.zeros(layer.shape[0], 1, self.size.pool, self.size.pool, device=output.device, dtype=torch.float32)
            self._by_rows[layer] = maps, maps.new_zeros(layer.shape[0], 1, 1, 1)
        maps, uses = self._by_rows[layer]
        maps[rows] += _batch_mean(output)[:, None, None, None]
        uses[rows] += 1

    def gather(self) -> dict[Layer, tuple[Tensor, int]]:
        """Return what was seen in this step, in the form of ``pooled``, and drop it."""
        seen = self.pooled | {layer: (maps / uses.clamp(min=1), 1) for layer, (maps, uses) in self._by_rows.items()}
        self.forget()
        return seen

    def forget(self) -> None:
        self.pooled, self._by_rows = {}, {}

    def _take_pooled(self, layers: Sequence[Layer]) -> tuple[list[Layer], Tensor | None]:
        """Return the layers that were seen, and their pooled maps (rows, 1, pool, pool), stacked layer by layer.

        The rows are those that this process holds. With replicas, all ``layers`` are returned, and the maps of each are the
        mean over the replicas that ran it.
        """
        seen = self.gather()
        reached = [layer for layer in layers if layer in seen or not self._replicas.alone]
        if not reached:
            return [], None
        if self._replicas.alone:
            return reached, torch.cat([seen[layer][0] for layer in reached])
        pool, device = self.size.pool, self.mean_square.device
        zeros = torch.zeros(max(layer.shape[0] for layer in reached), 1, pool, pool, device=device, dtype=torch.float32)
        maps = torch.cat([seen[layer][0] if layer in seen else zeros[: layer.shape[0]] for layer in reached])
        here = torch.tensor([float(layer in seen) for layer in reached], dtype=torch.float32, device=device)
        # One exchange for the maps and for the flags, whose mean is the share of replicas that ran each layer.
        both = self._replicas.mean(torch.cat([maps.flatten(), here]))
        shares = both[-len(reached) :].clamp(min=1e-30)
        maps = both[: -len(reached)].view(maps.shape)
        parts = maps.split([layer.shape[0] for layer in reached])
        return reached, torch.cat([part[layer.rows] / ran for layer, part, ran in zip(reached, parts, shares, strict=True)])

    def hidden(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features"]:
        """Return what the fully connected layer takes, from pooled maps."""
        stride, padding = self.size.stride, self.size.kernel // 2
        return F.conv2d(maps, self.conv_weight, self.conv_bias, stride=stride, padding=padding).relu_().flatten(1)

    def _features(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features_and_one"]:
        """Return the inputs of the fully connected layer, with a last column of ones for its bias."""
        return F.pad(self.hidden(maps), (0, 1), value=1.0)

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        reached, maps = self._take_pooled(layers)
        for layer in set(layers).difference(reached):
            layer.put_zero()
        if maps is None:
            return
        # Scale the small factor of the product, so that the large result is written only once.
        # Rows whose forward pass overflowed get a zero gradient, since there is nothing to predict from.
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
            for layer, part in zip(reached, self._split(reached, scaled), strict=True):
                score(layer, part @ self.linear[: layer.shape[1]].t(), self._true(layer))
        if self.gate:
            self._update_gain(reached, features)
        if self.normalize:
            self._update_scale(reached)
        linear_gradient, features_gradient = self._loss_gradients(reached, features)
        # A gradient that is not finite, which some optimizers skip, must not change the network.
        finite = linear_gradient.isfinite().all()
        self._update(maps, features[:, :-1], features_gradient, linear_gradient, finite)

    def _loss_gradients(self, reached: Sequence[Layer], features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of the loss with respect to ``linear`` and to the features without their column of ones.

        The loss is the mean over layers of mean((P - T / s)^2). The prediction P = H W' is the product of a layer's features H
        and its rows W of ``linear``. T is its true gradient and s its scale. So dL/dP = slope (P - T / s), with slope = 2 /
        (layers * weights of the layer). This matrix is as large as the layer and is not built. Instead, the two gradients are
        expanded into products of small matrices and two passes over T:

            dL/dW = (dL/dP)' H = W (H' slope H) - T' (slope / s) H
            dL/dH = (dL/dP) W = slope H (W' W) - (slope / s) T W
        """
        slope = self._by_row(reached, 2 / (len(reached) * self._weights))
        slope_by_scale = slope / self._by_row(reached, self.scales(gate=False))
        linear_gradient = torch.zeros_like(self.linear)
        hww, tw = torch.empty_like(features), torch.empty_like(features)  # H (W' W) and T W of all layers
        stacked = (features, features * slope, features * slope_by_scale, hww, tw)
        parts = (self._split(reached, rows) for rows in stacked)
        for layer, h, slope_h, slope_h_by_scale, hww_part, tw_part in zip(reached, *parts, strict=True):
            true, w = self._true(layer), self.linear[: layer.shape[1]]
            linear_gradient[: layer.shape[1]].addmm_(w, h.t() @ slope_h).addmm_(true.t(), slope_h_by_scale, alpha=-1)
            torch.mm(h, w.t() @ w, out=hww_part)
            torch.mm(true, w, out=tw_part)
        if self._sharded:
            self._replicas.sum(linear_gradient)
        return linear_gradient, (hww * slope).addcmul_(tw, slope_by_scale, value=-1)[:, :-1]

    def _update(
        self, maps: Tensor, hidden: Tensor, hidden_gradient: Tensor, linear_gradient: Tensor, finite: Tensor
    ) -> None:
        """Backpropagate through ReLU and convolution, then make one step of Adam; with zero gradients unless ``finite``."""
        channels, kernel, stride, side = self.size.channels, self.size.kernel, self.size.stride, self.size.side
        output_gradient = (hidden_gradient * (hidden > 0)).unflatten(1, (channels, side * side)).transpose(0, 1)
        # Use views of the padded maps: F.unfold of thousands of small maps takes ten times as long.
        padded = F.pad(maps, (kernel // 2,) * 4)[:, 0]
        patches = padded.unfold(1, kernel, stride).unfold(2, kernel, stride)[:, :side, :side]
        conv_gradient = (output_gradient.reshape(channels, -1) @ patches.reshape(-1, kernel**2)).view(self.conv_weight.shape)
        bias_gradient = output_gradient.sum((1, 2))
        if self._sharded:
            self._replicas.sum(conv_gradient), self._replicas.sum(bias_gradient)
        gradients = conv_gradient, bias_gradient, linear_gradient
        for parameter, gradient in zip(self.parameters(), gradients, strict=True):
            parameter.grad = torch.where(finite, gradient, 0.0)
        self.optimizer.step()

    def _true(self, layer: Layer) -> Float[Tensor, "out_ch row"]:
        assert layer.weight.grad is not None
        return layer.matrix(layer.weight.grad).float()

    def _split(self, layers: Sequence[Layer], rows: Tensor) -> tuple[Tensor, ...]:
        """Split stacked rows into those of each layer."""
        return rows.split([self._row_counts[layer] for layer in layers])

    def _by_row(self, layers: Sequence[Layer], values: Float[Tensor, " all_layers"]) -> Float[Tensor, "rows 1"]:
        """Repeat one number per layer for each row of these layers."""
        return values[self._indices(layers)[0]][:, None]

    def _indices(self, layers: Sequence[Layer]) -> tuple[Int[Tensor, " rows"], Int[Tensor, " layers"]]:
        """Return, on the device, the layer's index for each row of these layers, and for each layer."""
        reached = tuple(layers)
        if reached != self._last_indices[0]:  # copying to the device waits for it, so this is done only for other layers
            device = self.mean_square.device
            indices = torch.tensor([layer.index for layer in layers])
            of_rows = indices.repeat_interleave(torch.tensor([self._row_counts[layer] for layer in layers]))
            self._last_indices = reached, of_rows.to(device), indices.to(device)
        return self._last_indices[1:]

    def _update_gain(self, reached: Sequence[Layer], features: Tensor) -> None:
        """Update the running <pred, true> and <pred, pred>, from products of small matrices."""
        scales = self.scales(gate=False)
        for layer, h in zip(reached, self._split(reached, features), strict=True):
            w, scale = self.linear[: layer.shape[1]], scales[layer.index]
            pred_true = ((self._true(layer).t() @ h) * w).sum()
            pred_pred = ((h.t() @ h) * (w.t() @ w)).sum()
            products = torch.stack([pred_true * scale, pred_pred * scale**2])
            products = self._replicas.sum(products) if self._sharded else products
            products = torch.where(products.isfinite().all(), products, self.gain[layer.index])
            self.gain[layer.index].lerp_(products, 1 - self._decay)

    def _update_scale(self, reached: Sequence[Layer]) -> None:
        """Update the running mean squares of the layers' gradients; they stay the same for gradients that are not finite."""
        squares, counted = torch.zeros_like(self.mean_square), torch.zeros_like(self.mean_square)
        for layer in reached:
            flat = self._true(layer).reshape(-1)
            torch.dot(flat, flat, out=squares[layer.index])  # makes no copy of the layer's size
        if self._sharded:
            self._replicas.sum(squares)
        counted[self._indices(reached)[1]] = 1.0
        counted *= squares.isfinite()
        squares = squares.nan_to_num_(0.0, 0.0, 0.0)
        self.mean_square.lerp_(squares / self._weights, (1 - self._decay) * counted)
        self.batches += counted

    def rms(self) -> Float[Tensor, " layers"]:
        """Return the running root mean square of each layer's gradients, corrected for its start at zero."""
        corrected = self.mean_square / (1 - self._decay ** self.batches.clamp(min=1))
        return corrected.sqrt().clamp(min=1e-12)

    def scales(self, gate: bool = True) -> Float[Tensor, " layers"]:
        """Return the factor for each layer that turns the network's output into a gradient."""
        scale = torch.ones_like(self.mean_square)
        if self.normalize:
            scale = torch.where(self.batches > 0, self.rms(), 0.0)  # the gradient's size is not known before the first batch
        if gate and self.gate:
            scale = scale * (self.gain[:, 0] / self.gain[:, 1].clamp(min=1e-30)).clamp(min=0)
        return scale

    def state_dict(self) -> dict:
        # Copy it: an optimizer's state_dict holds the tensors that later steps change in place.
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        state = {"parameters": [p.detach().clone() for p in self.parameters()], "optimizer": optimizer}
        state |= {name: getattr(self, name).clone() for name in ("mean_square", "batches", "gain")}
        seen = {layer: (maps.clone(), uses) for layer, (maps, uses) in self.pooled.items()}
        by_rows = {layer: (maps.clone(), uses.clone()) for layer, (maps, uses) in self._by_rows.items()}
        return state | {"layers": [x.name for x in self.layers], "pooled": named(seen), "by_rows": named(by_rows)}

    def load_state_dict(self, state: dict) -> None:
        longer = len(state["parameters"][2]) - len(self.linear)
        if longer > 0:  # the layer with the longest row was removed after the network had been made for it
            self._lengthen(len(self.linear) + longer)
        for parameter, value in zip(self.parameters(), state["parameters"], strict=True):
            if parameter.shape != value.shape:
                raise UsageError(
                    f"this state is of a predictor with weights {tuple(value.shape)}, expected {tuple(parameter.shape)}; "
                    "load it into an engine around the same model with the same options"
                )
            parameter.data.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        positions = {name: position for position, name in enumerate(state["layers"])}
        common = [layer for layer in self.layers if layer.name in positions]
        indices, saved = [layer.index for layer in common], [positions[layer.name] for layer in common]
        for name in ("mean_square", "batches", "gain"):
            value = getattr(self, name).zero_()
            value[indices] = state[name][saved].to(value.device)
        device = self.mean_square.device
        self.pooled = {
            layer: (maps.to(device), uses) for layer, (maps, uses) in by_layer(self.layers, state["pooled"]).items()
        }
        self._by_rows = {
            layer: (maps.to(device), uses.to(device)) for layer, (maps, uses) in by_layer(self.layers, state["by_rows"]).items()
        }


class Shuffled(GradientPredictor):
    """Shared network that gets the activations of the step before: a control.

    The activations have the statistics of real ones, but carry no information about the current batch.

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
        """Replace what was seen in this step by what was seen in the step before, and store it for the next step."""
        current = {layer: maps for layer, (maps, _) in self.network.gather().items()}
        self.network.pooled = {layer: (self._before.get(layer, maps), 1) for layer, maps in current.items()}
        self._before = current

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
