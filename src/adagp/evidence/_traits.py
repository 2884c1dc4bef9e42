"""What sets a model apart, computed from its workload and ranked among the fourteen models."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ._computed import zoo_workloads

if TYPE_CHECKING:
    import pandas as pd

    from ..accelerator import LayerShape, Workload


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A figure that a network has."""

    name: str
    unit: str = ""
    """'%' where the value is a share."""
    says: str
    """A sentence with {value}, which comes with its rank."""


TRAITS = (
    Trait(name="layers", says="It has {value} predicted layers."),
    Trait(
        name="depthwise work", unit="%",
        says="{value} of its forward cycles go into depthwise convolutions, in which a filter sees one channel. "
        "Its gradient has a handful of numbers.",
    ),
    Trait(name="1x1 work", unit="%", says="{value} of its multiply-accumulates are in 1x1 convolutions."),
    Trait(
        name="weights in linear layers", unit="%",
        says="{value} of its weights lie in linear layers, whose outputs are vectors, not maps.",
    ),
    Trait(
        name="work without weights", unit="%",
        says="{value} of its multiply-accumulates are products of two activations (attention): no weight, nothing to predict.",
    ),
    Trait(
        name="maps over weights",
        says="A batch of 128 has {value} numbers in its maps for each weight. A prediction's cost follows the weights, "
        "a backward pass's the maps.",
    ),
    Trait(
        name="longest row",
        says="Its longest row has {value} weights, which is what the predictor's last layer is sized for.",
    ),
    Trait(
        name="used outputs", unit="%",
        says="Averaged over its layers, {value} of the predictor's outputs are used; the rest is masked.",
    ),
    Trait(
        name="prediction over forward", unit="%",
        says="On the accelerator a prediction takes {value} of the time of a forward pass.",
    ),
    Trait(name="speed-up", unit="x", says="Efficient with the weight-stationary dataflow trains it {value} faster."),
)  # fmt: skip
SHAPE = "CIFAR-10 (the Transformer: Multi30k; YOLO-v3, on its own page: Pascal VOC)"
"""The inputs that the traits are computed for."""


def model_traits(model: str | None = None) -> "pd.DataFrame":
    """Return a row a model, a column a trait, shares in percent: shape ``SHAPE``, batch 128, Efficient, weight stationary.

    Args:
        model: a model that is not of the fourteen, which gets a row beside them.
    """
    import pandas as pd

    works = [work for work in zoo_workloads() if work.dataset in ("cifar10", "multi30k")]
    if model is not None and model not in {work.name for work in works}:
        works += zoo_workloads(model)
    return pd.DataFrame({work.name: _traits(work) for work in works}).T


@cache
def _traits(work: "Workload") -> dict[str, float]:
    from .. import accelerator as acc

    report = acc.simulate(work, design="efficient", dataflow="ws")
    parts = {component: part.time(report.hardware) for component, part in report.phases["gp"].parts.items()}
    forward, prediction = parts[acc.Component.FORWARD], parts[acc.Component.PREDICTION]
    weighted = [layer for layer in work.layers if layer.parameters]
    macs, longest = work.macs("forward"), max(layer.window for layer in weighted)

    def work_in(chosen: list["LayerShape"]) -> float:
        return 100 * sum(layer.macs for layer in chosen) / macs

    depthwise = [i for i, x in enumerate(work.layers) if x.kind == "conv" and x.groups > 1 and x.in_channels == 1]
    return {
        "layers": len(weighted),
        "depthwise work": 100 * float(forward[depthwise].sum() / forward.sum()),
        "1x1 work": work_in([layer for layer in weighted if layer.kind == "conv" and layer.kernel == (1, 1)]),
        "weights in linear layers": 100 * sum(x.parameters for x in weighted if x.kind == "linear") / work.parameters,
        "work without weights": work_in([layer for layer in work.layers if not layer.parameters]),
        "maps over weights": sum(layer.output_words for layer in work.layers) / work.parameters,
        "longest row": longest,
        "used outputs": 100 * sum(layer.window for layer in weighted) / longest / len(weighted),
        "prediction over forward": 100 * float(prediction.sum() / forward.sum()),
        "speed-up": report.speedup,
    }
