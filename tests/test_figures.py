"""Figures are files a reader can use, and drawing leaves matplotlib as it was."""

import json
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from adagp import data, figures


class Setting(NamedTuple):
    title: str


def curves():
    rows = [
        {"method": method, "seed": seed, "epoch": epoch, "accuracy": 10.0 * epoch + seed}
        for method in ("bp", "adagp")
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_a_shown_figure_is_saved_with_its_data_and_has_alternative_text(checkout):
    before = dict(mpl.rcParams)
    shown = figures.show("curve", figures.learning_curves(curves()), alt='accuracy "over" epochs', profile="smoke")
    folder = checkout / "artifact" / "output" / "smoke" / "figures"
    assert (folder / "curve.svg").stat().st_size > 1000 and (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    data = pd.read_csv(folder / "curve.csv")
    assert data.query("method == 'bp' and epoch == 2")["mean"].item() == pytest.approx(20.5)
    assert 'aria-label="accuracy &quot;over&quot; epochs"' in shown.data
    assert dict(mpl.rcParams) == before


def test_a_pointer_that_rests_on_a_mark_is_told_what_it_is():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    (mark,) = axes.plot(1, 2, "o")
    figures.style.hint(mark, 'coast, "1:1" <b>, 50 %, seeds 0 to 2')
    plt.close(figure)
    html = figures.inline("marked", (figure, pd.DataFrame()), alt="a mark")
    assert "<g><title>coast, &quot;1:1&quot; &lt;b&gt;, 50 %, seeds 0 to 2</title>" in html and "hint:" not in html


def test_every_method_and_design_has_a_colour_and_a_name():
    from adagp.methods import METHODS

    for name in (*METHODS, "baseline", "low", "efficient", "max", "ws", "os", "is", "rs"):
        assert name in figures.style.COLORS and name in figures.style.LABELS


def test_the_reorganization_shows_the_predictors_own_sizes():
    from adagp.predictors import PredictorSize

    size, shapes = PredictorSize(), dict(figures.reorganization()[1].values)
    assert [int(side) for side in shapes["small conv"].split(" × ")][1:] == [size.channels, size.side, size.side]


def test_the_pipeline_pages_parameters_reach_its_sweep(monkeypatch):
    from adagp import evidence

    asked = []
    table = pd.DataFrame({"model": ["x"], "speedup": [1.0]})
    monkeypatch.setattr(evidence, "pipeline_sweep", lambda *arguments: asked.append(arguments) or table)
    monkeypatch.setattr(figures, "glue", lambda **values: None)
    page = json.loads((Path(__file__).parents[1] / "notebooks" / "11_pipelines.ipynb").read_text())
    parameters, first = ["".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "code"][:2]
    exec(f"{parameters}\nstages, micro_batches = 6, 12\n{first}", {})
    assert asked == [([2, 4, 6, 8], 12)]


def test_every_method_stands_on_one_picture_and_a_full_dot_is_a_decided_one():
    from adagp.evidence import Timing, interval

    def row(method, far, side):
        found = interval(pd.Series([far - 1, far, far + 1]))
        return {"method": method, "timing": timing, "n": 3, "side": side, "distance": found, "fitted": True}

    timing, one, another = Timing(0.5, ((1, 1),)), Setting("one setting"), Setting("another")
    table = pd.DataFrame([row("coast", -2.0, "worse"), row("truncated", 1.0, "better"), row("ema", 0.5, "within noise")])
    unknown = pd.DataFrame([{"method": "skip", "timing": timing, "n": 3, "side": "open", "distance": None}])
    figure, data = figures.distances({one: table, another: unknown})
    assert data["method"].tolist() == ["truncated", "ema", "coast"]  # the best first; what has no distance is left out
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, False]
    assert [line.get_alpha() for line in dots] == [1, 1, 1]  # pale is only what lies below without the best decays
    assert [text.get_text() for text in figure.axes[0].texts] == ["one setting"]
    pale, _ = figures.distances({one: table.assign(fitted=False)})
    assert [line.get_alpha() for line in pale.axes[0].lines if line.get_marker() == "o"] == [1, 1, 0.35]


def test_scenes_are_drawn_with_the_boxes_that_they_have():
    found = data.load("scenes")
    figure, boxes = figures.scenes(found, count=5)
    rows = found.split("test").labels[:5]
    rows = rows[rows[:, :, 0] >= 0]
    assert boxes["class"].tolist() == [str(int(kind)) for kind in rows[:, 0]] and set(boxes["image"]) == set(range(5))
    assert np.allclose(boxes[["left", "top", "right", "bottom"]], rows[:, 1:5] * found.size)
    assert [len(axes.patches) for axes in figure.axes] == boxes.groupby("image").size().tolist()


def test_an_exploration_of_several_networks_shows_geometric_means_and_says_so():
    rows = [("a", 8, 2.0, 0.5), ("b", 8, 0.5, -1.0), ("b", 4, 3.0, 0.25)]  # both make 1 and 0 at batch 8
    table = pd.DataFrame(rows, columns=["model", "batch", "speedup", "energy_saving"]).assign(
        rows=2, cols=3, dataflow="ws", design="low"
    )
    figure, data = figures.explored(table)
    assert np.allclose(data[["batch", "speedup", "energy_saving"]], [(8, 1, 0), (4, 3, 0.25)])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["2x3 PEs, batch 8\ngeometric mean of 2 networks", "2x3 PEs, batch 4\nb"]
    (alone,) = figures.explored(table[table["batch"] == 4])[0].axes
    assert alone.get_title(loc="left") == "2x3 PEs, batch 4"


def test_a_model_with_several_data_sets_counts_once_in_a_mean_over_models():
    rows = [("a", 1.0), ("a", 2.0), ("a", 3.0), ("b", 4.0)]
    frames = [
        pd.DataFrame(rows, columns=["model", "speedup"]).assign(choice=choice, value="1", energy_saving=0.5)
        for choice in ("batch", "epochs")
    ]
    paper = {"speedup": 1.0, "energy_saving": 34.0}
    for drawn in (figures.batch_size, figures.sensitivity):
        shown = drawn(pd.concat(frames), paper=paper)[1].iloc[0]
        assert [shown[f"speedup_{what}"] for what in ("mean", "min", "max")] == [3.0, 2.0, 4.0]
