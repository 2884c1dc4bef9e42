"""Tables of what the engine did under other libraries' optimizers, around their networks and in their loops."""

from collections import Counter
from typing import TYPE_CHECKING

from ._display import html_table

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

_COASTING = {
    "stops": "stops at once",
    "fades": "fades",
    "goes on": "goes on",
    "grows": "grows",
}
"""What an optimizer does under a zero gradient, harmless first."""
_HARMLESS = ("stops", "fades")
_NEEDS = {
    "closure": "calls the forward pass itself, through a closure",
    "create_graph": "reads second derivatives, for which the backward pass must keep its graph",
    "fused backward": "updates the weights inside the backward pass",
    "sparse gradients": "takes sparse gradients only",
    "processes": "runs in several processes only",
}
_RESULTS = {
    "differs": "a check fails",
    "refused": "the engine refuses it",
    "no plain loop": "does not run in a plain loop either",
    "not repeatable": "two plain loops differ from each other",
    "does not build": "no small model could be made automatically",
    "time limit": "took longer than the limit",
    "memory limit": "took more memory than the limit",
    "crash": "the process ended without an answer",
    "left out": "left out",
}
_JUDGED = ("holds", "differs", "refused")
_EQUAL = {"bits": "bit for bit", "rounding": "to rounding"}
_TO = {
    "plain": "a loop written by hand",
    "timm": "timm's own loop, without prediction",
    "process": "one process with the whole batch",
}


def crossing_counts(record: dict) -> dict:
    """Count the set-ups that were tried and those in which every check holds.

    Args:
        record: ``evidence.crossing_record``.
    """
    judged = {part: [row for row in record[part] if row["result"] in _JUDGED] for part in ("optimizers", "networks")}
    held = {part: sum(row["result"] == "holds" for row in rows) for part, rows in judged.items()}
    coasting = Counter(row["coasting"]["kind"] for row in record["optimizers"] if row.get("coasting"))
    return {
        "tried": sum(map(len, judged.values())),
        "held": sum(held.values()),
        "optimizers": len(judged["optimizers"]),
        "optimizers_held": held["optimizers"],
        "networks": len(judged["networks"]),
        "networks_held": held["networks"],
        "libraries": len({row["library"] for rows in judged.values() for row in rows}),
        "harmless": sum(count for kind, count in coasting.items() if kind in _HARMLESS),
        "harmful": sum(count for kind, count in coasting.items() if kind and kind not in _HARMLESS),
        "true_steps": record["steps"]["true"],
        "coasting_steps": record["steps"]["coasting"],
        "date": record["provenance"]["date"][:10],
        "processor": record["provenance"]["machine"]["processor"],
    }


def compat_table(record: dict) -> "HTML":
    """Return the versions of Python and packages with which the library's tests passed, and how many tests ran.

    Args:
        record: ``evidence.compat_record``.
    """
    import pandas as pd

    rows, packages = [], ("python", "torch", "numpy", "torchvision", "pandas", "typer")
    for cell in record["cells"]:
        versions = cell["provenance"]["versions"]
        rows.append(
            {name: versions.get(name, "not installed") for name in packages}
            | {"passed": cell["passed"], "left out": cell["skipped"], "date": cell["provenance"]["date"][:10]}
            | {"tests": ", ".join(test.removeprefix("tests/") for test in cell["tests"])}  # last: only there long words break
        )
    return html_table(pd.DataFrame(rows))


def loops_table(record: dict) -> "HTML":
    """Return the loops in which the engine was tried, with what its weights were compared and how far they are equal.

    Args:
        record: ``evidence.loops_record``.
    """
    import pandas as pd

    rows = [
        {
            "loop": row["loop"],
            "versions": ", ".join(f"{name} {version.partition('+')[0]}" for name, version in row["packages"].items()),
            "weights are equal to those of": _TO[row["to"]],
            "equal": _EQUAL[row["equal"]],
            "example": f"examples/{row['example']}.py",
        }
        for row in record["loops"]
        if row["equal"]
    ]
    versions, date = record["provenance"]["versions"], record["provenance"]["date"][:10]
    return html_table(pd.DataFrame(rows), f"Python {versions['python']}, torch {versions['torch'].partition('+')[0]}, {date}")


def loops_refused_table(record: dict) -> "HTML":
    """Return what is refused in these loops before the first batch, in the words that the user gets.

    Args:
        record: ``evidence.loops_record``.
    """
    import pandas as pd

    rows = [
        {"loop": row["loop"], "refused": what, "message": message}
        for row in record["loops"]
        for what, message in row["refused"].items()
    ]
    return html_table(pd.DataFrame(rows))


def coasting_summary(record: dict) -> "HTML":
    """Return how many optimizers stop, fade, go on or grow under a zero gradient, with the range of their updates' lengths."""
    import pandas as pd

    table, last = _coasting(record), f"at the {record['steps']['coasting']}th"
    rows = []
    for kind, words in _COASTING.items():
        some = table[table["kind"] == kind]
        if len(some):
            lengths = {when: _range(some[when]) for when in ("at the 1st", last)}
            row = {"without a gradient": words, "optimizers": len(some)}
            most = 12 if kind in _HARMLESS else 30
            rows.append(row | lengths | {"such as": _some(some["optimizer"], most)})
    caption = "Length of an update of the predicted weights under a zero gradient, in mean true updates: least to most"
    return html_table(pd.DataFrame(rows), caption=caption)


