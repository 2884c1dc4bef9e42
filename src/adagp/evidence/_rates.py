"""Whether predictions help once the predictor learns faster: ``running.rate_runs``, which have controls at equal rates."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..running import CHOSEN_RATE, RATES, Record, rate_runs
from ._families import holm, p_value
from ._frames import quality
from ._rules import pairs_of

if TYPE_CHECKING:
    import pandas as pd

RATE_REFERENCES = ("coast", "shuffled", "random-direction")
"""What ADA-GP is compared with at each rate. The first asks whether predictions help at all, the second whether it is the
batch's own information, the third whether it is a direction or only a step of this size."""


def rate_results(records: Iterable[Record]) -> "pd.DataFrame":
    """Return the runs of the study of the predictor's learning rate, an arm a row, compared with the controls.

    The comparisons of ADA-GP at ``running.CHOSEN_RATE`` with ``RATE_REFERENCES`` are the study's question: they were fixed
    before the first run, and are judged together (Holm). All other rows are exploratory.

    Args:
        records: the committed ones, say; those of other plans are left out.

    Returns:
        Columns method, rate (of the predictor; NaN without one), pool (side of its pooled maps), n, score and std (mean of the
        last three epochs, in percent), cosine and size (mean over layers and seeds: with the true gradient, and norm over the
        true gradient's norm; NaN where nothing is predicted), for each of ``RATE_REFERENCES`` an ``Interval`` of the difference
        at the same rate (None without that control), and its p-value as "p_coast" and so on (adjusted; NaN if exploratory).
    """
    import pandas as pd

    planned = set(rate_runs())
    kept = [record for record in records if record.run in planned]
    arms: dict[tuple, list[Record]] = {}
    for record in kept:
        arms.setdefault(_arm(record), []).append(record)
    rows = []
    for (method, rate, pool), mine in arms.items():
        scores = pd.Series([record.score for record in mine])
        layers = quality(mine)
        row = {"method": method, "rate": rate, "pool": pool, "n": len(mine), "score": scores.mean(), "std": scores.std()}
        row |= {"cosine": layers["cosine"].mean(), "size": layers["norm_ratio"].mean()}
        for other in RATE_REFERENCES:
            against = arms.get((other, None, None) if other == "coast" else (other, rate, _POOL), [])
            row[other] = pairs_of(mine, against) if method != other and _predicts(method) else None
        rows.append(row)
    columns = ["method", "rate", "pool", "n", "score", "std", "cosine", "size", *RATE_REFERENCES]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(RATE_REFERENCES, object))
    asked = table.index[(table["method"] == "adagp") & (table["rate"] == CHOSEN_RATE) & (table["pool"] == _POOL)]
    for other in RATE_REFERENCES:
        table[f"p_{other}"] = float("nan")
    for place in asked:
        adjusted = holm([p_value(table.at[place, other]) for other in RATE_REFERENCES])
        for other, p in zip(RATE_REFERENCES, adjusted, strict=True):
            table.at[place, f"p_{other}"] = p
    return table.sort_values(["method", "rate", "pool"], na_position="first", ignore_index=True)


_POOL = 8
"""Side of the predictor's pooled maps unless a run says another: 64 features."""


def _arm(record: Record) -> tuple:
    run, options = record.run, dict(record.run.predictor_options)
    if not _predicts(run.method):
        return run.method, None, None
    return run.method, options.get("lr", RATES[0]), options.get("pool", _POOL)


def _predicts(method: str) -> bool:
    """Whether a method has the predictor whose rate is studied."""
    return method.startswith("adagp") or method in ("shuffled", "random-direction")
