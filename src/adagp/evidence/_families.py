"""Families of comparisons: which comparisons have a verdict, and the correction for looking at several of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._rules import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ._regimes import Regime

FAMILIES = ("ADA-GP", "repeated", "exploratory")
"""The families of comparisons with backpropagation.

- ADA-GP: the paper's method with each schedule, in one setting, against backpropagation of equal cost, backpropagation for all
  epochs, and coasting.
- repeated: variants that led among many and were run again, with settings fixed before these runs.
- exploratory: all other variants. They have intervals and no verdict.

The families were declared on 2026-11-29, when the runs that the page shows were known. So they guard against reading much into
the best of many variants, and not against a choice of families that suits the results.
"""
REFERENCES = {"distance": "BP of equal cost", "against_coast": "coasting", "against_whole": "BP for all epochs"}
"""What ADA-GP is compared with: the column of the difference, and its name."""
SIDES = ("better", "worse", "within noise", "open", "exploratory")
"""Results of a comparison. It is open in three cases: too few seeds; a cost outside the budgets; or a score below
backpropagation's, if the variant was not tried with every decay that is best at some budget. A decay alone can make that
difference."""
_LEVEL = 0.05
_POWER = 0.8


def family(method: str, regime: "Regime") -> str:
    """Return the one of ``FAMILIES`` that a variant belongs to."""
    if regime.confirming or regime.own_networks:
        return "repeated"
    return "ADA-GP" if method == "adagp" else "exploratory"


def p_value(found: Interval | None) -> float:
    """Return the two-sided p-value of a mean of zero, by Student's t; NaN without an interval."""
    from scipy.stats import t

    if found is None or found.low is None:
        return float("nan")
    error = _standard_error(found)
    if error == 0:
        return 0.0 if found.mean else 1.0
    return float(2 * t.sf(abs(found.mean) / error, found.pairs - 1))