def coasting_table(record: dict) -> "HTML":
    """Return every optimizer's update lengths under a zero gradient, harmless ones first."""
    table = _coasting(record)
    last = table.columns[-2]
    table["order"] = table["kind"].map(list(_COASTING).index)
    table = table.sort_values(["order", last, "optimizer"]).drop(columns="order")
    table["kind"] = table["kind"].map(_COASTING)
    for column in table.columns[2:-1]:
        table[column] = table[column].map("{:.3g}".format)
    return html_table(table.rename(columns={"kind": "without a gradient"}))


def _coasting(record: dict) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        [
            {"optimizer": _name(row), "library": row["library"]}
            | {f"at the {step}{'st' if step == '1' else 'th'}": length for step, length in found["lengths"].items()}
            | {"kind": found["kind"]}
            for row in record["optimizers"]
            if (found := row.get("coasting")) and found["kind"]
        ]
    )


def coverage_summary(record: dict) -> "HTML":
    """Return for each library how many networks pass every check, and which share of their parameters is predicted."""
    import pandas as pd

    rows = []
    for library, some in _networks(record).groupby("library", sort=False):
        rows.append(
            {
                "library": library,
                "families": len(some),
                "every check holds": int((some["result"] == "holds").sum()),
                "share predicted (median)": _percent(some["share"].median()),
                "without embeddings (median)": _percent(some["share_without_embeddings"].median()),
                "without embeddings (least)": _percent(some["share_without_embeddings"].min()),
            }
        )
    return html_table(pd.DataFrame(rows))


def resting_table(record: dict) -> "HTML":
    """Return what Phase GP does not predict: kinds of parameters, how many networks have them, and their share there."""
    import pandas as pd

    shares: dict[str, list[float]] = {}
    for row in record["networks"]:
        for kind, numbers in row.get("rests", {}).items():
            shares.setdefault(kind if "." not in kind else "other", []).append(numbers / row["parameters"])
    rows = [
        {
            "not predicted": "weights of other kinds" if kind == "other" else kind,
            "networks": len(found),
            "share of their trained numbers (median)": _percent(pd.Series(found).median()),
            "share (most)": _percent(max(found)),
        }
        for kind, found in sorted(shares.items(), key=lambda item: -len(item[1]))
    ]
    return html_table(pd.DataFrame(rows))


def coverage_table(record: dict, below: float = 1.0) -> "HTML":
    """Return the networks whose predictions reach the smallest share, embeddings left aside, and what is not predicted.

    Args:
        below: only networks with a smaller share than this.
    """
    import pandas as pd

    table = _networks(record)
    table = table[table["share_without_embeddings"] < below].sort_values("share_without_embeddings")
    rows = [
        {
            "family": row["family"],
            "library": row["library"],
            "numbers": f"{row['parameters']:,.0f}",
            "predicted": _percent(row["share"]),
            "without embeddings": _percent(row["share_without_embeddings"]),
            "not predicted": _rests(row["rests"], row["parameters"]),
        }
        for row in table.to_dict("records")
    ]
    return html_table(pd.DataFrame(rows))


def _networks(record: dict) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([row for row in record["networks"] if "share" in row])


def refused_table(record: dict) -> "HTML":
    """Return what was not judged or does not hold, by reason."""
    import pandas as pd

    names: dict[tuple[str, str], list[str]] = {}
    for part in ("optimizers", "networks"):
        for row in record[part]:
            if row["result"] != "holds":
                reason = _RESULTS[row["result"]]
                if need := row.get("needs"):
                    reason = _NEEDS[need]
                elif row["result"] == "left out":
                    reason = f"left out: {'too large' if row['why'] == 'size' else 'the time budget was spent'}"
                elif row["result"] == "differs":
                    failed = [words for key, words in _CHECKS.items() if row.get(key) is False]
                    error = row.get("error", "").partition(":")[0]
                    reason = " and ".join(failed) or f"the engine raises {error}"
                names.setdefault((part, reason), []).append(_name(row))
    rows = [
        {"part": part, "reason": reason, "number": len(found), "names": _some(pd.Series(found), 24)}
        for (part, reason), found in sorted(names.items(), key=lambda item: (item[0][0] != "optimizers", -len(item[1])))
    ]
    return html_table(pd.DataFrame(rows))


_CHECKS = {
    "always_bp_equal": "without prediction the weights differ from the plain loop's",
    "warm_up_equal": "after the warm-up the weights differ from the plain loop's",
    "finite": "after Phase GP weights are not finite",
    "label_free": "Phase GP depends on the labels",
    "rests_stay": "Phase GP changes what no prediction reaches",
    "moved": "Phase GP changes no weight",
}


def _name(row: dict) -> str:
    options = ", ".join(f"{key} {value}" for key, value in (row.get("options") or {}).items())
    name = row.get("family", row["name"])
    return f"{name} ({options})" if options else name


def _some(names: "pd.Series", most: int) -> str:
    known = list(dict.fromkeys(names))
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def _range(values: "pd.Series") -> str:
    return f"{values.min():.2g} to {values.max():.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _rests(rests: dict[str, int], numbers: int) -> str:
    return ", ".join(f"{kind} {_percent(count / numbers)}" for kind, count in list(rests.items())[:3])
