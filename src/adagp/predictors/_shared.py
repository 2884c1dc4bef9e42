"""The paper's predictor: one small network that predicts for all layers, one output channel at a time."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .._errors import UsageError, require_number, require_whole
from .._work import GPWork, PredictorSize
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named
from ._layer import Layer
from ._stack import Stack, pooled


def reorganize(output: Tensor, kind: str) -> Float[Tensor, "out_ch 1 h w"]:
    """Return the mean over the batch of a layer's output, with each output channel as one sample (tensor reorganization).

    Args:
        output: for kind 'conv' (batch, out_ch, h, w), (batch, out_ch, length) or (batch, out_ch, d, h, w), whose depth is
            laid along the height; for kind 'linear' (batch, ..., features), whose inner axes (time, say) are laid along the
            height.
        kind: 'conv' or 'linear'.
    """
    return _mean_map(output, kind, _equal_shares(output))[:, None]


def _mean_map(output: Tensor, kind: str, shares: Tensor | None) -> Float[Tensor, "out_ch h w"]:
    """Return ``reorganize`` without its axis of one; a view of a mean that is in the order of the output's memory."""
    batch = output.shape[0]
    if kind == "linear":
        mean = _batch_mean(output.reshape(batch, -1), shares).reshape(-1, output.shape[-1])  # (inner, features)
        return mean.t()[:, :, None]
    if output.dim() == 3:
        output = output[:, :, None, :]
    if output.dim() == 5:
        output = output.flatten(2, 3)
    if output.is_contiguous(memory_format=torch.channels_last) and not output.is_contiguous():
        channels, height, width = output.shape[1:]
        flat = output.permute(0, 2, 3, 1).reshape(batch, -1)
        return _batch_mean(flat, shares).reshape(height, width, channels).permute(2, 0, 1)
    return _batch_mean(output.reshape(batch, -1), shares).reshape(output.shape[1:])


def _equal_shares(output: Tensor) -> Float[Tensor, "1 batch"] | None:
    """Return the shares of the samples in the mean over a batch, on a CPU; None elsewhere."""
    batch = output.shape[0]
    return output.new_full((1, batch), 1 / batch) if output.device.type == "cpu" else None


def _batch_mean(flat: Float[Tensor, "batch rest"], shares: Float[Tensor, "1 batch"] | None) -> Float[Tensor, " rest"]:
    """Return the mean over the first axis: on a CPU by a matrix product, in the order of the tensor's memory.

    A mean over the first axis of a channels-last tensor strides through memory there. It was measured at fifty times the cost.
    """
    if shares is None:
        return flat.mean(0, dtype=torch.float32)
    return (shares @ flat)[0].float()


