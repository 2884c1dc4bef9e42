"""Figures are files a reader can use, and drawing leaves matplotlib as it was."""

import matplotlib as mpl
import pandas as pd
import pytest

from adagp import figures


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


def test_every_method_and_design_has_a_colour_and_a_name():
    from adagp.running import METHODS

    for name in (*METHODS, "baseline", "low", "efficient", "max", "ws", "os", "is", "rs"):
        assert name in figures.style.COLORS and name in figures.style.LABELS
