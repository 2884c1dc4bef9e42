"""Tables and numbers of the page on equal area."""

from typing import TYPE_CHECKING

from .. import evidence
from ..figures.style import LABELS
from ._display import html_table

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML


def area_numbers(means: "pd.DataFrame | None" = None) -> dict[str, float]:
    """Return the numbers of the answer, for several pages.

    Args:
        means: ``accelerator.equal_area_means`` of all models, if they are there already.

    Keys: area (Efficient's over the baseline's), efficient (its speed-up on the baseline's array), plain (speed-up of the best
    plain array of Efficient's area), more (percent of area that LOW adds), small and large (speed-up of LOW over the best plain
    array of the baseline's and of Efficient's area).
    """
    from .. import accelerator as acc

    own = {design: sum(acc.area(design).values()) for design in ("baseline", "low", "efficient")}
    means = evidence.equal_area() if means is None else means
    small, large = (means[means["area"] == own[design]].set_index("design") for design in ("baseline", "efficient"))
    return {
        "area": own["efficient"] / own["baseline"], "efficient": evidence.claim_value("mean-speedup"),
        "plain": large.loc["baseline", "speedup"], "more": 100 * (own["low"] / own["baseline"] - 1),
        "small": small.loc["low", "speedup_of_plain"], "large": large.loc["low", "speedup_of_plain"],
    }  # fmt: skip


def equal_area_table(means: "pd.DataFrame") -> "HTML":
    """Return the fastest array of each design and area, against the baseline's own array and the best plain one."""
    import pandas as pd

    rows = [
        {
            "area (mm2)": f"{row['area']:.2f}", "design": LABELS[row["design"]], "array": f"{row['rows']}x{row['cols']}",
            "speed-up": f"{row['speedup']:.2f}", "energy": f"{row['energy_ratio']:.2f}",
            "energy x time": f"{row['edp_ratio']:.3f}", "speed-up over plain": f"{row['speedup_of_plain']:.2f}",
            "energy over plain": f"{row['energy_ratio_of_plain']:.2f}",
            "energy x time over plain": f"{row['edp_ratio_of_plain']:.2f}",
        }
        for row in means.to_dict("records")
    ]  # fmt: skip
    return html_table(pd.DataFrame(rows), caption="Against the baseline on its own array, and against the best plain array")


def method_table(fixed: "pd.DataFrame", grown: "pd.DataFrame") -> "HTML":
    """Return what LOW adds to the same array, at the chip's own bandwidth and at one that grows with the array."""
    import pandas as pd

    rows = [
        {
            "array": f"{row['rows']:.0f}x{row['cols']:.0f}", "PEs": f"{row['PEs']:,.0f}",
            "more area": f"{row['more_area']:.1f} %",
            "speed-up": f"{row['speedup']:.2f}", "waiting for DRAM": f"{row['waiting']:.0f} %",
            "energy saved": f"{row['energy_saving']:z.0f} %", "speed-up, bandwidth grown": f"{more['speedup']:.2f}",
            "waiting, bandwidth grown": f"{more['waiting']:.0f} %",
        }
        for row, more in zip(fixed.to_dict("records"), grown.to_dict("records"), strict=True)
    ]  # fmt: skip
    return html_table(pd.DataFrame(rows), caption="LOW on the same array; waiting: share of the baseline's time")


def growth_table(growth: "pd.DataFrame") -> "HTML":
    """Return the best plain array and LOW where bandwidth and buffer grow with the area."""
    import pandas as pd

    rows = []
    for (grows, room), here in growth.groupby(["grows", "area"], sort=False):
        plain, low = (here[here["design"] == name].iloc[0] for name in ("baseline", "low"))
        rows.append(
            {
                "grows": grows, "area (mm2)": f"{room:.2f}", "buffer (KiB)": f"{plain['buffer_bytes'] / 1024:,.0f}",
                "DRAM (GB/s)": f"{plain['dram_bytes_per_s'] / 1e9:.1f}", "plain array": f"{plain['rows']}x{plain['cols']}",
                "its speed-up": f"{plain['speedup']:.2f}", "its energy": f"{plain['energy_ratio']:.2f}",
                "LOW over it": f"{low['speedup_of_plain']:.2f}", "LOW's energy over it": f"{low['energy_ratio_of_plain']:.2f}",
            }
        )  # fmt: skip
    return html_table(pd.DataFrame(rows), caption="Speed-up and energy against the baseline on its own array")


def first_area(rows: "pd.DataFrame", column: str = "speedup_of_plain") -> str:
    """Return the smallest area from which on a design is better than the best plain array: "15.5 mm2", or "none".

    Args:
        rows: of one design.
        column: a speed-up, which is better above 1, or another ratio, which is better below 1.
    """
    better = rows[column] > 1 if column.startswith("speedup") else rows[column] < 1
    worse = rows["area"][~better].max()
    reached = rows["area"][~(rows["area"] <= worse)]  # all of them if there is none that is worse
    return f"{reached.min():.3g} mm2" if len(reached) else "none"


def low_by_network(table: "pd.DataFrame") -> dict[str, object]:
    """Return how LOW compares with the best plain array, network by network.

    Keys: networks (how many), always (for how many it is faster at every area), and for the least and the largest ratio
    least_ratio, least_network, least_area, most_ratio, most_network, most_area.
    """
    import numpy as np

    times = table.pivot_table(index=["model", "dataset", "area"], columns="design", values="seconds", sort=False)
    ratios = np.exp(np.log(times["baseline"] / times["low"]).groupby(["model", "area"]).mean())
    found: dict[str, object] = {
        "networks": table["model"].nunique(), "always": int((ratios.groupby("model").min() > 1).sum()),
    }  # fmt: skip
    for name, (network, area) in (("least", ratios.idxmin()), ("most", ratios.idxmax())):
        found |= {f"{name}_ratio": ratios[network, area], f"{name}_network": network, f"{name}_area": area}
    return found
