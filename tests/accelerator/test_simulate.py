import numpy as np
import pytest
import torch
from torch import nn

from adagp import accelerator as acc
from adagp._errors import UsageError
from adagp.schedule import AlwaysBP, LadderSchedule


@pytest.fixture(scope="module")
def work():
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return acc.workload(net, torch.empty(32, 3, 32, 32, device="meta"))


def test_without_a_gp_batch_no_design_is_faster_than_the_baseline(work):
    for design in acc.DESIGNS:
        report = acc.simulate(work, design=design, schedule=AlwaysBP(), epochs=3)
        assert report.speedup <= 1 and report.energy_saving <= 0


def test_the_ladder_bounds_the_speedup(work):
    # A batch without a backward pass costs at least its forward pass.
    report = acc.simulate(work, design="max")
    forward = acc.simulate(work, design="max", schedule=LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0)))
    assert 1 < report.speedup < forward.speedup


def test_the_baseline_design_is_the_baseline(work):
    report = acc.simulate(work, design="baseline")
    assert report.speedup == 1 and report.energy_saving == 0
    assert "DRAM accesses  +0.0%" in str(report)  # no minus before what is 0


def test_the_frame_holds_all_of_the_energy(work):
    report = acc.simulate(work, design="efficient")
    frame = report.to_frame()
    energy = frame.filter(like="energy_").sum(axis=1).groupby(frame.run).sum()
    assert energy["efficient"] == pytest.approx(report.energy)
    assert energy["baseline"] == pytest.approx(report.baseline_energy)
    assert set(frame[frame.phase == "gp"].component) == {"forward", "update", "predictor forward"}


def test_time_grows_with_the_number_of_batches_and_its_cost_does_not(work):
    once, often = (acc.simulate(work, epochs=90, batches_per_epoch=n) for n in (60, 60 * 10**9))
    assert often.cycles == pytest.approx(once.cycles * 10**9)
    assert often.speedup == pytest.approx(once.speedup)


def test_dram_moves_each_tensor_at_least_once(work):
    words = acc.dram_traffic(work.layers, acc.Hardware()).words
    once = np.array([[x.input_words, x.weight_words, x.output_words] for x in work.layers])
    assert (words >= once[:, None, :]).all()


def test_a_buffer_that_holds_all_moves_each_tensor_exactly_once(work):
    words = acc.dram_traffic(work.layers, acc.Hardware(buffer_bytes=2**40)).words
    once = np.array([[x.input_words, x.weight_words, x.output_words] for x in work.layers])
    assert (words == once[:, None, :]).all()


def test_a_frozen_layer_is_neither_updated_nor_predicted():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    net[2].weight.requires_grad_(False)
    phases = acc.simulate(acc.workload(net, torch.empty(4, 3, 8, 8))).phases
    C = acc.Component
    for phase, component in (("gp", C.UPDATE), ("gp", C.PREDICTION), ("bp", C.LEARNING), ("bp", C.WEIGHT_GRADIENT)):
        assert (phases[phase].parts[component].dram_words > 0).tolist() == [True, False]


def test_an_epoch_has_a_batch_for_every_sample(work):
    # CIFAR-10's 50,000 training samples are 1,562.5 batches of 32; the ladder of 14 epochs has 10 of warm-up, four at 4:1.
    numbers = acc.simulate(work, epochs=14).numbers
    assert numbers["warm_up"] == 10 * 1563 and numbers["gp"] + numbers["bp"] == 4 * 1563
    assert numbers["gp"] == 4 * 1251  # 312 groups of five batches, and three more


def test_a_buffer_too_small_for_one_tile_is_refused_by_name(work):
    with pytest.raises(UsageError, match="buffer_bytes 64 holds no tile of layer '0'"):
        acc.simulate(work, hardware=acc.Hardware(buffer_bytes=64))


def test_a_schedule_whose_batches_are_all_dropped_is_refused(work):
    only_gp = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0))
    assert acc.simulate(work, schedule=only_gp, method="coast").speedup > 1
    with pytest.raises(UsageError, match="drops every batch of this schedule; give a schedule with batches of Phase BP"):
        acc.simulate(work, schedule=only_gp, method="skip")


