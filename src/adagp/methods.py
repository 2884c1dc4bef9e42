"""The one table of methods: what each does in Phase GP, what it costs, how it is named and drawn.

A new method is one file with a class that follows ``predictors.GradientPredictor``, and one row here. Commands, records,
tables, figures, the accelerator model and the cost of a run all read this table. There is no other list of methods.

A class outside of this package needs no row. Its name as a method is "my_package.mine:MyPredictor", or that of an entry point
of the group ``adagp.methods``.
"""

import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from . import _work
from ._errors import UsageError, reason, short, unknown
from ._imported import imported
from ._work import GPWork

ENTRY_POINTS = "adagp.methods"
"""The group of entry points by which an installed package brings methods."""
PROTOCOL = ("bind", "see", "learn", "predict", "forget", "num_parameters", "state_dict", "load_state_dict")
"""The methods of ``predictors.GradientPredictor``."""
_OWN_COLOR = "#A6611A"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table: the schedule of a method, its predictor, and its work in a batch of Phase GP."""

    name: str
    """Name that ``adagp train --method`` takes."""
    title: str
    """Name in legends and tables."""
    line: str
    """Description in one line."""
    color: str
    """Color in figures, as #rrggbb."""
    predictor: str | None = None
    """Name for ``adagp.predictors.create``; None for a method that runs no batch of Phase GP. If several rows have the same
    name, ``create`` uses the options of the first."""
    made_by: str = "adagp.predictors:Coast"
    """The predictor's class, as module:class. Methods that run no batch of Phase GP keep the default, which they do not use."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of that class."""
    work: GPWork | Callable[..., GPWork] = _work.COAST
    """The work of a batch of Phase GP, or a function of the predictor's options that returns it. A method without such batches
    does not use it."""
    dial: str | None = None
    """Name of the option that a number after the method's name sets, as in "truncated:0.5"."""
    schedule: Literal["ladder", "adaptive", "always-bp"] = "ladder"
    """Kind of schedule that the engine follows. A method that ``drops`` batches has "always-bp": the loop leaves out those that
    the ladder puts in Phase GP, and the engine sees the others only."""
    equal_cost: bool = False
    """Whether it is plain BP for as many epochs as the ladder costs with a free predictor (see ``Run.trained_epochs``)."""
    predicts: bool = True
    """Whether it estimates gradients that are not computed for the batch; False for methods that only leave out work."""
    studied: Literal["always", "full", "never"] = "always"
    """Profiles in which the one model that is studied in depth is trained by this method: all, only the full one, or none."""
    code: str = ""
    """Hash of the source of a class outside of this package; empty for the rows of the table."""

    @property
    def drops(self) -> bool:
        """Whether the batches that the schedule puts in Phase GP are dropped."""
        return isinstance(self.work, GPWork) and not self.work.updates

    @property
    def has_gp_batches(self) -> bool:
        """Whether some batches are in Phase GP, those that are dropped included."""
        return self.schedule != "always-bp" or self.drops

    def create(self, **options: Any) -> Any:
        """Return a new predictor of this method, with its own options and these. A given option overrides the method's own.

        Raises:
            UsageError: the class does not take one of the options.
        """
        try:
            return imported(self.made_by)(**{**self.options, **options})
        except TypeError as error:
            raise UsageError(f"predictor {self.predictor} does not take these options: {error}") from error

    def gp_work(self, options: Mapping[str, Any] | None = None, cut: str | None = None) -> GPWork:
        """Return the work of a batch of Phase GP, without importing torch.

        Args:
            options: options of the predictor, in addition to the method's own.
            cut: name of the lowest layer with a true gradient, where a run has determined it.
        """
        if isinstance(self.work, GPWork):
            return self.work
        arguments = {**self.options, **(options or {})} | ({} if cut is None else {"cut": cut})
        return self.work(**arguments)


def _table(*rows: Method) -> dict[str, Method]:
    return {row.name: row for row in rows}


_SHARED: dict[str, Any] = {
    "predictor": "shared-network", "made_by": "adagp.predictors:SharedNetwork", "work": _work.shared_network,
}  # fmt: skip

