"""What must hold of ``adagp.accelerator``: functions of the package, for the tests and for the faulty copies of the mutants."""

import json
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
import references
import references_time

GOLDENS = Path(__file__).with_name("goldens.json")
ZOO = {"imagenet": ("mobilenet_v2", "densenet121"), "multi30k": ("transformer",)}  # more than CIFAR-10
LAYER_COLUMNS = ("cycles", "dram_words", "rf", "noc", "buffer")


def workloads(acc):
    """Every model at CIFAR-10 shape, and some at their other shapes."""
    from adagp import models

    pairs = [(name, "cifar10") for name in models.FOURTEEN if name != "transformer"]
    pairs += [(name, dataset) for dataset, names in ZOO.items() for name in names]
    return {f"{name} {dataset}": acc.workload(name, dataset=dataset) for name, dataset in pairs}


def measured(acc, names=None):
    """Every component's counts for each workload, each design's batches, each pipeline's cycles."""
    from adagp.accelerator import _costs
    from adagp.predictors import PredictorSize

    found, chip = {}, acc.Hardware()
    for name, work in workloads(acc).items():
        if names is not None and name not in names:
            continue
        for flow in acc.DATAFLOWS if name in ("vgg13 cifar10", "transformer multi30k") else ("ws",):
            network = _costs.network_costs(work, chip, flow)
            parts = {c.value: cost for c, cost in network.full.items()} | {"forward alone": network.forward_alone}
            for memory, where in ((0, "DRAM"), (655_360, "memory")):
                helper = _costs.predictor_costs(work, chip, flow, PredictorSize(), memory)
                parts |= {f"prediction {part}, weights in {where}": cost for part, cost in helper._asdict().items()}
            for part, cost in parts.items():
                totals = [cost.cycles.sum(), cost.dram_words.sum(), *cost.accesses.sum(0)[1:4]]
                found[f"{name}, {flow}, {part}"] = dict(zip(LAYER_COLUMNS, map(float, totals), strict=True))
            for design in acc.DESIGNS:
                phases = acc.simulate(work, design=design, dataflow=flow).phases
                found[f"{name}, {flow}, batches of {design}"] = {p: float(phases[p].cycles) for p in ("bp", "gp")}
        if name in ("vgg13 cifar10", "mobilenet_v2 imagenet"):
            for scheme in acc.PIPELINES:
                for design in ("efficient", "max"):
                    report = acc.simulate_pipeline(work, scheme=scheme, design=design)
                    found[f"{name}, {scheme}, {design}"] = {"cycles": report.cycles, "baseline": report.baseline_cycles}
    return found


def goldens(acc, names=None):
    """Nothing has moved since the goldens were written; ``python tests/accelerator/checks.py`` writes them anew."""
    expected, now = json.loads(GOLDENS.read_text()), measured(acc, names)
    moved = {
        f"{key}: {part}": (expected[key][part], value)
        for key, parts in now.items()
        for part, value in parts.items()
        if abs(value - expected[key][part]) > 1e-9 * abs(expected[key][part])
    }
    assert not moved, moved
    assert names is not None or set(now) == set(expected)


def tilings(acc):
    """The search equals brute force on layers in which halo, partial sums and double buffering each decide."""
    for kernel, stride, rows, ci, co, capacity in (
        (3, 1, 5, 4, 4, 150), (3, 1, 4, 5, 3, 90), (1, 1, 4, 6, 6, 60), (2, 1, 5, 2, 6, 60),
        (4, 2, 4, 3, 4, 200), (1, 1, 1, 6, 6, 40),
    ):  # fmt: skip
        side = (rows - 1) * stride + kernel
        layer = acc.LayerShape(
            name="x", kind="conv", batch=2, in_channels=ci, out_channels=co, in_size=(side, side), out_size=(rows, rows),
            kernel=(kernel, kernel), stride=(stride, stride),
        )  # fmt: skip
        words = acc.dram_traffic([layer], acc.Hardware(rows=2, cols=2, buffer_bytes=2 * capacity)).words[0].sum(-1)
        assert list(words) == [references.least_cut_traffic(layer, kind, capacity, 2, False) for kind in acc.PASSES]


