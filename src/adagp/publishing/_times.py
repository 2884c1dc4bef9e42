"""How long pages and runs took: before a reproduction, and in the artifact appendix."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _paths
from .._errors import UsageError, count
from .._escape import Html, as_html, fill_html
from .._files import read_json
from .._progress import duration
from ..data import FACTS
from ..evidence import recorded, summary
from ..running import PROFILES, Profile, Record, Run, local_store, recorded_store, recording_plan
from ._display import html_table
from ._notebooks import Job, is_stale, is_time, needed_runs, stamp

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

STEP_IMAGES = 64
"""Images of a step that ``benchmarks/epochs.py`` times."""


def forecast(plan: Sequence[Job], profile: Profile, folder: Path, inputs: str, *, each: bool) -> list[str]:
    """Return what a reproduction will do and how long it took last time, a line each.

    Args:
        folder: of the executed notebooks.
        inputs: as for ``execute_notebooks``.
        each: a line for each page; otherwise one for all of them.
    """
    store = local_store()
    missing = set(store.missing(list(dict.fromkeys(run for job in plan for run in needed_runs(job, profile)))))
    lines, before, stale = [], 0.0, 0
    for job in plan:
        to_train = [run for run in needed_runs(job, profile) if run in missing]
        last = stamp(folder, job.page)
        if not missing and not is_stale(job, folder, inputs):  # a new result may change any page
            lines.append(f"{job.page}: nothing to do, executed {last['finished']}")
            continue
        stale += 1
        before += last.get("seconds", 0.0)
        took = f"{duration(last['seconds'])} last time" if "seconds" in last else "not executed before"
        training = f"trains {len(to_train)} runs{_took_before(to_train, store)}, then " if to_train else ""
        lines.append(f"{job.page}: {training}executes the notebook ({took})")
    if not each:
        took = f" ({duration(before)} of one core last time)" if before else ""
        lines = [f"{len(missing)} runs to train{_took_before(missing, store)}, {stale} of {len(plan)} pages to execute{took}"]
    seconds = built().get("seconds")
    took = f" ({duration(seconds)} last time)" if seconds else ""
    return [*lines, f"then the book{took}, if a page has changed, and the claims"]


def _took_before(runs: Iterable, store) -> str:
    """Return how long outdated records of these runs took, in words; empty without any."""
    old = [record.result.seconds for run in runs if (record := store.get(run)) is not None]
    return f" ({duration(sum(old))} last time)" if old else ""


def built() -> dict:
    """Return what is known of the book's last build: key and seconds; empty where there was none."""
    try:
        found = read_json(_paths.book() / "_build" / "built", "")
        return found if isinstance(found["key"], str) and is_time(found["seconds"]) else {}
    except (UsageError, LookupError, TypeError):
        return {}


def times(executed: Path) -> str:
    """Return the appendix's tables as HTML: seconds of every page, of every run of the profile, and of every recorded run."""
    import pandas as pd

    pages = []
    for path in sorted(executed.glob("*.json")):
        last = stamp(executed, path.stem)
        if "seconds" in last:
            address = html.escape(f"notebooks/{path.stem}.html")
            link = Html(f'<a href="{address}">{as_html(_title(executed / f"{path.stem}.ipynb"))}</a>')
            seconds = f"{last['seconds']:.0f}"
            pages.append({"page": link, "name": path.stem, "seconds": seconds, "executed (UTC)": last["finished"][:16]})
    shown = []
    if pages:
        caption = "Pages, on the machine that built this book"
        shown.append(html_table(pd.DataFrame(pages), caption=caption).data)
    name, store = executed.parent.name, local_store()
    mine = [record for run in PROFILES[name].runs() if (record := store.get(run)) is not None] if name in PROFILES else []
    for records, caption in ((mine, f"Runs of the profile {name}"), (recorded(), "Recorded runs")):
        machines: dict[str, list[Record]] = {}
        for record in records:
            machine = record.provenance.machine
            machines.setdefault(machine.processor if machine.device == "cpu" else machine.device, []).append(record)
        shown += [html_table(_runs(some), caption=f"{caption}, on {machine}").data for machine, some in machines.items()]
    return "\n\n".join(table.replace("\n", "") for table in shown)


