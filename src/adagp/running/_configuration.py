"""What one training run is: a frozen configuration with a name of its own."""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .._errors import UsageError, require_number, require_whole, short, unknown
from ..methods import METHODS, find
from ..models import input_shape
from ..schedule import DECAYS, AlwaysBP, LadderSchedule, Schedule

_MOST = 1_000_000
_WHOLE = {
    "seed": (0, 2**32 - 1),  # what NumPy's generators take too
    "epochs": (1, _MOST),
    "batch_size": (1, _MOST),
    "train_limit": (1, 10**9),
    "test_limit": (1, 10**9),
    "train_first": (0, 10**9),
    "warm_up_epochs": (0, _MOST),
}
"""Bounds of the whole numbers of a run, far outside of what anyone trains, so that nothing overflows later."""
_WORDS = ("model", "dataset", "method", "optimizer", "decay", "precision", "code")
_OWN = re.compile(r"[\w.-]+(:[\w.]+)?")
"""A name of a method that may be part of a file's name."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run. Its name hashes the fields that differ from these defaults, so the defaults never change.

    Raises:
        UsageError: a field is out of range or names something unknown.
    """

    model: str
    """A name of ``adagp.models``."""
    dataset: str
    """A name of ``adagp.data``."""
    method: str
    """A key of ``METHODS``, or a method of your own (see ``methods.find``)."""
    seed: int = 0
    """Seeds the initial weights, the order of the data and the augmentation."""
    width: float = 1.0
    """Share of the published channel counts."""
    epochs: int = 90
    """Epochs of the schedule; ``equal-cost`` runs fewer."""
    batch_size: int = 128
    """Samples a batch."""
    train_limit: int | None = None
    """Train on so many samples only."""
    train_first: int = 0
    """Index of the first of them; other seeds of a run on few samples may draw others."""
    test_limit: int | None = None
    """Test on the first so many samples only."""
    optimizer: str = "sgd"
    """'sgd' (momentum 0.9, as recalled of the paper) or 'adam'."""
    lr: float = 0.1
    """Initial learning rate."""
    decay: str = "cosine"
    """How the learning rate falls to 0 over the run, a key of ``schedule.DECAYS`` (our choice: no validation set is needed)."""
    weight_decay: float = 5e-4
    """L2 penalty."""
    warm_up_epochs: int = LadderSchedule.warm_up_epochs
    """Epochs of the ladder before prediction starts."""
    rungs: tuple[tuple[int, int, int], ...] = LadderSchedule.rungs
    """(epochs, GP, BP) of the ladder."""
    final: tuple[int, int] = LadderSchedule.final
    """(GP, BP) of the ladder's remaining epochs."""
    precision: str = "float32"
    """'float32', or 'bfloat16' for autocast."""
    predictor_options: tuple[tuple[str, object], ...] = field(default=())
    """More keyword arguments for the predictor, for ablations."""
    code: str = ""
    """Hash of the source of a method of your own (``Method.code``), found unless given: a changed method is another run."""
    start: "Run | None" = None
    """The run whose final weights this one starts from, all but its last layer's (fine-tuning); random ones unless given."""

    def __post_init__(self) -> None:
        for name in _WORDS:
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"{name} must be a name, got {short(getattr(self, name))}")
        if self.method in METHODS:
            object.__setattr__(self, "code", "")  # of a run with another method that this one was made from
        elif not self.code:
            object.__setattr__(self, "code", find(self.method).code)
        elif not _OWN.fullmatch(self.method):  # a record may be read where its method cannot be imported
            raise UsageError(f"method must be a name or package.module:class, got {short(self.method)}")
        input_shape(self.model, self.dataset)  # refuses an unknown model, or a data set of another kind
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if value is not None or name not in ("train_limit", "test_limit"):
                require_whole(name, value, least, most)
                object.__setattr__(self, name, int(value))  # NumPy's integers have no JSON
        for name, bound in (("width", 64), ("lr", 1e6), ("weight_decay", 1e6)):
            require_number(name, getattr(self, name), bound, zero=name == "weight_decay")
            object.__setattr__(self, name, float(getattr(self, name)))
        for name, valid in (("optimizer", ("sgd", "adam")), ("precision", ("float32", "bfloat16")), ("decay", DECAYS)):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        groups = (*self.rungs, self.final) if isinstance(self.rungs, tuple) else (self.rungs,)
        for group in groups:
            if not isinstance(group, tuple) or len(group) != (2 if group is self.final else 3):
                raise UsageError(f"rungs are tuples of (epochs, GP, BP), final is (GP, BP); got {short(group)}")
            for number in group:
                require_whole("a number of rungs or final", number, 0, _MOST)
        for option in self.predictor_options if isinstance(self.predictor_options, tuple) else (None,):
            if not (isinstance(option, tuple) and len(option) == 2 and isinstance(option[0], str) and _plain(option[1])):
                raise UsageError(f"predictor_options are pairs of a name and a value, got {short(self.predictor_options)}")
        self.ladder()
        if self.start is not None and not isinstance(self.start, Run):
            raise UsageError(f"start must be a run, got {short(self.start)}")
        if self.start is not None and self.model == "yolo_v3":
            raise UsageError("yolo_v3 starts from random weights only, got a start: three layers of it depend on the classes")
        if self.start is not None and (self.start.model, self.start.width) != (self.model, self.width):
            raise UsageError(
                f"start must be a run of {self.model} at width {self.width:g}, "
                f"got one of {self.start.model} at {self.start.width:g}: its weights would not fit"
            )

    def ladder(self) -> LadderSchedule:
        """The paper's schedule with this run's numbers."""
        return LadderSchedule(warm_up_epochs=self.warm_up_epochs, rungs=self.rungs, final=self.final)

    def schedule(self) -> Schedule:
        """The schedule the engine follows."""
        kind = METHODS[self.method].schedule if self.method in METHODS else "ladder"
        if kind == "always-bp":
            return AlwaysBP()
        if kind == "adaptive":
            from ..schedule import AdaptiveSchedule

            return AdaptiveSchedule(warm_up_epochs=self.warm_up_epochs)
        return self.ladder()

    def trained_epochs(self) -> int:
        """Epochs this run trains.

        For ``equal-cost`` the ladder's cost in epochs of plain BP, where a backward pass costs two forward passes
        and a prediction nothing: (3 BP + 1 GP batches) / 3, rounded to a whole epoch and at least 1.
        """
        if self.method not in METHODS or not METHODS[self.method].equal_cost:
            return self.epochs
        thousand = 1000  # batches an epoch: enough for the ratio to be exact to a tenth of a percent
        cost = sum(s.epochs * (3 * (s.warm_up + s.bp) + s.gp) for s in self.ladder().segments(self.epochs, thousand))
        return max(1, round(cost / (3 * thousand)))

    def config(self) -> dict:
        """All fields, as JSON holds them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @cached_property
    def name(self) -> str:
        """Readable and unique: the same configuration always has the same name."""
        changed = {k: v for k, default in _DEFAULTS.items() if (v := getattr(self, k)) != default}
        if self.start is not None:
            changed["start"] = self.start.name
        digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.model}-{self.dataset}-{self.method.replace(':', '.')}-s{self.seed}-{digest}"

    @classmethod
    def from_config(cls, config: dict) -> "Run":
        """The run that ``config()`` came from.

        Raises:
            UsageError: an unknown key, a missing one, or a value out of range.
        """
        for key in ("model", "dataset", "method"):
            if key not in config:
                raise UsageError(f"a run needs its {key}; got settings for {', '.join(map(str, config)) or 'nothing'}")
        for key in config:
            if key not in _DEFAULTS:
                raise unknown("run setting", key, _DEFAULTS)
        if config["method"] not in METHODS and not config.get("code"):  # reading a configuration imports no module
            raise unknown("method", config["method"], METHODS)
        values = {k: _tuples(v) for k, v in config.items()}
        if isinstance(start := values.get("start"), dict):
            text = repr(start)
            values["start"] = _STARTS[text] = _STARTS.get(text) or cls.from_config(start)
        return cls(**values)


_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Run)}
_STARTS: dict[str, Run] = {}
"""Runs that others start from, by their configuration: thousands of records name the same few."""


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