_USES = 16
"""Largest number of uses of a layer that are averaged in one step. A recurrent layer has hundreds, and using more of them costs
more than it informs (our choice)."""
_KEPT = 16
"""Largest size of a kept map, in pooled maps. A larger one is pooled when it is seen, so that what is kept stays small."""


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
        require_number("lr", lr, math.inf, below=True)
        require_whole("seed", seed, 0, 2**63 - 1)
        self.size, self.lr = PredictorSize(pool=pool, channels=channels), lr
        self.work = GPWork(predictor=self.size)
        self.normalize, self.gate, self.zero_start, self.seed = normalize, gate, zero_start, seed
        self.layers: Sequence[Layer] = ()
        self.seen: dict[Layer, tuple[Tensor, int]] = {}
        """For each layer seen in this step: its maps (out_ch, h, w), averaged over the batch and its uses, and their number."""
        self._shares: Tensor | None = None  # see ``_equal_shares``
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
        self._stack: Stack | None = None
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
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)
        self.sums, self.gain = torch.empty(2, 0, device=device), torch.empty(2, 0, device=device)

    def _lengthen(self, longest: int) -> None:
        """Add zero rows to the fully connected layer, for layers with longer rows than those it was made for."""

        def padded(tensor: Tensor) -> Tensor:
            return F.pad(tensor, (0, 0, 0, longest - len(tensor)))

        state = self.optimizer.state_dict()
        self.linear = padded(self.linear.detach()).requires_grad_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)
        moments = state["state"].get(2, {})  # of ``linear``, the third of ``parameters``
        moments.update({name: padded(moments[name]) for name in ("exp_avg", "exp_avg_sq") if name in moments})
        self.optimizer.load_state_dict(state)

    def _arrange(self, before: Sequence[Layer]) -> None:
        """Reorder the running statistics from the layers ``before`` to the current ones; those of new layers start at zero."""
        positions = {layer: position for position, layer in enumerate(before)}
        known = [layer for layer in self.layers if layer in positions]
        new, old = [layer.index for layer in known], [positions[layer] for layer in known]
        device, count = self.layers[0].weight.device, len(self.layers)
        # The two rows of sums are running sums of the squared true gradients and of the number of squares; those of gain are
        # running means of <pred, true> and <pred, pred>.
        for name in ("sums", "gain"):
            value = torch.zeros(2, count, dtype=torch.float32, device=device)
            if old:
                value[:, new] = getattr(self, name)[:, old]
            setattr(self, name, value)
        self._tiny = torch.tensor(1e-24, dtype=torch.float32, device=device)  # the smallest mean square
        self._powers = torch.tensor([[0.5], [-0.5]], dtype=torch.float32, device=device)

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
        if layer in self.seen and self.seen[layer][1] >= _USES:
            return
        kind = "conv" if layer.kind.axis == 1 and output.dim() > 2 else "linear"
        if self._shares is None or self._shares.shape[1] != len(output) or self._shares.dtype != output.dtype:
            self._shares = _equal_shares(output)
        maps, uses = _mean_map(output, kind, self._shares), 0
        if maps[0].numel() > _KEPT * self.size.pool**2:
            maps = pooled([maps], self.size.pool)
        if layer in self.seen:  # a module that is used twice gets the mean over its uses
            before, uses = self.seen[layer]
            if before.shape != maps.shape:
                before, maps = (pooled([one], self.size.pool) for one in (before, maps))
            maps = before + (maps - before) / (uses + 1)
        self.seen[layer] = maps, uses + 1

    def _see_rows(self, layer: Layer, output: Float[Tensor, "positions rows"], rows: slice) -> None:
        """Record a use of some rows by a function. Its batch axis is not known, so the mean is taken over all positions."""
        if layer not in self._by_rows:
            maps = torch.zeros(layer.shape[0], 1, 1, device=output.device, dtype=torch.float32)
            self._by_rows[layer] = maps, torch.zeros_like(maps)
        maps, uses = self._by_rows[layer]
        maps[rows] += _batch_mean(output, _equal_shares(output))[:, None, None]
        uses[rows] += 1

    def gather(self) -> dict[Layer, tuple[Tensor, int]]:
        """Return what was seen in this step, in the form of ``seen``, and drop it."""
        seen = dict(self.seen)
        for layer, (maps, uses) in self._by_rows.items():
            by_module, count = seen.get(layer, (0, 0))  # a weight may also be used by its module
            seen[layer] = (maps + count * by_module) / (uses + count).clamp(min=1), 1
        self.forget()
        return seen

    def forget(self) -> None:
        self.seen, self._by_rows = {}, {}

    def _take_pooled(self, layers: Sequence[Layer]) -> tuple[Stack, Float[Tensor, "rows 1 pool pool"]] | None:
        """Return the layers that were seen, and their pooled maps, stacked layer by layer; None if no layer was seen.

        The rows are those that this process holds. With replicas, all ``layers`` are returned, and the maps of each are the
        mean over the replicas that ran it.
        """
        seen, pool = self.gather(), self.size.pool
        reached = tuple(layer for layer in layers if layer in seen or not self._replicas.alone)
        if not reached:
            return None
        if self._stack is None or reached != self._stack.given:
            self._stack = Stack(reached, self._row_counts, len(self.layers), self.sums.device)
        stack = self._stack
        if self._replicas.alone:
            return stack, pooled([seen[layer][0] for layer in stack.layers], pool)[:, None]
        device = self.sums.device
        nothing = torch.zeros(max(layer.shape[0] for layer in reached), 1, 1, device=device, dtype=torch.float32)
        maps = pooled([seen[layer][0] if layer in seen else nothing[: layer.shape[0]] for layer in stack.layers], pool)
        here = torch.tensor([float(layer in seen) for layer in stack.layers], dtype=torch.float32, device=device)
        # One exchange for the maps and for the flags, whose mean is the share of replicas that ran each layer.
        both = self._replicas.mean(torch.cat([maps.flatten(), here]))
        shares = both[-len(reached) :].clamp(min=1e-30)
        parts = both[: -len(reached)].view(-1, 1, pool, pool).split([layer.shape[0] for layer in stack.layers])
        local = [part[layer.rows] / ran for layer, part, ran in zip(stack.layers, parts, shares, strict=True)]
        return stack, torch.cat(local)

    def hidden(self, maps: Float[Tensor, "rows 1 pool pool"]) -> Float[Tensor, "rows features"]:
        """Return what the fully connected layer takes, from pooled maps."""
        stride, padding = self.size.stride, self.size.kernel // 2
        return F.conv2d(maps, self.conv_weight, self.conv_bias, stride=stride, padding=padding).relu_().flatten(1)

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        taken = self._take_pooled(layers)
        for layer in set(layers).difference(taken[0].layers if taken else ()):
            layer.put_zero()
        if taken is None:
            return
        stack, maps = taken
        # Scale the small factor of the product, so that the large result is written only once.
        # Rows whose forward pass overflowed get a zero gradient, since there is nothing to predict from.
        scales = stack.of_layers(self.scales())[stack.of_rows, None]
        scaled = _with_ones(self.hidden(maps)).nan_to_num_(0.0, 0.0, 0.0) * scales
        for group in stack.groups:
            # Gradients of layers with rows of one length are parts of one matrix, which nothing else uses.
            matrix = scaled[group.rows] @ self.linear[: group.length].t()
            for layer, part in zip(group.layers, matrix.split(group.counts), strict=True):
                layer.put(part, copy=False)

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        taken = self._take_pooled(layers)
        if taken is None:
            return
        stack, maps = taken
        with torch.enable_grad():  # of the convolution only: no graph over all layers is built
            hidden = self.hidden(maps)
        features, true = _with_ones(hidden.detach()), self._true(stack)
        parts = [part for whole, group in zip(true, stack.groups, strict=True) for part in whole.split(group.counts)]
        if score is not None:
            scaled = features * stack.of_layers(self.scales(gate=False))[stack.of_rows, None]
            for layer, rows, part in zip(stack.layers, scaled.split(stack.counts), parts, strict=True):
                score(layer, rows @ self.linear[: layer.shape[1]].t(), part)
        if self.gate:
            self._update_gain(stack, features, parts)
        if self.normalize:
            self._update_scale(stack, parts)
        linear_gradient, features_gradient = self._loss_gradients(stack, features, true)
        conv_gradients = torch.autograd.grad(hidden, (self.conv_weight, self.conv_bias), features_gradient[:, :-1])
        for parameter, gradient in zip(self.parameters(), (*conv_gradients, linear_gradient), strict=True):
            # A gradient that is not finite, which some optimizers skip, must not change the network.
            parameter.grad = (self._replicas.sum(gradient) if self._sharded else gradient).nan_to_num_(0.0, 0.0, 0.0)
        self.optimizer.step()

    def _true(self, stack: Stack) -> list[Float[Tensor, "rows row"]]:
        """Return the true gradients of each group: views, or one copy for all groups with several layers."""

        def matrix(layer: Layer) -> Tensor:
            assert layer.weight.grad is not None
            return layer.matrix(layer.weight.grad)

        several = [matrix(layer).reshape(-1) for group in stack.groups if len(group.layers) > 1 for layer in group.layers]
        left, true = torch.cat(several).float() if several else None, []
        for group in stack.groups:
            if left is None or len(group.layers) == 1:
                true.append(matrix(group.layers[0]).float())
                continue
            size = sum(group.counts) * group.length
            true.append(left[:size].view(-1, group.length))
            left = left[size:]
        return true

    def _loss_gradients(self, stack: Stack, features: Tensor, true: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the gradients of the loss with respect to ``linear`` and to the features.

        The loss is the mean over layers of mean((P - T / s)^2). The prediction P = H W' is the product of a layer's features H
        and its rows W of ``linear``. T is its true gradient and s its scale. With the error E = s H W' - T and slope = 2 /
        (layers * weights of the layer), dL/dP = (slope / s) E, so

            dL/dW = E' (slope / s) H
            dL/dH = (slope / s) E W

        Args:
            true: T of each group.
        """
        factors = self._factors(stack)[:, stack.of_rows, None]
        scaled, sloped = features * factors
        linear_gradient = None
        for group, whole in zip(stack.groups, true, strict=True):
            w = self.linear[: group.length]
            for block in group.blocks(features.device):
                rows = slice(group.start + block.start, group.start + block.stop)
                error = torch.addmm(whole[block], scaled[rows], w.t(), beta=-1)
                if linear_gradient is None:  # the longest rows come first
                    linear_gradient = error.t() @ sloped[rows]
                else:
                    linear_gradient[: group.length].addmm_(error.t(), sloped[rows])
                torch.mm(error, w, out=scaled[rows])  # these rows are not needed any more, and become E W
        assert linear_gradient is not None
        missing = len(self.linear) - len(linear_gradient)  # of layers that did not run
        return F.pad(linear_gradient, (0, 0, 0, missing)) if missing else linear_gradient, scaled * factors[1]

    def _factors(self, stack: Stack) -> Float[Tensor, "2 layers"]:
        """Return s and slope / s of each of the stack's layers, in the order of their indices (see ``_loss_gradients``)."""
        slope = stack.slopes
        return slope * self._mean_squares(stack.of_layers(self.sums)).pow(self._powers) if self.normalize else slope

    def _update_gain(self, stack: Stack, features: Tensor, true: Sequence[Tensor]) -> None:
        """Update the running <pred, true> and <pred, pred>, from products of small matrices.

        Args:
            true: true gradients of each layer.
        """
        scales = self.scales(gate=False)
        for layer, h, part in zip(stack.layers, features.split(stack.counts), true, strict=True):
            w, scale = self.linear[: layer.shape[1]], scales[layer.index]
            pred_true = ((part.t() @ h) * w).sum()
            pred_pred = ((h.t() @ h) * (w.t() @ w)).sum()
            products = torch.stack([pred_true * scale, pred_pred * scale**2])
            products = self._replicas.sum(products) if self._sharded else products
            products = torch.where(products.isfinite().all(), products, self.gain[:, layer.index])
            self.gain[:, layer.index].lerp_(products, 1 - self._decay)

    def _update_scale(self, stack: Stack, true: Sequence[Tensor]) -> None:
        """Update the running mean squares of the layers' gradients; they stay the same for gradients that are not finite.

        Args:
            true: true gradients of each layer.
        """
        norms = torch._foreach_norm([true[position] for position in stack.by_index])
        squares = torch.stack(norms, out=stack.squares[0]).square_()
        if self._sharded:
            self._replicas.sum(squares)
        before = stack.of_layers(self.sums)
        after = torch.where(squares < torch.inf, torch.lerp(before, stack.squares, 1 - self._decay), before)
        if stack.indices is None:
            self.sums = after
        else:
            self.sums[:, stack.indices] = after

    def _mean_squares(self, sums: Float[Tensor, "2 n"]) -> Float[Tensor, " n"]:
        """Return mean squares from two rows of running sums; NaN for a layer before its first batch, else above zero."""
        return torch.addcdiv(self._tiny, sums[0], sums[1])

    def rms(self) -> Float[Tensor, " layers"]:
        """Return the running root mean square of each layer's gradients; 0 for a layer before its first batch."""
        return self._mean_squares(self.sums).sqrt_().nan_to_num_(0.0)

    def scales(self, gate: bool = True) -> Float[Tensor, " layers"]:
        """Return the factor for each layer that turns the network's output into a gradient."""
        scale = self.rms() if self.normalize else torch.ones_like(self.sums[0])
        if gate and self.gate:
            scale = scale * (self.gain[0] / self.gain[1].clamp(min=1e-30)).clamp(min=0)
        return scale

    def state_dict(self) -> dict:
        # Copy it: an optimizer's state_dict holds the tensors that later steps change in place.
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        state = {"parameters": [p.detach().clone() for p in self.parameters()], "optimizer": optimizer}
        state |= {name: getattr(self, name).clone() for name in ("sums", "gain")}
        seen = {layer: (maps.clone(), uses) for layer, (maps, uses) in self.seen.items()}
        by_rows = {layer: (maps.clone(), uses.clone()) for layer, (maps, uses) in self._by_rows.items()}
        return state | {"layers": [x.name for x in self.layers], "seen": named(seen), "by_rows": named(by_rows)}

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
        for name in ("sums", "gain"):
            value = getattr(self, name).zero_()
            value[:, indices] = state[name][:, saved].to(value.device)
        device = self.sums.device
        self.seen = {layer: (maps.to(device), uses) for layer, (maps, uses) in by_layer(self.layers, state["seen"]).items()}
        self._by_rows = {
            layer: (maps.to(device), uses.to(device)) for layer, (maps, uses) in by_layer(self.layers, state["by_rows"]).items()
        }


def _with_ones(hidden: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features_and_one"]:
    """Return the inputs of the fully connected layer, with a last column of ones for its bias."""
    return F.pad(hidden, (0, 1), value=1.0)


class _ControlOfNetwork(GradientPredictor):
    """What the controls share that have a shared network of their own and differ in what it sees or what is made of it."""

    def __init__(self, **options: Any) -> None:
        self.network = SharedNetwork(**options)
        self.work = self.network.work

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.network.bind(layers, replicas)

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self.network.see(layer, inputs, output, rows)

    def forget(self) -> None:
        self.network.forget()

    def num_parameters(self) -> int:
        return self.network.num_parameters()


class Shuffled(_ControlOfNetwork):
    """Shared network that gets the activations of the step before: a control.

    The activations have the statistics of real ones, but carry no information about the current batch.

    Args:
        options: as for ``SharedNetwork``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._before: dict[Layer, Tensor] = {}

    def _exchange(self) -> None:
        """Replace what was seen in this step by what was seen in the step before, and store it for the next step."""
        current = {layer: maps for layer, (maps, _) in self.network.gather().items()}
        self.network.seen = {layer: (self._before.get(layer, maps), 1) for layer, maps in current.items()}
        self._before = current

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        self._exchange()
        self.network.learn(layers, score, error)

    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        self._exchange()
        self.network.predict(layers, error)

    def state_dict(self) -> dict:
        before = {layer: maps.clone() for layer, maps in self._before.items()}
        return {"network": self.network.state_dict(), "before": named(before)}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        device = self.network.sums.device
        self._before = {k: maps.to(device) for k, maps in by_layer(self.network.layers, state["before"]).items()}


class RandomDirection(_ControlOfNetwork):
    """Shared network whose prediction for a layer is replaced by noise of the same norm: a control.

    The weights move as far as with the predictor's own gradient, in a direction that says nothing.

    Args:
        options: as for ``SharedNetwork``. Its ``seed`` seeds the noise too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # On the CPU, so that all replicas and all devices draw the same noise.
        self._noise = torch.Generator().manual_seed(self.network.seed)

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        self.network.learn(layers, score, error)

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        self.network.predict(layers, error)
        for layer in layers:
            if (predicted := layer.weight.grad) is not None:
                drawn = torch.randn(predicted.shape, generator=self._noise, dtype=torch.float32, device="cpu")
                drawn = drawn.to(predicted.device)
                predicted.copy_(drawn * (predicted.float().norm() / drawn.norm()))

    def state_dict(self) -> dict:
        return {"network": self.network.state_dict(), "noise": self._noise.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self._noise.set_state(state["noise"].cpu())
