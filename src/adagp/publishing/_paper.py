"""The project as a paper: text in ``paper.typ``, and the numbers, tables and figures that it reads, made from the records.

Typst sets it, with the fonts that come with Typst and with matplotlib, so that no network is needed.
"""

import io
import json
import shutil
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import __version__, _paths, evidence, figures
from .._errors import UsageError, count, require
from .._files import write_atomic
from .._predictor_size import PredictorSize
from .._progress import duration
from ..evidence import Interval
from ..figures import Row, style
from ..models import FOURTEEN
from ..running import Record, commit
from ..schedule import LadderSchedule
from ._claims import claims_as_text
from ._doors import COMPARED, said, side, step_on_gpu
from ._equal_area import area_numbers
from ._findings import cosine_by_place, equal_cost_counts
from ._templates import scale_of, scale_with_models, spread, variant

_METHODS = {"bp": "backpropagation", "equal-cost": "backpropagation, equal cost", "adagp": "ADA-GP", "coast": "coasting"}
_PAIRS = (("adagp", "bp"), ("adagp", "coast"), ("adagp", "equal-cost"), ("coast", "bp"))
NAME = "adagp"
"""Name of the paper's file, without its ending."""


def build_paper(folder: Path) -> Path:
    """Write the paper's source, figures and PDF into a folder, and return the PDF's path.

    Raises:
        MissingExtraError: Typst is not installed.
        UsageError: records or the bibliography are missing or damaged.
    """
    require("typst", what="adagp paper")
    import matplotlib
    import typst

    source = write_paper(folder)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    try:
        made = typst.compile(str(source), font_paths=[str(fonts)], ignore_system_fonts=True, format="pdf")
    except typst.TypstError as error:
        raise UsageError(f"{source} does not compile: {error}; restore src/adagp/publishing/paper.typ") from error
    target = folder / f"{NAME}.pdf"
    write_atomic(target, made)
    return target


def write_paper(folder: Path) -> Path:
    """Write what Typst needs into a folder and return the text's path.

    Beside the text these are the numbers as JSON, the figures and the bibliography.

    Raises:
        UsageError: records or the bibliography are missing or damaged.
    """
    numbers, drawn = _contents()
    bibliography = _paths.book() / "references.bib"
    if not bibliography.is_file():
        raise UsageError(f"{bibliography} is not there; restore it with git checkout")
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawn.items():
        write_atomic(folder / f"{name}.svg", _svg(drawing))
    write_atomic(folder / "paper.json", json.dumps(numbers, indent=1))
    shutil.copyfile(bibliography, folder / "references.bib")
    target = folder / f"{NAME}.typ"
    write_atomic(target, (files(__package__) / "paper.typ").read_text(encoding="utf-8"))
    return target


def _svg(drawing: style.Drawing) -> bytes:
    """Return a figure as narrow as a column."""
    buffer = io.BytesIO()
    with style.use():
        drawing.for_phone().savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _contents() -> tuple[dict[str, Any], dict[str, style.Drawing]]:
    """Return the paper's numbers, as text with their units, and its figures by name."""
    kept = evidence.recorded()
    records = evidence.deciding(kept)
    if not {"adagp", "bp"} <= {record.run.method for record in records}:
        raise UsageError(
            f"{_paths.recorded()} has no run of ADA-GP and backpropagation to write about; restore it with git checkout"
        )
    claims = evidence.recorded_claims(records)
    numbers: dict[str, Any] = {
        "version": __version__, "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
        "claims": claims_as_text(claims), "gpu": _gpu(), "records": f"{len(kept):,}",
        "recorded_data": " and ".join(sorted({record.provenance.data.name.split(",")[0] for record in kept})),
        "verdicts": {
            word: sum(claim.verdict == word for claim in claims if claim.source == "paper")
            for word in ("holds", "differs", "open")
        },
    }  # fmt: skip
    drawn = {"phases": figures.phases()}
    for part in (_schedule, _speed, _area, _checks):
        numbers |= part(drawn)
    return numbers | _accuracy(records, drawn) | _equal_cost(kept, drawn), drawn


_Drawn = dict[str, style.Drawing]


def _schedule(drawn: _Drawn) -> dict[str, str]:
    ladder, size = LadderSchedule(), PredictorSize()
    return {
        "warm_up": str(ladder.warm_up_epochs), "rungs": ", ".join(f"{n} epochs of {gp}:{bp}" for n, gp, bp in ladder.rungs),
        "final": "{}:{}".format(*ladder.final), "pool": f"{size.pool} x {size.pool}", "maps": str(size.channels),
        "kernel": f"{size.kernel} x {size.kernel}", "features": str(size.features), "models": str(len(FOURTEEN)),
    }  # fmt: skip