METHODS: dict[str, Method] = _table(
    Method(
        name="bp", title="BP", line="backpropagation in every batch: the baseline", color="#000000", schedule="always-bp",
        predicts=False,
    ),
    Method(
        name="adagp", title="ADA-GP", color="#0072B2", **_SHARED,
        line="the paper's predictor: one small network for all layers sees their outputs (targets normalized, our choice)",
    ),
    Method(
        name="coast", title="coast", color="#E69F00", predictor="coast", made_by="adagp.predictors:Coast", predicts=False,
        line="a zero gradient in Phase GP: momentum and weight decay continue; prediction must beat it",
    ),
    Method(
        name="skip", title="skip", color="#808080", schedule="always-bp", work=_work.SKIP, predicts=False,
        line="the batches of Phase GP are dropped; the others are trained by backpropagation",
    ),
    Method(
        name="equal-cost", title="equal-cost BP", color="#009E73", schedule="always-bp", equal_cost=True, predicts=False,
        line="backpropagation for as many epochs as ADA-GP costs, if predictions are free",
    ),
    Method(
        name="ema", title="EMA", color="#CC79A7", predictor="ema", made_by="adagp.predictors:MovingAverage",
        line="a moving average of the true gradients",
    ),
    Method(
        name="previous", title="previous gradient", color="#F0E442", predictor="previous",
        made_by="adagp.predictors:MovingAverage", options={"decay": 0.0}, line="the last true gradient again",
    ),
    Method(
        name="shuffled", title="shuffled activations", color="#56B4E9", predictor="shuffled",
        made_by="adagp.predictors:Shuffled", work=_work.shared_network,
        line="ADA-GP whose predictor sees another batch's activations: a control",
    ),
    Method(
        name="random-direction", title="random direction", color="#332288", predictor="random-direction",
        made_by="adagp.predictors:RandomDirection", work=_work.shared_network, studied="never",
        line="noise with the norm of ADA-GP's prediction: a control",
    ),
    Method(
        name="error-projection", title="error projection", color="#D55E00", predictor="error-projection",
        made_by="adagp.predictors:ErrorProjection", work=_work.PROJECT,
        line="ours: the output error projected onto every layer",
    ),
    Method(
        name="adagp-gate", title="ADA-GP, gated", color="#004C78", options={"gate": True}, **_SHARED,
        line="ADA-GP whose predictions are scaled by a gate, fitted by least squares (ours)",
    ),
    Method(
        name="adagp-literal", title="ADA-GP, raw targets", color="#8DB9D8", options={"normalize": False}, **_SHARED,
        line="the paper taken literally: the predictor learns gradients as they are",
    ),
    Method(
        name="adagp-default-init", title="ADA-GP, default start", color="#3E6E91", options={"zero_start": False}, **_SHARED,
        line="ADA-GP whose predictor starts with PyTorch's random weights, not with its last layer at zero",
    ),
    Method(
        name="truncated", title="truncated", color="#009E73", predictor="truncated", made_by="adagp.predictors:Truncated",
        work=_work.truncated, dial="share", predicts=False,
        line="true gradients for the layers near the loss, zero for those below",
    ),
    Method(
        name="sampled", title="random part", color="#882255", predictor="sampled", made_by="adagp.predictors:Sampled",
        work=_work.sampled, dial="part", predicts=False, studied="full",
        line="backpropagation on a random quarter of the batch",
    ),
    Method(
        name="sampled-hardest", title="hardest part", color="#AA4499", predictor="sampled", made_by="adagp.predictors:Sampled",
        options={"by": "error"}, work=_work.sampled, dial="part", predicts=False, studied="full",
        line="backpropagation on the quarter of the batch with the largest output error",
    ),
    Method(
        name="control-variate", title="control variate", color="#661100", predictor="control-variate",
        made_by="adagp.predictors:ControlVariate", work=_work.control_variate, dial="part", studied="full",
        line="true gradients on a quarter of the batch, corrected by predictions on all of it",
    ),
    Method(
        name="nowcast", title="nowcast", color="#999933", predictor="nowcast", made_by="adagp.predictors:Nowcast",
        work=_work.NOWCAST, studied="full",
        line="weights extrapolated from their last changes, without a forward pass",
    ),
    Method(
        name="feedback-alignment", title="feedback alignment", color="#6699CC", predictor="feedback-alignment",
        made_by="adagp.predictors:FeedbackAlignment", work=_work.PROJECT, studied="full",
        line="the output error through fixed random matrices",
    ),
    Method(
        name="adaptive", title="ADA-GP, adaptive", color="#117733", schedule="adaptive", **_SHARED,
        line="ADA-GP that chooses the number of GP batches from the loss and the prediction quality it measures",
    ),
    Method(
        name="oracle", title="oracle", color="#000080", predictor="oracle", made_by="adagp.predictors:Oracle",
        work=_work.ORACLE, studied="never",
        line="the true gradient by backpropagation in Phase GP too: the upper bound",
    ),
)  # fmt: skip