def buffer_accesses(acc):
    """A walk over the folds of a systolic array: what each reads from the buffer, and what it writes there."""
    from adagp.accelerator._counts import COUNTED, count
    from adagp.accelerator._layer_table import LayerTable

    chip = acc.Hardware(rows=3, cols=4)
    for M, N, K in ((7, 9, 11), (3, 4, 3), (20, 2, 5)):
        layer = acc.LayerShape(name="x", kind="linear", batch=M, in_channels=K, out_channels=N)
        sizes = {"M": M, "N": N, "K": K}
        for flow, (down, across) in {"ws": ("K", "N"), "os": ("M", "N"), "is": ("K", "M")}.items():
            (along,) = set("MNK") - {down, across}
            accesses = 0
            for i in range(0, sizes[down], chip.rows):
                for j in range(0, sizes[across], chip.cols):
                    own = {
                        down: min(chip.rows, sizes[down] - i),
                        across: min(chip.cols, sizes[across] - j),
                        along: sizes[along],
                    }
                    accesses += own["M"] * own["K"] + own["K"] * own["N"]
                    accesses += own["M"] * own["N"] * (2 if down == "K" and i else 1)  # sums of the fold above come back
            assert count(LayerTable.of([layer]), chip, flow)[0, 0, COUNTED.index("buffer")] == accesses, flow


def weight_gradients(acc):
    """With a buffer that holds all, the weight gradient's pass reads X and dY and sends nothing to DRAM."""
    work = acc.workload("vgg13").with_batch(2)
    parts = acc.simulate(work, hardware=acc.Hardware(buffer_bytes=2**40)).baseline.parts
    words = [x.input_words + x.output_words for x in work.layers]
    assert list(parts[acc.Component.WEIGHT_GRADIENT].dram_words) == words
    assert list(parts[acc.Component.UPDATE].dram_words) == [4 * x.parameters for x in work.layers]


def pooled_maps(acc):
    """With a buffer that holds all, a forward pass alone writes what pooling leaves of each output, at every batch size."""
    once = {x.name: x.handed_words for x in acc.workload("densenet121", dataset="imagenet", batch=1).layers}
    work = acc.workload("densenet121", dataset="imagenet", batch=6)
    assert any(x.handed_words < x.output_words for x in work.layers)
    gp = acc.simulate(work, hardware=acc.Hardware(buffer_bytes=2**40)).phases["gp"].parts
    words = [x.input_words + x.weight_words + 6 * once[x.name] for x in work.layers]
    assert list(gp[acc.Component.FORWARD].dram_words) == words


def prices(acc):
    """Each level's price goes with that level's accesses: where all others are free, the energy is their number."""
    from adagp.accelerator._counts import COUNTED, count

    work = acc.workload("vgg13")
    counts = dict(zip(COUNTED, count(work.table, acc.Hardware(), "ws").sum((0, 1)), strict=True))
    words = sum(part.dram_words.sum() for part in acc.simulate(work).baseline.parts.values())
    accesses = {
        "mac": work.macs() + 2 * work.parameters, "rf": counts["rf"], "noc": counts["noc"],
        "buffer": counts["buffer"] + words, "dram": words,
    }  # fmt: skip
    for level, number in accesses.items():
        table = acc.EnergyTable(name="x", unit="1", **{other: float(other == level) for other in acc.LEVELS})
        report = acc.simulate(work, design="baseline", hardware=acc.Hardware(energy=table), epochs=1, batches_per_epoch=1)
        assert abs(report.energy / number - 1) < 1e-12, level