def _standard_error(found: Interval) -> float:
    from scipy.stats import t

    assert found.low is not None
    return (found.mean - found.low) / float(t.ppf(1 - _LEVEL / 2, found.pairs - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that all comparisons of a family hold together (Holm, 1979). NaN is not counted."""
    known = sorted((value, place) for place, value in enumerate(values) if value == value)
    adjusted, most = list(map(float, values)), 0.0
    for rank, (value, place) in enumerate(known):
        most = max(most, min(1.0, (len(known) - rank) * value))
        adjusted[place] = most
    return adjusted


def least_difference(found: Interval | None, comparisons: int = 1) -> float:
    """Return the least true difference that so many pairs find in four of five repetitions, in the unit of the interval.

    Args:
        found: an interval whose spread is taken as the true one.
        comparisons: number of comparisons of the family; the level is that of Holm's first step.
    """
    from scipy.stats import t

    if found is None or found.low is None:
        return float("nan")
    freedom = found.pairs - 1
    return _standard_error(found) * float(t.ppf(1 - _LEVEL / 2 / comparisons, freedom) + t.ppf(_POWER, freedom))


def judged(tables: "dict[Regime, pd.DataFrame]") -> "dict[Regime, pd.DataFrame]":
    """Return tables of ``distances`` with the family of each variant, and its result within the family.

    Returns:
        The tables with columns

        - family: one of ``FAMILIES``
        - for each key of ``REFERENCES``, such as "distance": "p_distance", the p-value adjusted within the family (NaN if
          exploratory); "least_distance", the least difference that could have been found; "side_distance", one of ``SIDES``
        - side: the result against backpropagation of equal cost
    """
    made = {regime: _with_families(regime, table) for regime, table in tables.items()}
    repeated = [(regime, place) for regime, table in made.items() for place in table.index[table["family"] == "repeated"]]
    _judge(made, [(regime, place, "distance") for regime, place in repeated])
    for regime, table in made.items():
        places = table.index[table["family"] == "ADA-GP"]
        _judge(made, [(regime, place, column) for place in places for column in REFERENCES])
        table["side"] = table["side_distance"]
    return made


def _with_families(regime: "Regime", table: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    families = pd.Series([family(method, regime) for method in table["method"]], index=table.index, dtype=object)
    made = table.assign(family=families)
    for column in REFERENCES:
        made[f"p_{column}"] = float("nan")
        made[f"least_{column}"] = float("nan")
        made[f"side_{column}"] = pd.Series("exploratory", index=made.index, dtype=object)
    return made


def _judge(tables: "dict[Any, pd.DataFrame]", comparisons: "list[tuple[Any, Any, str]]") -> None:
    """Fill in the results of one family's comparisons, each named by its table, row and column."""
    found = [tables[regime].at[place, column] for regime, place, column in comparisons]
    adjusted = holm([p_value(one) for one in found])
    number = sum(value == value for value in adjusted)
    for (regime, place, column), one, p in zip(comparisons, found, adjusted, strict=True):
        table = tables[regime]
        fitted = bool(table.at[place, "fitted"]) or column == "against_coast"
        table.at[place, f"p_{column}"], table.at[place, f"least_{column}"] = p, least_difference(one, max(1, number))
        table.at[place, f"side_{column}"] = side(one, p, fitted)


def side(found: Interval | None, p: float, fitted: bool) -> str:
    """Return the one of ``SIDES`` that a difference and its p-value show.

    Args:
        fitted: whether the variant had every decay that is best for backpropagation. Without it, it is never called worse.
    """
    if found is None or p != p:
        return "open"
    if p >= _LEVEL:
        return "within noise"
    return "better" if found.mean > 0 else "worse" if fitted else "open"


def comparisons(tables: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Return the comparisons that have a verdict, one a row.

    Args:
        tables: ``compared``.

    Returns:
        Columns regime, family, method, timing, reference (a key of ``REFERENCES``), difference (an ``Interval``), n, networks,
        p (adjusted within the family), least (difference that could have been found) and side.
    """
    import pandas as pd

    rows = [
        {
            "regime": regime, "difference": row[column], "reference": column, "p": row[f"p_{column}"],
            "least": row[f"least_{column}"], "side": row[f"side_{column}"],
        }
        | {name: row[name] for name in ("family", "method", "timing", "n", "networks")}
        for regime, table in tables.items()
        for row in table.to_dict("records")
        if row["family"] != "exploratory"
        for column in (REFERENCES if row["family"] == "ADA-GP" else ["distance"])
    ]  # fmt: skip
    columns = ["regime", "family", "method", "timing", "reference", "difference", "n", "networks", "p", "least", "side"]
    return pd.DataFrame(rows, columns=columns)


def at_equal_cost(comparisons: "pd.DataFrame") -> "pd.DataFrame":
    """Return ADA-GP's comparisons with backpropagation of equal cost that have an interval.

    Args:
        comparisons: as the function of that name returns them.
    """
    rows = comparisons[(comparisons["family"] == "ADA-GP") & (comparisons["reference"] == "distance")]
    return rows.loc[[one is not None and one.low is not None for one in rows["difference"]]]


def sign_test(comparisons: "pd.DataFrame") -> tuple[int, int, float]:
    """Count the settings in which ADA-GP is below equal cost, and return that number, their number and the p-value.

    Each setting counts once, by the mean over its schedules: their runs share seeds and the runs of backpropagation, so they
    are no independent results.

    Args:
        comparisons: as the function of that name returns them.
    """
    from scipy.stats import binomtest

    rows = at_equal_cost(comparisons)
    if rows.empty:
        return 0, 0, 1.0
    means = rows.assign(mean=[one.mean for one in rows["difference"]]).groupby("regime", sort=False)["mean"].mean()
    below = int((means < 0).sum())
    return below, len(means), float(binomtest(below, len(means)).pvalue)


def pooling_coverage(variants: int = 12, seeds: int = 3, repeats: int = 4_000) -> "pd.DataFrame":
    """Simulate how often 95 % intervals hold the true difference, with each variant's own spread and with a pooled one.

    The pooled spread is used where a test finds no difference between the spreads (Brown and Forsythe, 1974, at 5 %). All true
    differences are zero. The spreads of the variants are equal, or every third one is three times the others. The differences
    are independent, or share the noise of the reference that all variants are compared with.

    Returns:
        Columns spreads ('equal' or 'different'), shared (whether the reference's noise is shared), pooled (share of repetitions
        in which the test allows it), own and gated (coverage with each variant's own spread, and by the rule), and widest (the
        same of the rule for the variants with the largest spread).
    """
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    rows = []
    for spreads in ("equal", "different"):
        size = np.where((np.arange(variants) % 3 == 0) & (spreads == "different"), 3.0, 1.0)
        for shared in (False, True):
            noise = random.standard_normal((repeats, variants, seeds)) * size[:, None]
            if shared:
                noise -= random.standard_normal((repeats, 1, seeds))
            own, gated, allowed = _covered(noise)
            wide = size == size.max()
            rows.append(
                {"spreads": spreads, "shared": shared, "pooled": float(allowed.mean()), "own": float(own.mean())}
                | {"gated": float(gated.mean()), "widest": float(gated[:, wide].mean())}
            )
    return pd.DataFrame(rows)


def _covered(noise: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return whether intervals hold zero, by own spread and by the rule (repetition, variant), and where pooling is allowed.

    Args:
        noise: differences, by repetition, variant and seed.
    """
    import numpy as np
    from scipy.stats import f_oneway, t

    _, variants, seeds = noise.shape
    deviations = np.abs(noise - np.median(noise, axis=2, keepdims=True))
    allowed = f_oneway(*np.moveaxis(deviations, 1, 0), axis=1).pvalue >= _LEVEL
    variance = noise.var(axis=2, ddof=1)
    far = np.abs(noise.mean(axis=2)) * seeds**0.5
    own = far <= t.ppf(1 - _LEVEL / 2, seeds - 1) * np.sqrt(variance)
    pooled = far <= t.ppf(1 - _LEVEL / 2, variants * (seeds - 1)) * np.sqrt(variance.mean(axis=1, keepdims=True))
    return own, np.where(allowed[:, None], pooled, own), allowed