@pytest.mark.parametrize(
    ("call", "empty"),
    [
        (lambda work: acc.simulate_all([]), "workloads"), (lambda work: acc.explore([]), "workloads"),
        (lambda work: acc.explore([work], batches=[]), "batches"), (lambda work: acc.explore([work], arrays=[]), "arrays"),
        (lambda work: acc.explore([work], dataflows=[]), "dataflows"), (lambda work: acc.sensitivity([]), "workloads"),
        (lambda work: acc.explore([work], designs=[]), "designs"), (lambda work: acc.unit_sensitivity([work], []), "words"),
        (lambda work: acc.backward_work([]), "workloads"), (lambda work: acc.compare_methods([work], []), "methods"),
    ],
)  # fmt: skip
def test_nothing_to_simulate_is_named(work, call, empty):
    with pytest.raises(UsageError, match=f"{empty} must have at least one entry, got none"):
        call(work)


@pytest.mark.parametrize(("name", "value"), [("backward", -1), ("backward", float("nan")), ("epochs", 0)])
def test_a_bound_takes_numbers_in_their_range(name, value):
    with pytest.raises(UsageError, match=f"{name} must be a .*, got {value}"):
        acc.ladder_bound(**{name: value})


@pytest.mark.parametrize("field", ["rows", "cols", "buffer_bytes", "word_bytes", "clock_hz", "dram_bytes_per_s"])
def test_hardware_without_an_extent_is_refused_by_name(field):
    with pytest.raises(UsageError, match=f"hardware field {field} must be a .*number .*, got 0"):
        acc.Hardware(**{field: 0})


@pytest.mark.parametrize("kind", ["design", "dataflow"])
def test_unknown_names_are_answered_with_the_known_ones(work, kind):
    with pytest.raises(UsageError, match=f"unknown {kind} 'x'; choose from: "):
        acc.simulate(work, **{kind: "x"})


def test_an_energy_table_needs_every_entry_and_every_source():
    good = {level: {"value": 1.0, "source": "a paper"} for level in acc.LEVELS}
    with pytest.raises(UsageError, match="'mine' has no entry 'dram'"):
        acc.EnergyTable.from_dict("mine", {k: v for k, v in good.items() if k != "dram"})
    with pytest.raises(UsageError, match="'mine': rf has no source"):
        acc.EnergyTable.from_dict("mine", good | {"rf": {"value": 1.0, "source": " "}})


def test_a_published_energy_table_is_scaled_to_the_chips_words_and_an_own_one_is_not():
    narrow, wide = (acc.Hardware(word_bytes=size, energy="horowitz-45nm") for size in (2, 4))
    factors = wide.energy_table.prices / narrow.energy_table.prices
    assert dict(zip(acc.LEVELS, factors, strict=True)) == {"mac": 4, "rf": 2, "noc": 2, "buffer": 2, "dram": 2}
    own = acc.EnergyTable(name="mine", unit="pJ", mac=1.0, rf=1.0, noc=1.0, buffer=1.0, dram=1.0)
    assert acc.Hardware(word_bytes=4, energy=own).energy_table is own


@pytest.mark.parametrize(("dataflow", "fixed"), [("ws", 278.0 + 32 * 5.98), ("rs", 278.0)])
def test_an_array_of_wider_words_has_larger_multipliers_and_registers(dataflow, fixed):
    narrow, wide = (acc.area("baseline", acc.Hardware(word_bytes=size), dataflow)["PE array"] for size in (2, 4))
    multiplier = 6350.0 / 4  # of 16 bits
    pe = narrow * 1e6 / acc.Hardware().pes
    assert wide * 1e6 / acc.Hardware().pes == pytest.approx(4 * multiplier + 2 * (pe - multiplier - fixed) + fixed)


def test_every_constant_names_its_source():
    from adagp.accelerator._constants import read_table

    for table in ("hardware.toml", "energy.toml"):
        for group in read_table(table).values():
            for field, entry in group.items():
                assert field == "unit" or entry["source"].strip(), (table, group, field)


def test_a_network_without_a_parameter_has_nothing_to_predict():
    class Product(nn.Module):
        def forward(self, x):
            return x @ x.transpose(1, 2)

    work = acc.workload(Product(), torch.empty(4, 3, 5))
    assert acc.simulate(work).speedup == acc.simulate(work, design="max").speedup == 1