def predictors_optimizer(acc):
    """Adam reads and writes two moments of every predictor weight, and the weights, where no memory holds them."""
    from adagp.predictors import PredictorSize

    work, size = acc.workload("vgg13").with_batch(2), PredictorSize()
    longest = max(layer.window for layer in work.layers)
    weights = size.channels * size.kernel**2 + size.features * longest
    chip = acc.Hardware(buffer_bytes=2**40)  # each tensor crosses once
    moved = {}
    for design in ("low", "efficient"):
        moved[design] = (
            acc.simulate(work, design=design, hardware=chip).phases["bp"].parts[acc.Component.LEARNING].dram_words[0]
        )
    first = work.layers[0]
    samples = first.out_channels
    conv, dense = size.channels * size.kernel**2, size.features * first.window  # the first layer's share of the weights
    maps, features = samples * size.pool**2, samples * size.features
    # Write and read the true gradient; dense: dW reads features and error and adds to dW (one more read), dX reads W and
    # error and writes; convolution: dW reads maps and the features' gradient and adds.
    passes = 2 * first.parameters + 2 * (samples * first.window) + 2 * features + 2 * dense + maps + features + 2 * conv
    assert moved["efficient"] == passes + 4 * weights
    assert moved["low"] == passes + 4 * weights + dense + 2 * weights


def second_array(acc):
    """The design MAX runs as a simulation of two arrays says, or as long as the memory channel needs, where that is longer."""
    from adagp.predictors import PredictorSize

    C, work = acc.Component, acc.workload("vgg13")
    fifth = work.layers[4].name
    # What the main array does, and what the predictor's array does when that is done: for a layer that stays below the cut
    # (once, after its forward pass), and for one above it (after its backward pass).
    whole = ((C.INPUT_GRADIENT, C.WEIGHT_GRADIENT, C.UPDATE), (C.PREDICTION, C.LEARNING))
    predicted, coasting, alone = ((C.FORWARD,), (C.PREDICTION, C.UPDATE)), ((C.FORWARD, C.UPDATE), ()), ((C.FORWARD,), ())
    corrected = ((C.INPUT_GRADIENT, C.WEIGHT_GRADIENT), (C.PREDICTION, C.UPDATE))
    cases = [
        ("adagp", "bp", 0, alone, whole), ("adagp", "gp", 13, predicted, alone), ("coast", "gp", 13, coasting, alone),
        (acc.GPWork(cut=fifth, predictor=PredictorSize()), "gp", 4, predicted, whole),
        (acc.GPWork(cut=fifth), "gp", 4, coasting, whole),
        ("control-variate:0.5", "gp", 0, alone, corrected),
    ]  # fmt: skip
    for bandwidth, (method, phase, cut, below, above) in product((12.8e9, 0.1e9), cases):
        chip = acc.Hardware(dram_bytes_per_s=bandwidth)
        batch = acc.simulate(work, design="max", hardware=chip, method=method).phases[phase]
        time = {c: part.time(chip) for c, part in batch.parts.items()}

        def spent(i, components, time=time):
            return sum(time[c][i] for c in components if c in time)

        layers = range(len(time[C.FORWARD]))
        jobs = [tuple(spent(i, c) for c in (below if i < cut else alone)) for i in layers]
        jobs += [tuple(spent(i, c) for c in above) for i in reversed(layers[cut:])]
        channel = sum(part.dram_words.sum() for part in batch.parts.values()) / chip.dram_words_per_cycle
        assert abs(batch.cycles / max(references_time.two_arrays(jobs), channel) - 1) < 1e-12


def stages(acc):
    """The cut into stages has the smallest largest stage of all cuts."""
    from adagp.accelerator._pipeline_training import balanced

    for layers, number in (([5, 1, 1, 1, 5, 2], 3), ([1, 2, 3, 4], 2), ([9, 1, 1, 1], 4), ([0, 0, 3, 3], 2)):
        cuts = [(0, *cut, len(layers)) for cut in combinations(range(1, len(layers)), number - 1)]
        best = min(max(sum(layers[a:b]) for a, b in pairwise(cut)) for cut in cuts)
        starts = [*balanced(np.array(layers, float), number), len(layers)]
        assert starts[0] == 0 and max(sum(layers[a:b]) for a, b in pairwise(starts)) == best


if __name__ == "__main__":
    from adagp import accelerator

    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(parts)}" for key, parts in measured(accelerator).items())
    GOLDENS.write_text("{" + lines + "}\n")
