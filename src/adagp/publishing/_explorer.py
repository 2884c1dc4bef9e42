"""The interactive page: tables of the accelerator model, and the script that reads them in the browser (``explorer.js``)."""

import base64
import json
from importlib.resources import files
from typing import TYPE_CHECKING

from .._escape import Html, fill_html
from ..data import FACTS
from ..figures.style import COLORS, LABELS
from ..schedule import LadderSchedule

if TYPE_CHECKING:
    import numpy as np
    from IPython.display import HTML

    from ..accelerator import ChipGrid, Workload

_PAGE = """
<form class="adagp-explorer" id="adagp-explorer" autocomplete="off">
<fieldset><legend>Network</legend>{network}</fieldset>
<p class="adagp-basis" id="explorer-note" aria-live="polite"></p>
<fieldset><legend>Chip</legend>{chip}</fieldset>
<fieldset><legend>Schedule</legend>{schedule}</fieldset>
<p><button type="reset">Reset</button></p>
<div id="explorer-result" role="status" aria-live="polite"><noscript>This page needs JavaScript.
The command <code>adagp simulate vgg13</code> gives the same figures.</noscript></div>
<div class="explorer-bars" id="explorer-bars"></div>
<p class="adagp-basis">The same from Python:</p>
<pre id="explorer-call" tabindex="0"></pre>
</form>
<script type="application/json" id="explorer-data">{data}</script>
<script>{script}</script>
"""
_SELECT = '<label for="explorer-{name}">{title} <select id="explorer-{name}">{options}</select></label>'
_RANGE = (
    '<label for="explorer-{name}">{title} <span class="explorer-range"><input type="range" id="explorer-{name}" '
    'min="{least}" max="{most}" step="{step}" value="{value}"><output id="explorer-{name}-value" for="explorer-{name}">{value}'
    "</output></span></label>"
)
_FIRST = {
    "network": "vgg13", "dataset": "cifar10", "batch": 128, "array": "12x15", "buffer": 110592, "bandwidth": 12.8e9,
    "dataflow": "ws", "design": "low",
}  # fmt: skip
"""What is chosen when the page opens: the chip and the batch of the other pages, and the design LOW."""


def explorer(grid: "ChipGrid") -> "HTML":
    """Return controls for every axis of a grid and for the schedule, and what they give; the page needs nothing else.

    The browser reads cycles and energies of single batches from the grid's tables, in single precision. It computes how many
    batches of each phase a schedule has, and from both the figures of a ``Report``.
    """
    from IPython.display import HTML

    from .. import accelerator as acc

    works, ladder = grid.works, LadderSchedule()
    names = list(dict.fromkeys(work.name for work in works))
    chip: dict[str, tuple[str, dict]] = {
        "array": ("Array (PEs)", {f"{rows}x{cols}": f"{rows} x {cols}" for rows, cols in grid.arrays}),
        "buffer": ("Buffer", {size: _bytes(size) for size in grid.buffers}),
        "bandwidth": ("DRAM bandwidth", {rate: f"{rate / 1e9:g} GB/s" for rate in grid.bandwidths}),
        "dataflow": ("Dataflow", {flow: LABELS[flow] for flow in grid.dataflows}),
        "design": ("Design", {design: LABELS[design] for design in acc.DESIGNS[1:]}),
    }
    network: dict[str, tuple[str, dict]] = {
        "network": ("Network", {name: name for name in names}),
        "dataset": ("Data set", {work.dataset: work.dataset for work in works}),
        "batch": ("Batch size", {batch: str(batch) for batch in grid.batches}),
    }
    ratios = {"ladder": "4:1 to 1:1 (paper)"} | {f"{gp}:1": f"{gp}:1" for gp in (1, 2, 3, 4)}
    schedule = (
        _range("epochs", "Epochs", 20, 200, 5, 90)
        + _range("warm-up", "Warm-up epochs", 0, 60, 1, ladder.warm_up_epochs)
        + _select("ratio", "GP:BP batches", ratios, "ladder")
    )
    data = {
        "works": [[work.name, work.dataset, _samples(work)] for work in works],
        "arrays": [f"{rows}x{cols}" for rows, cols in grid.arrays], "buffers": grid.buffers, "batches": grid.batches,
        "dataflows": grid.dataflows, "bandwidths": grid.bandwidths, "designs": acc.DESIGNS[1:], "runs": acc.GRID_BATCHES,
        "titles": {name: LABELS[name] for name in acc.DESIGNS}, "colors": {name: COLORS[name] for name in acc.DESIGNS},
        "rungs": ladder.rungs, "final": ladder.final,
        "cycles": _packed(grid.cycles, "<f4"), "energy": _packed(grid.energy, "<f4"), "area": _packed(grid.area, "<f4"),
        "plainCycles": _packed(grid.plain_cycles, "<f4"), "plainArray": _packed(grid.plain_array, "u1"),
    }  # fmt: skip
    script = (files(__package__) / "explorer.js").read_text(encoding="utf-8")
    made = fill_html(
        _PAGE,
        network=Html("".join(_select(name, *rest, _FIRST[name]) for name, rest in network.items())),
        chip=Html("".join(_select(name, *rest, _FIRST[name]) for name, rest in chip.items())),
        schedule=Html(schedule),
        data=Html(json.dumps(data).replace("<", "\\u003c")),
        script=Html(script),
    )
    return HTML(made)