def _speed(drawn: _Drawn) -> dict[str, str]:
    from .. import accelerator as acc

    works = evidence.zoo_workloads()
    table = acc.simulate_all(works)
    ours = table[(table["design"] == "efficient") & (table["dataflow"] == "ws")]
    paper = {"speedup": evidence.paper_value("mean-speedup"), "energy_saving": evidence.paper_value("mean-energy-saving")}
    found: dict[str, str] = {}
    for quantity, bound, value, scale, digits in (
        ("speedup", acc.ladder_bound()[0], evidence.claim_value("mean-speedup"), 1, 2),
        ("energy_saving", acc.ladder_bound()[1], evidence.claim_value("mean-energy-saving"), 100, 1),
    ):
        by_model = table.groupby(["dataflow", "design", "model"])[quantity].mean()
        means = scale * by_model.groupby(["dataflow", "design"]).mean()
        each = scale * ours.groupby("model")[quantity].mean()
        drawn[quantity] = figures.speedup(ours, quantity, paper=paper[quantity])
        parts = {
            "bound": scale * bound, "ours": value, "least": each.min(), "most": each.max(),
            "low": means.min(), "high": means.max(),
        }  # fmt: skip
        found |= {f"{quantity}_{name}": f"{number:.{digits}f}" for name, number in parts.items()}
        found[f"{quantity}_paper"] = f"{paper[quantity]:g}"
    moved = acc.sensitivity(works)
    drawn["batch"] = figures.batch_size(moved, paper=paper)
    by_model = moved.groupby(["choice", "value", "model"], sort=False)["speedup"].mean()
    means = by_model.groupby(["choice", "value"], sort=False).mean()
    batch, other = means["batch"], means.drop(index="batch")
    return found | {
        "added": f"{100 * abs(evidence.claim_value('mean-speedup') / acc.ladder_bound()[0] - 1):.1f}",
        "smallest": str(batch.index[0]), "at_smallest": f"{batch.iloc[0]:.2f}", "largest": str(batch.index[-1]),
        "at_largest": f"{batch.iloc[-1]:.2f}", "others_slow": f"{other.min():.2f}", "others_fast": f"{other.max():.2f}",
        "beyond": "more" if paper["energy_saving"] > 100 * acc.ladder_bound()[1] else "less",
    }  # fmt: skip


def _area(drawn: _Drawn) -> dict[str, str]:
    means = evidence.equal_area()
    rows: list[Row] = [
        (f"{style.LABELS[row['design']]}, {row['area']:.2f} mm2", row["speedup"], None, None, row["design"])
        for row in means.to_dict("records")
    ]
    drawn["area"] = figures.compared(rows, xlabel="speed-up over the baseline", reference=1.0)
    digits = {"area": 1, "plain": 1, "more": 1}
    return {f"area_{name}": f"{value:.{digits.get(name, 2)}f}" for name, value in area_numbers(means).items()}


def _checks(drawn: _Drawn) -> dict[str, str]:
    scalesim, zigzag = evidence.validation_record("scalesim"), evidence.validation_record("zigzag")
    runs = figures.scalesim(scalesim)[1]
    record = evidence.hardware_record()["runs"]
    layers = record["layers"]["layers"]
    beside = [100 - 100 * layer["products"] / layer["cycles"] for layer in layers]
    return {
        "cycles_equal": str(int((runs["difference"] == 0).sum())), "cycles_runs": str(len(runs)),
        "traffic_equal": str(sum(row["model"] == row["zigzag"] for row in zigzag["mappings"])),
        "traffic_runs": str(len(zigzag["mappings"])), "rtl_designs": str(len(record["batches"]["designs"])),
        "rtl_gives": "gives" if record["batches"]["equal"] and record["layers"]["equal"] else "does not give",
        "rtl_same": str(sum(layer["products"] == layer["model"] for layer in layers)), "rtl_layers": str(len(layers)),
        "beside_least": f"{min(beside):.0f}", "beside_most": f"{max(beside):.0f}",
    }  # fmt: skip


