"""Schedule stages and micro-batches of pipeline parallelism, with and without ADA-GP.

- GPipe (Huang et al., NeurIPS 2019): all forward passes, then all backward passes.
- DAPPLE (Fan et al., PPoPP 2021; the schedule is called 1F1B): stage s of p holds at most p - s micro-batches, which bounds
  the memory, and prefers a backward pass.
- Chimera (Li and Hoefler, SC 2021): two such pipelines in opposite directions over the same devices, half of the
  micro-batches in each; device d holds stage d of one and stage p - 1 - d of the other.

A Phase-GP batch has no backward pass, so its stages stream: each predicts when its micro-batches are through, then starts on
the next batch. A stage starts on the next batch when it has finished the one before and updated its weights. If two devices
hold copies of a stage, both must have finished. Communication takes no time.
"""

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._errors import UsageError, require, require_whole, short, unknown

if TYPE_CHECKING:
    import pandas as pd

PIPELINES = {"gpipe": "GPipe", "dapple": "DAPPLE", "chimera": "Chimera"}
"""Names of the schemes, and their titles."""
MOST = 10_000
"""Largest number of stages, and of micro-batches."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a device: a block of the Gantt chart."""

    device: int
    stage: int
    batch: int
    micro_batch: int
    kind: str
    """"forward", "backward" or "predictor" (the last once for each batch and stage)."""
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class PipelineSchedule:
    """Start and end of each task."""

    tasks: tuple[Task, ...]
    devices: int

    @property
    def makespan(self) -> float:
        """Time from the start of the first task to the end of the last one."""
        return max(task.end for task in self.tasks)

    @property
    def bubble(self) -> float:
        """Share of the devices' time that they spend waiting."""
        if not self.makespan:
            return 0.0  # nothing takes time, so nobody waits
        return 1 - sum(task.end - task.start for task in self.tasks) / (self.devices * self.makespan)

    def peak(self, device: int) -> int:
        """Return the largest number of micro-batches between their forward and backward pass on a device at once."""
        events = [(t.start, 1) for t in self.tasks if t.device == device and t.kind == "forward"]
        events += [(t.end, -1) for t in self.tasks if t.device == device and t.kind == "backward"]
        held = most = 0
        for _, change in sorted(events):
            held += change
            most = max(most, held)
        return most

    def to_frame(self) -> "pd.DataFrame":
        """Return one row for each task."""
        require("pandas")
        import pandas as pd

        return pd.DataFrame([vars(task) for task in self.tasks])


def pipeline(
    scheme: str,
    *,
    micro_batches: int,
    forward,
    backward,
    predictor=0.0,
    forward_alone=None,
    batches: str = "B",
    stages: int | None = None,
) -> PipelineSchedule:
    """Schedule batches on a pipeline; each device always takes the most urgent task that is ready.

    Args:
        scheme: "gpipe", "dapple" or "chimera".
        forward, backward: time of one micro-batch: a number for all stages, or one for each.
        predictor: time of one prediction and update, likewise; once for each Phase-GP batch and stage.
        forward_alone: time of one micro-batch's forward pass in a Phase-GP batch, likewise; that of ``forward`` unless given.
        batches: the phases in order, "B" (with a backward pass) or "G" (Phase GP), e.g. "GGGGB".
        stages: number of stages, if all times are numbers.

    Raises:
        UsageError: an unknown scheme or phase, stages or micro-batches that are no whole number from 1 to 10,000, times that
            are no numbers from 0 on or not one for each stage, or for Chimera an odd number of stages or micro-batches.
    """
    if scheme not in PIPELINES:
        raise unknown("pipeline", scheme, PIPELINES)
    given = {"forward": forward, "backward": backward, "predictor": predictor}
    given["forward_alone"] = forward if forward_alone is None else forward_alone
    times = {}
    for kind, value in given.items():
        try:
            times[kind] = np.asarray(value, float)
            valid = bool((np.isfinite(times[kind]) & (times[kind] >= 0)).all())
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise UsageError(f"{kind} must be a finite number from 0 on, or one for each stage, got {short(value)}")
    if stages is None:
        stages = max(time.size for time in times.values())
    require_whole("stages", stages, 1, MOST)
    require_whole("micro_batches", micro_batches, 1, MOST)
    for kind, time in times.items():
        if time.shape not in ((), (1,), (stages,)):
            raise UsageError(f"{kind} must be one number or {stages}, one for each stage, got {short(given[kind])}")
        times[kind] = np.broadcast_to(time, (stages,))
    if not batches or set(batches) - set("BG"):
        raise UsageError(f"batches must be a word of B and G, such as 'GGB', got {batches!r}")
    if scheme == "chimera" and (stages % 2 or micro_batches % 2):
        raise UsageError(f"chimera needs even stages and micro_batches, got {stages} and {micro_batches}")
    return _Scheduler(scheme, stages, micro_batches, times, batches).run()