def find(name: str) -> Method:
    """Return a method by name: a row of the table, an entry point, or a class as module:class.

    Modules are looked for in the current folder first.

    Raises:
        UsageError: no method of this name; or the class cannot be imported or made, or lacks a method of the protocol.
    """
    return METHODS[name] if name in METHODS else _own(name)


@cache
def _own(name: str) -> Method:
    """Return a row for a class outside of this package. It is made once, to see that it can be and what work it states."""
    target = name
    word, colon, _ = name.partition(":")
    if not colon or word in METHODS:
        brought = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
        if name not in brought:
            raise unknown("method", name, {*METHODS, *brought})
        target = brought[name]
    try:
        kind = imported(target, here=True)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise UsageError(f"cannot import the method {name}: {type(error).__name__}: {reason(error)}") from error
    if not isinstance(kind, type):
        raise UsageError(f"the method {name} must be a class with the methods of GradientPredictor, got {short(kind)}")
    missing = [part for part in PROTOCOL if not callable(getattr(kind, part, None)) or _is_abstract(getattr(kind, part))]
    if missing:
        raise UsageError(
            f"the method {name} lacks {', '.join(missing)}: derive the class from adagp.predictors.GradientPredictor, which "
            "has defaults for all but predict"
        )
    try:
        work = kind().work
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"cannot make {name} without arguments: {type(error).__name__}: {reason(error)}; give each parameter of __init__ a "
            "default"
        ) from error
    if not isinstance(work, GPWork):
        raise UsageError(f"the method {name} must state its work in Phase GP as a GPWork, got work = {short(work)}")

    def stated(cut: str | None = None, **options: Any) -> GPWork:
        own = kind(**options).work
        return own if cut is None else replace(own, cut=cut)

    line = (inspect.getdoc(kind) or "a method of your own").split("\n")[0]
    return Method(
        name=name, title=kind.__name__, line=line, color=_OWN_COLOR, predictor=name, made_by=target, work=stated,
        code=_source_code(kind),
    )  # fmt: skip


def _is_abstract(part: Any) -> bool:
    return getattr(part, "__isabstractmethod__", False)


def _source_code(kind: type) -> str:
    """Return a hash of the source of a class: of its module's file or, in a package, of all Python files of the package."""
    path = Path(getattr(sys.modules[kind.__module__], "__file__", None) or "")
    top = sys.modules.get(kind.__module__.partition(".")[0])
    folder = Path(next(iter(getattr(top, "__path__", [])), path))
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() and path.is_file() else [path]:
        try:
            total.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read the source of {kind.__name__}: {reason(error)}; give a class in a file") from error
    return total.hexdigest()[:16]


def by_predictor() -> dict[str, Method]:
    """Return the first method with each predictor, by the predictor's name: its options are the predictor's own."""
    rows: dict[str, Method] = {}
    for row in METHODS.values():
        if row.predictor is not None:
            rows.setdefault(row.predictor, row)
    return rows


def named_work(name: str | GPWork) -> GPWork:
    """Return the work of a method in a batch of Phase GP, by the method's name, such as "coast" or "truncated:0.5".

    Example:

        >>> from adagp.methods import named_work
        >>> named_work("truncated:0.5").backward
        0.5

    Args:
        name: the name, and perhaps a number for the option ``dial``; or module:class. A ``GPWork`` is returned unchanged.

    Raises:
        UsageError: the name is unknown, the method has no GP batches or takes no number, or the number is out of range.
    """
    if isinstance(name, GPWork):
        return name
    word, colon, number = name.partition(":")
    if colon and word not in METHODS:
        return find(name).gp_work()
    method = find(word)
    if not method.has_gp_batches:
        raise UsageError(f"method {word} has no batches of Phase GP; choose another, such as coast or skip")
    if not colon:
        return method.gp_work()
    if method.dial is None:
        dials = ", ".join(row.name for row in METHODS.values() if row.dial)
        raise UsageError(f"method {word} takes no number, got {name!r}; one goes with {dials}")
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", number, re.ASCII):
        raise UsageError(f"method {word} takes a number from 0 to 1, such as {word}:0.5; got {name!r}")
    return method.gp_work({method.dial: float(number)})