def explorer_numbers(grid: "ChipGrid") -> dict[str, float]:
    """Return what the grid says as a whole, with the paper's schedule over 90 epochs.

    Keys: points (settings of network, data set and chip), least and most (speed-up of LOW), slower (percent of the points at
    which LOW is slower than backpropagation on the same array), searched (points with a dataflow whose plain arrays are
    searched); and the percent of those at which low, efficient and max are faster than the plain array of their area.
    """
    import numpy as np

    from .. import accelerator as acc

    def share(work: "Workload", batch: int) -> float:
        steps = -(-_samples(work) // batch)
        return sum(segment.epochs * segment.gp for segment in LadderSchedule().segments(90, steps)) / (90 * steps)

    gp = np.array([[share(work, batch) for batch in grid.batches] for work in grid.works])[:, None, None, :, None, None]
    plain = grid.cycles[..., :1] / grid.plain_cycles
    searched = np.isfinite(grid.plain_cycles[..., 0])
    faster, speedups = {}, {}
    for d, design in enumerate(acc.DESIGNS[1:]):
        in_bp, in_gp = (grid.cycles[..., acc.GRID_BATCHES.index((design, phase))] for phase in ("bp", "gp"))
        speedups[design] = grid.cycles[..., 0] / ((1 - gp) * in_bp + gp * in_gp)
        faster[design] = 100 * float((speedups[design] > plain[..., d])[searched].mean())
    low = speedups["low"]
    return faster | {
        "points": low.size, "least": float(low.min()), "most": float(low.max()), "slower": 100 * float((low < 1).mean()),
        "searched": int(searched.sum()),
    }  # fmt: skip


def _samples(work: "Workload") -> int:
    return FACTS[work.dataset or "cifar10"].train_samples


def _packed(values: "np.ndarray", kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _bytes(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 1024:g} KiB"


def _select(name: str, title: str, choices: dict, first: object) -> Html:
    options = "".join(
        fill_html(
            '<option value="{value}"{chosen}>{text}</option>',
            value=str(value),
            chosen=Html(" selected" if value == first else ""),
            text=text,
        )
        for value, text in choices.items()
    )
    return fill_html(_SELECT, name=name, title=title, options=Html(options))


def _range(name: str, title: str, least: int, most: int, step: int, value: int) -> Html:
    return fill_html(_RANGE, name=name, title=title, least=least, most=most, step=step, value=value)