class _Scheduler:
    """Event simulation of a pipeline. Keys of tasks are (batch, direction, stage, kind, micro-batch)."""

    def __init__(self, scheme: str, stages: int, micro_batches: int, times: dict, batches: str) -> None:
        self.scheme, self.stages, self.times, self.batches = scheme, stages, times, batches
        self.directions = 2 if scheme == "chimera" else 1
        self.micro_batches = micro_batches // self.directions
        self.waits_for: dict[tuple, int] = {}
        self.releases: dict[tuple, list[tuple]] = {}
        for batch in range(len(batches)):
            self._add_batch(batch)

    def _add(self, task: tuple, after: list[tuple]) -> None:
        self.waits_for[task] = len(after)
        for other in after:
            self.releases.setdefault(other, []).append(task)

    def _add_batch(self, b: int) -> None:
        micro, last = range(self.micro_batches), self.stages - 1
        for d in range(self.directions):
            for s in range(self.stages):
                before = self._finish(b - 1, s) if b else []
                for m in micro:
                    after = before + ([(b, d, s - 1, "forward", m)] if s else [])
                    # 1F1B: one more micro-batch may enter a stage only when an older one has left it.
                    limit = self.stages - s
                    if self.scheme != "gpipe" and self.batches[b] == "B" and m >= limit:
                        after = [*after, (b, d, s, "backward", m - limit)]
                    self._add((b, d, s, "forward", m), after)
                    if self.batches[b] == "B":
                        after = [(b, d, s, "forward", m)] if s == last else [(b, d, s + 1, "backward", m)]
                        if self.scheme == "gpipe":
                            after = after + [(b, d, s, "forward", n) for n in micro if n != m]
                        self._add((b, d, s, "backward", m), after)
                if self.batches[b] == "G":
                    through = [(b, e, s, "forward", m) for e in range(self.directions) for m in micro]
                    self._add((b, d, s, "predictor", 0), through)

    def _finish(self, b: int, s: int) -> list[tuple]:
        """Return the tasks that end a stage's work on a batch."""
        if self.batches[b] == "G":
            return [(b, d, s, "predictor", 0) for d in range(self.directions)]
        return [(b, d, s, "backward", m) for d in range(self.directions) for m in range(self.micro_batches)]

    def _device(self, task: tuple) -> int:
        return task[2] if task[1] == 0 else self.stages - 1 - task[2]

    @staticmethod
    def _urgency(task: tuple) -> tuple:
        batch, direction, _stage, kind, micro = task
        return batch, ("backward", "predictor", "forward").index(kind), micro, direction

    def run(self) -> PipelineSchedule:
        ready: list[list] = [[] for _ in range(self.stages)]
        free = [True] * self.stages
        running: list[tuple] = []
        tasks: list[Task] = []
        for task, n in self.waits_for.items():
            if n == 0:
                heapq.heappush(ready[self._device(task)], (self._urgency(task), task))
        now = 0.0
        while True:
            for device in range(self.stages):
                if free[device] and ready[device]:
                    _, task = heapq.heappop(ready[device])
                    batch, direction, stage, kind, micro = task
                    alone = kind == "forward" and self.batches[batch] == "G"
                    end = now + self.times["forward_alone" if alone else kind][stage]
                    free[device] = False
                    heapq.heappush(running, (end, task))
                    number = micro * self.directions + direction
                    tasks.append(
                        Task(device=device, stage=stage, batch=batch, micro_batch=number, kind=kind, start=now, end=end)
                    )
            if not running:
                return PipelineSchedule(tasks=tuple(tasks), devices=self.stages)
            now = running[0][0]
            while running and running[0][0] == now:
                _, task = heapq.heappop(running)
                free[self._device(task)] = True
                for other in self.releases.get(task, ()):
                    self.waits_for[other] -= 1
                    if not self.waits_for[other]:
                        heapq.heappush(ready[self._device(other)], (self._urgency(other), other))