def benchmarks_table(history: "pd.DataFrame") -> "HTML":
    """Return the last figures of each benchmark: median, range and number of repetitions, and how much has changed.

    Args:
        history: ``measuring.kept_times``.
    """
    import pandas as pd
    from IPython.display import HTML

    tables: dict[str, list] = {}
    for (benchmark, what), rows in history.groupby(["benchmark", "what"], sort=False):
        last = rows.iloc[-1]
        change = "–" if pd.isna(last["over first"]) else f"{last['over first']:.2f}"
        middle, low, high = (f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in last[["median", "low", "high"]])
        place = f"{last['processor']}, {count(last['threads'], 'thread')}, torch {last['torch']}, {last['date'][:10]} (UTC)"
        tables.setdefault(place, []).append({
            "benchmark": benchmark, "quantity": what, "unit": last["unit"], "median": middle, "range": f"{low} to {high}",
            "n": last["n"], "over the first run": change,
        })  # fmt: skip
    return HTML("\n".join(html_table(pd.DataFrame(rows), caption=place).data for place, rows in tables.items()))


def missing_table(history: "pd.DataFrame") -> "HTML":
    """Return which runs at the scale that CPUs can record are missing, and the core-hours that they cost.

    A run costs as many steps of plain backpropagation as it trains batches, on one thread, by ``benchmarks/epochs.py``.

    Args:
        history: ``measuring.kept_times``.
    """
    import pandas as pd
    from IPython.display import HTML

    plan, timed = PROFILES["reduced"], history[history["benchmark"] == "thin steps"]
    timed = timed[timed["date"] == timed["date"].max()]  # of one machine
    seconds = timed.set_index("what")["median"] / STEP_IMAGES

    def hours(runs: Iterable[Run]) -> str:
        images = {run: run.trained_epochs() * (run.train_limit or FACTS[run.dataset].train_samples) for run in runs}
        if unknown := {run.model for run in images} - set(seconds.index):
            return f"not timed: {', '.join(sorted(unknown))}"
        return f"{sum(n * seconds[run.model] for run, n in images.items()) / 3600:.1f}"

    missing, rows = recorded_store().missing(recording_plan("reduced"), current=False), []
    for model in plan.models:
        mine = [run for run in missing if run.model == model]
        groups = {"seed 0": [run for run in mine if not run.seed], "further seeds": [run for run in mine if run.seed]}
        rows.append({"network": model} | {
            head: text for seeds, runs in groups.items()
            for head, text in ((f"runs, {seeds}", str(len(runs))), (f"core-hours, {seeds}", hours(runs) if runs else "–"))
        })  # fmt: skip
    again = [plan.run(model, method) for model in plan.models for method in plan.methods if model in seconds.index]
    full = len(recorded_store().missing(recording_plan("full"), current=False))
    said = fill_html("<p>The full plan lacks {full} runs, which need a GPU.</p>", full=full)
    if again:
        words = (
            "<p>The cost is an estimate: one thread of {processor} takes a step of plain backpropagation for each batch; test "
            "images, and what a method saves or adds, are left out. One seed of the {networks} networks that were timed, at "
            "the same scale with another decay or a learning-rate warm-up, would cost {hours} core-hours.</p>"
        )
        processor = timed["processor"].iloc[-1]
        said = Html(fill_html(words, processor=processor, hours=hours(again), networks=len(seconds)) + said)
    return HTML(html_table(pd.DataFrame(rows), caption="Runs that are not recorded yet, and their cost").data + said)


def _runs(records: list[Record]) -> "pd.DataFrame":
    """Return how long runs of one machine took, one row for all methods at one scale."""
    import pandas as pd

    keys = ["model", "data", "width", "train_samples", "epochs"]
    return pd.DataFrame(
        [
            {
                "model": model, "data": data, "width": f"{width:g}", "samples": f"{samples:,}", "epochs": epochs,
                "methods": group["method"].nunique(), "runs": len(group),
                "median of a run (s)": f"{group['seconds'].median():,.0f}",
                "range (s)": f"{group['seconds'].min():,.0f} to {group['seconds'].max():,.0f}",
            }
            for (model, data, width, samples, epochs), group in summary(records).groupby(keys)
        ]
    )  # fmt: skip


def _title(page: Path) -> str:
    """Return the page's first heading."""
    for cell in read_json(page, "delete it to execute it again")["cells"]:
        for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "markdown" else ():
            if line.startswith("# "):
                return line.removeprefix("# ")
    return page.stem
