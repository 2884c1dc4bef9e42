"""The history of benchmarks: every run is kept with its origin, and drawn."""

import re

import pytest

from adagp import figures, measuring, publishing
from adagp._errors import UsageError


def test_each_run_is_appended_with_median_range_and_origin(checkout):
    (checkout / "artifact" / "recorded" / "benchmarks.jsonl").unlink()
    measuring.keep_times("answers", {"help": [0.3, 0.1, 0.2]})
    path = measuring.keep_times("answers", {"help": [0.1], "info": [4.0, 2.0]})
    kept = measuring.kept_times()
    assert kept["what"].tolist() == ["help", "help", "info"] and kept["n"].tolist() == [3, 1, 2]
    assert kept.loc[0, ["median", "low", "high"]].tolist() == [0.2, 0.1, 0.3]
    assert kept["processor"].str.len().gt(0).all() and kept["torch"].str.len().gt(0).all()
    drawn = figures.benchmarks(kept)[1]
    assert drawn["median over first"].tolist() == [1.0, 0.5, 1.0]
    table = publishing.benchmarks_table(kept).data
    assert ">0.1 to 0.1<" in table and ">0.50<" in table  # the last of two runs
    assert ">2 to 4<" in table and ">–<" in table  # the first of its kind
    assert kept["processor"][0] in table
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UsageError, match=r"benchmarks\.jsonl, line 3: .*restore it with git checkout"):
        measuring.kept_times()


def test_a_missing_run_costs_its_images_at_the_timed_step(checkout):
    for path in (checkout / "artifact" / "recorded" / "runs").glob("densenet121-*"):
        path.unlink()
    (checkout / "artifact" / "recorded" / "benchmarks.jsonl").unlink()
    nothing = publishing.missing_table(measuring.kept_times()).data
    assert "not timed: densenet121" in nothing and "would cost" not in nothing
    measuring.keep_times("thin steps", {"densenet121": [64.0, 6.4, 0.64]})  # 0.1 s an image
    table = publishing.missing_table(measuring.kept_times()).data
    epochs = 20 + 20 + 20 + 15  # the last at equal cost
    cells = re.findall(r"<t[dh][^>]*>([^<]*)<", table)
    at = cells.index("densenet121")
    assert cells[at + 1 : at + 5] == ["4", f"{0.1 * 10_000 * epochs / 3600:.1f}", "8", f"{0.1 * 20_000 * epochs / 3600:.1f}"]
    assert "not timed: densenet161" in table
