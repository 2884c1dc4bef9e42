"""Units beside the array: what nothing waits for changes nothing, what is slower is waited for, and their area counts."""

from dataclasses import replace

import numpy as np
import pytest

from adagp import accelerator as acc
from adagp import cli, evidence
from adagp._errors import UsageError
from adagp.accelerator._units import unfolded_words

CHIP = acc.Hardware()


@pytest.mark.parametrize("preset", acc.presets())
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_units_as_wide_as_the_array_never_wait(preset, dataflow):
    chip = acc.hardware(preset)
    wide = replace(chip, **dict(zip(("unfolding", "pooling", "update"), chip.unit_widths, strict=True)))
    for name in ("vgg13", "mobilenet_v2", "transformer"):
        work = acc.workload(name, batch=32)
        for design in ("low", "max"):
            free, stated = (acc.simulate(work, design=design, dataflow=dataflow, hardware=h) for h in (chip, wide))
            assert (free.cycles, free.baseline_cycles, free.energy) == (stated.cycles, stated.baseline_cycles, stated.energy)


def test_unfolding_writes_the_first_operand_of_every_product():
    work = acc.workload("resnet50", batch=4)
    words = unfolded_words(work.table, "ws")
    assert words.tolist() == [
        [sum(copies * m * k for copies, m, _, k in layer.gemms(kind)) for kind in acc.PASSES] for layer in work.layers
    ]
    assert not unfolded_words(work.table, "rs").any()


def layer_of(batch, channels, filters, side):
    shape = {"in_size": (side, side), "out_size": (side, side), "kernel": (3, 3)}
    layer = acc.LayerShape(
        name="a", kind="conv", batch=batch, in_channels=channels, out_channels=filters, input_grad=False, **shape
    )
    return acc.Workload(name="net", batch=batch, layers=(layer,))


def parts(work, phase, design="low", **units):
    report = acc.simulate(work, design=design, hardware=replace(CHIP, **units))
    return {c: float(part.time(report.hardware).sum()) for c, part in report.phases[phase].parts.items()}


def test_a_slow_unit_is_waited_for_in_its_components_alone():
    batch, channels, filters, side = 8, 16, 32, 12
    work, weights = layer_of(batch, channels, filters, side), channels * filters * 9
    free = parts(work, "gp")
    slow = parts(work, "gp", update=0.01)
    assert slow.pop(acc.Component.UPDATE) == weights / 0.01 and slow.items() <= free.items()
    slow = parts(work, "gp", unfolding=0.1)
    assert slow[acc.Component.FORWARD] == batch * side**2 * channels * 9 / 0.1
    assert slow[acc.Component.UPDATE] == free[acc.Component.UPDATE]
    slow = parts(work, "gp", pooling=0.01)
    report = acc.simulate(work, design="low")
    one = float(report.phases["gp"].parts[acc.Component.FORWARD].cycles.sum()) / batch
    assert slow.pop(acc.Component.PREDICTION) == pytest.approx(filters * side**2 / 0.01 - one) and slow.items() <= free.items()


def test_a_baseline_has_no_pooling_and_unfolds_in_all_its_passes():
    work = layer_of(8, 16, 32, 12)
    free, pooled, unfolded = (
        acc.simulate(work, hardware=replace(CHIP, **units)).baseline_cycles
        for units in ({}, {"pooling": 0.01}, {"unfolding": 0.1})
    )
    assert pooled == free
    passes = [sum(copies * m * k for copies, m, _, k in work.layers[0].gemms(kind)) for kind in ("forward", "weight gradient")]
    baseline = acc.simulate(work, design="baseline", hardware=replace(CHIP, unfolding=0.1))
    update = float(baseline.baseline.parts[acc.Component.UPDATE].time(CHIP).sum())
    assert unfolded == pytest.approx(baseline.batches * (sum(passes) / 0.1 + update))


def test_energy_does_not_depend_on_the_units():
    work = acc.workload("vgg13", batch=16)
    slow = replace(CHIP, unfolding=1, pooling=1, update=1)
    free, waiting = acc.simulate(work), acc.simulate(work, hardware=slow)
    assert free.energy == waiting.energy and free.cycles < waiting.cycles


def test_the_sensitivity_gives_the_speed_up_for_each_throughput():
    works = [acc.workload(name, batch=16) for name in ("vgg13", "mobilenet_v2")]
    table = acc.unit_sensitivity(works, (0.5, 2, 64), designs=["efficient"], dataflows=["ws"])
    assert len(table) == 4 * 3 * 2 and set(table["unit"]) == {"unfolding", "pooling", "update", "all"}
    row = table.query("unit == 'all' and words == 2 and model == 'vgg13'").iloc[0]
    slow, free = (
        acc.simulate(works[0], hardware=replace(CHIP, **dict.fromkeys(("unfolding", "pooling", "update"), w)))
        for w in (2, None)
    )
    assert row["speedup"] == slow.speedup and row["slowdown"] == pytest.approx(slow.cycles / free.cycles)
    assert row["baseline_slowdown"] == pytest.approx(slow.baseline_cycles / free.baseline_cycles)
    falling = table.groupby(["unit", "model"])["slowdown"].apply(lambda s: bool((np.diff(s) <= 0).all()))
    assert falling.all() and (table.query("words == 64")["slowdown"] == 1).all()


def test_a_hardware_file_may_state_the_units(tmp_path, capsys):
    path = tmp_path / "my.toml"
    path.write_text('[hardware]\nunfolding = { value = 2, unit = "words/cycle", source = "ours" }\n')
    assert acc.read_hardware(path).hardware.unfolding == 2
    assert cli.main(["simulate", "vgg13", "--hardware", str(path), "--json"]) == 0
    assert '"unfolding": 2' in capsys.readouterr().out
    path.write_text('[hardware]\npooling = { value = 0, source = "ours" }\n')
    with pytest.raises(UsageError, match="hardware field pooling must be a number above 0 and up to"):
        acc.read_hardware(path)


def test_the_area_of_a_unit_is_its_synthesis_scaled_and_as_many_as_words_per_cycle():
    units = evidence.beside_record()["units"]
    for chip in (CHIP, replace(CHIP, rows=5, unfolding=2, pooling=3, update=0.5)):
        for design, own in (("baseline", 1), ("low", 1), ("max", 2)):
            parts = acc.area(design, chip)
            for (name, facts), width in zip(units.items(), chip.unit_widths, strict=True):
                size = facts["area_um2"] * (40 / 45) ** 2 * width * (own if name == "unfolding" else 1) / 1e6
                if name == "pooling" and design == "baseline":
                    assert name not in parts
                else:
                    assert parts[name] == pytest.approx(size, rel=1e-4)
    assert "unfolding" not in acc.area("low", dataflow="rs") and "update" in acc.area("baseline", dataflow="rs")
    with pytest.raises(UsageError, match="unknown dataflow 'WS'; choose from: is, os, rs, ws"):
        acc.area("max", dataflow="WS")


def test_the_units_alone_make_up_most_of_the_extension_that_was_synthesized_as_a_whole():
    whole, units = evidence.hardware_record()["logic 4x4"], evidence.beside_record()["units"]
    added = whole["efficient"]["area_um2"] - whole["baseline"]["area_um2"]
    assert 0.7 * added < sum(facts["area_um2"] for facts in units.values()) < added