def _accuracy(records: list[Record], drawn: _Drawn) -> dict[str, Any]:
    """Return accuracies at the largest recorded scale, their paired differences, and how good the predictions are."""
    runs = evidence.summary(records)
    scores: dict[tuple[str, str], Interval | None] = {}
    losses: dict[tuple[str, str], Interval | None] = {}
    for pair in _PAIRS:
        scores[pair] = evidence.interval(evidence.pairs(records, *pair)["difference"])
    for pair in (*_PAIRS, ("equal-cost", "bp")):
        losses[pair] = evidence.interval(evidence.pairs(records, *pair, loss=True)["difference"])
    rows: list[Row] = [
        (f"{_METHODS[method]}\nminus {_METHODS[other]}", one.mean, one.low, one.high, method)
        for (method, other), one in scores.items()
        if one
    ]
    drawn["accuracy"] = figures.compared(rows, xlabel="points of test accuracy", reference=0.0)
    final = evidence.curves(records)
    final = final[final["epoch"] == final.groupby(["method", "seed"])["epoch"].transform("max")]
    table = []
    for method, title in _METHODS.items():
        mine = runs[runs["method"] == method]
        if len(mine):
            loss = final.loc[final["method"] == method, "test_loss"].mean()
            scores_of = [f"{mine['score'].mean():.2f}", f"{mine['score'].std():.2f}"]
            table.append([title, *scores_of, f"{loss:.3f}", str(len(mine))])
    broad = evidence.broadest()
    small = evidence.summary(broad)
    wide = {other: evidence.interval(evidence.by_network(broad, "adagp", other)) for other in ("bp", "coast")}
    predicted = evidence.quality(record for record in records if record.run.method == "adagp")
    drawn["quality"] = figures.predictor_quality(predicted)
    main = scores["adagp", "bp"]
    return {
        "scores": table,
        "scale": scale_with_models(runs[runs["method"].isin(["adagp", "bp"])]),
        "pairs": str(main.pairs if main else 0),
        **{f"{a}_{b}".replace("-", "_"): said(found) for (a, b), found in scores.items()},
        **{f"{a}_{b}_is".replace("-", "_"): COMPARED[side(found)] for (a, b), found in scores.items()},
        **{f"loss_{a}_{b}".replace("-", "_"): said(found, digits=3) for (a, b), found in losses.items()},
        "networks": str(wide["bp"].pairs if wide["bp"] else 0), "networks_bp": said(wide["bp"]),
        "networks_coast": said(wide["coast"]), "networks_scale": scale_of(small),
        "networks_seeds": spread(small.groupby(["model", "method"])["seed"].nunique()),
        "cosine": f"{predicted['cosine'].mean():.3f}",
        **{f"cosine_{place}": f"{value:z.3f}" for place, value in cosine_by_place(predicted).items()},
        "size": f"{100 * predicted['norm_ratio'].mean():.0f}", "needed": f"{evidence.threshold(1 - 1e-9):.2f}",
        "correlation": _correlation(),
        "devices": ", ".join(sorted({record.provenance.machine.device for record in records})),
        "seconds": duration(runs["seconds"].sum()),
    }  # fmt: skip


def _correlation() -> str:
    """Return the squared correlation of the paper's predictor with single samples' gradients, over a whole network."""
    try:
        record, *_ = evidence.recorded_correlations().values()
    except UsageError:
        return "not measured yet"
    whole = evidence.whole_network(evidence.correlation_table(record))
    mean = whole.loc[whole["prediction"] == "shared-network", "rho2"].mean()
    return f"{mean:.3f}" if mean >= 0.0005 else "less than 0.001"


def _equal_cost(kept: list[Record], drawn: _Drawn) -> dict[str, Any]:
    """Return which variants are better than backpropagation of their own cost."""
    regimes = evidence.regimes(kept)
    tables = evidence.compared(regimes)
    again = evidence.compared(evidence.regimes(kept, confirming=True))
    lines = [
        {
            "variant": variant(row["method"], row["timing"]), "setting": row["regime"].title,
            "points": row["distance"].text(), "n": str(row["n"]), "side": row["side"],
        }
        for row in evidence.leading(tables, again).to_dict("records")
        if row["side"] != "exploratory"
    ]  # fmt: skip
    small = [regime for regime in regimes if regime.start is None]
    if small:
        regime = max(small, key=lambda one: len(tables[one]))
        drawn["frontier"] = figures.frontier(regimes[regime], evidence.frontier(regimes[regime]), tables[regime])
    return {
        "frontier_setting": regime.title if small else "", "repeated": lines,
        **{name: str(number) for name, number in equal_cost_counts(tables).items()},
    }  # fmt: skip


def _gpu() -> dict[str, Any]:
    """Return how fast the method was on the GPU that was timed."""
    record = evidence.recorded_steps()
    if record is None:
        return {"rows": []}
    rows = [
        [model, *step_on_gpu(model, found), f"{found['glue']['ladder']:.2f}"] for model, found in record["models"].items()
    ]
    ladders = [found["glue"]["ladder"] for found in record["models"].values()]
    slower = sum(ladder < 1 for ladder in ladders)
    times = {"gp": [float(row[2]) for row in rows], "bp": [float(row[3]) for row in rows]}
    origin = record["provenance"]
    return {
        "rows": rows, "device": origin["machine"]["device"], "torch": origin["versions"]["torch"], "date": origin["date"][:10],
        "slower": f"all {slower} networks" if slower == len(rows) > 1 else f"{slower} of {count(len(rows), 'network')}",
        **{phase: {"least": f"{min(some):.1f}", "most": f"{max(some):.1f}"} for phase, some in times.items()},
        "slowest": f"{min(ladders):.2f}", "fastest": f"{max(ladders):.2f}",
    }  # fmt: skip
