"""Schedules: the ladder agrees with its definition, and the adaptive schedule decides as documented."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagp import AdaptiveSchedule, AlwaysBP, LadderSchedule, LateSchedule, Phase
from adagp._errors import UsageError
from adagp.schedule import DECAYS, epoch_starts

LETTERS = {Phase.WARM_UP: "w", Phase.BP: "B", Phase.GP: "G"}


def epochs_of(schedule, epochs, batches):
    """Return the phases in the order in which they run, as one string of letters per epoch."""
    starts = epoch_starts(schedule, epochs, batches)
    return [
        "".join(LETTERS[schedule.phase(epoch, start + batch)] for batch in range(batches)) for epoch, start in enumerate(starts)
    ]


def counted(schedule, epochs, batches):
    """Count the batches of each phase by asking for one after the other."""
    phases = "".join(epochs_of(schedule, epochs, batches))
    return {phase: phases.count(letter) for phase, letter in LETTERS.items()}


def test_the_ladder_over_ninety_epochs_costs_what_arithmetic_says():
    """If a backward pass costs two forward passes and predictions are free: 270 / 184.3 = 1.465, close to the paper's 1.47."""
    counts = counted(LadderSchedule(), 90, 60)  # 60 batches hold whole groups of every ratio
    cost = 3 * (counts[Phase.WARM_UP] + counts[Phase.BP]) + counts[Phase.GP]
    assert 3 * 90 * 60 / cost == pytest.approx(270 / 184.3, rel=1e-3)
    first = [LadderSchedule().phase(10, batch) for batch in range(10)]
    assert first == ([Phase.GP] * 4 + [Phase.BP]) * 2


ratios = st.tuples(st.integers(0, 5), st.integers(0, 3)).filter(sum)
rungs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 3)), max_size=3).map(tuple)


ladders = st.builds(LadderSchedule, warm_up_epochs=st.integers(0, 4), rungs=rungs, final=ratios)


@given(ladder=ladders, epochs=st.integers(1, 15), batches=st.integers(1, 23))
def test_segments_count_exactly_the_batches_that_run(ladder, epochs, batches):
    """Segments are compared epoch by epoch, including epochs that are shorter than a group."""
    segments = ladder.segments(epochs, batches)
    planned = [(s.warm_up, s.bp, s.gp) for s in segments for _ in range(s.epochs)]
    assert planned == [tuple(phases.count(x) for x in "wBG") for phases in epochs_of(ladder, epochs, batches)]
    assert sum(s.epochs for s in segments) == epochs and all(s.batches == batches for s in segments)


@given(ladder=ladders, batches=st.integers(8, 23))
def test_epochs_that_hold_a_group_start_anew(ladder, batches):
    assert epoch_starts(ladder, 15, batches) == [0] * 15
    assert len(ladder.segments(15, batches)) <= 2 + len(ladder.rungs)


@given(epochs=st.integers(1, 40), batches=st.integers(1, 4), gp=st.integers(0, 5), bp=st.integers(0, 3))
def test_short_epochs_of_one_ratio_are_cut_from_one_row_of_groups(epochs, batches, gp, bp):
    if gp + bp <= batches:
        return
    ladder = LadderSchedule(warm_up_epochs=2, rungs=(), final=(gp, bp))
    row = ("G" * gp + "B" * bp) * epochs * batches
    assert "".join(epochs_of(ladder, 2 + epochs, batches)) == "ww" * batches + row[: epochs * batches]


def test_an_epoch_of_one_step_follows_the_ladder():
    """The four epochs of a rung hold four steps. The BP batch that is due after 4:1 comes first in 3:1, and so on."""
    found = "".join(epochs_of(LadderSchedule(), 40, 1))
    assert found == "w" * 10 + "GGGG" + "BGGG" + "BGGB" + "GB" * 9
    assert [(s.epochs, s.warm_up, s.bp, s.gp) for s in LadderSchedule().segments(16, 1)] == [
        (10, 1, 0, 0), (4, 0, 0, 1), (1, 0, 1, 0), (1, 0, 0, 1)
    ]  # fmt: skip


def test_epochs_one_step_shorter_than_a_group_keep_its_ratio():
    ladder = LadderSchedule(warm_up_epochs=0, rungs=(), final=(4, 1))
    assert epochs_of(ladder, 6, 4) == ["GGGG", "BGGG", "GBGG", "GGBG", "GGGB", "GGGG"]
    assert counted(ladder, 20, 4) == {Phase.WARM_UP: 0, Phase.BP: 16, Phase.GP: 64}


def test_what_a_short_epoch_hands_on_ends_with_the_next_epoch_that_holds_a_group():
    longer = LadderSchedule(warm_up_epochs=0, rungs=((1, 4, 1),), final=(1, 1))
    assert epochs_of(longer, 4, 3) == ["GGG", "BGB", "GBG", "GBG"]
    assert [(s.epochs, s.bp, s.gp) for s in longer.segments(4, 3)] == [(1, 0, 3), (1, 2, 1), (2, 1, 2)]
    as_long = LadderSchedule(warm_up_epochs=0, rungs=((1, 4, 1),), final=(2, 1))
    assert epochs_of(as_long, 4, 3) == ["GGG", "BGG", "GGB", "GGB"]
    assert [(s.epochs, s.bp, s.gp) for s in as_long.segments(4, 3)] == [(1, 0, 3), (3, 1, 2)]


def test_a_late_schedule_goes_on_over_short_epochs_too():
    """1:1, 2:1 and 4:1 run for five epochs each. The BP batch that is due after the first five comes first in 2:1."""
    late = LateSchedule(epochs=30)
    assert "".join(epochs_of(late, 40, 1)) == "w" * 15 + "GBGBG" + "BGGBG" + "GGGBGGGGBGGGGBG"
    segments = late.segments(40, 1)
    assert sum(s.epochs * s.gp for s in segments) == 18 and sum(s.epochs * s.bp for s in segments) == 7


@pytest.mark.parametrize(
    ("old", "new", "place", "begin"),
    [
        ((4, 1), (3, 1), 4, 3),  # the true gradient is due in both
        ((4, 1), (3, 1), 2, 2),
        ((4, 1), (2, 1), 3, 2),  # more is predicted than 2:1 allows
        ((1, 1), (4, 1), 1, 4),
        ((4, 3), (3, 2), 5, 4),  # the second of two true gradients
        ((4, 3), (3, 2), 6, 0),  # two are all that the new group has
        ((4, 1), (5, 0), 4, 0),  # no true gradient is ever due there
        ((4, 1), (0, 2), 3, 0),
        ((0, 6), (4, 3), 1, 0),  # nothing was predicted: none is due
    ],
)
def test_a_new_ratio_goes_on_from_the_place_of_the_old_one(old, new, place, begin):
    ladder = LadderSchedule(warm_up_epochs=1, rungs=((1, *old),), final=new)
    assert ladder.begins_at(2, 0, place) == ladder.begins_at(2, place - 1, 1) == begin
    assert ladder.begins_at(1, 0, place) == 0  # after the warm-up


def test_other_schedules_hand_nothing_on():
    assert AlwaysBP().begins_at(3, 0, 1) == AdaptiveSchedule().begins_at(30, 0, 1) == 0
    assert epoch_starts(AlwaysBP(), 3, 1) == [0, 0, 0] and epoch_starts(AlwaysBP(), 0, 1) == []


@pytest.mark.parametrize("name", DECAYS)
def test_every_decay_stays_within_the_initial_rate_and_ends_at_zero(name):
    rates = [DECAYS[name](step / 1000) for step in range(1001)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1, abs=1e-6) and min(rates) == pytest.approx(0, abs=1e-6) and rates[-1] < 1e-6
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= 50  # a learning-rate warm-up ends after a twentieth
    assert all(abs(after - before) < 0.08 for before, after in pairwise(rates))  # 1 - sqrt falls fastest, 0.07 at its start


def test_schedules_print_their_plan():
    assert str(LadderSchedule()) == (
        "10 epochs of warm-up, 4 epochs of GP:BP 4:1, 4 epochs of GP:BP 3:1, 4 epochs of GP:BP 2:1, then 1:1"
    )
    assert "every batch" in str(AlwaysBP())


@pytest.mark.parametrize(
    "kind, change, words",
    [
        (LadderSchedule, {"warm_up_epochs": -1}, "warm_up_epochs must be a whole number from 0"),
        (LadderSchedule, {"rungs": ((1, 0, 0),)}, r"rungs must be .* with at least one batch, got \(1, 0, 0\)"),
        (LadderSchedule, {"rungs": (4, 4, 1)}, r"rungs must be a tuple of \(epochs, GP batches, BP batches\), got 4"),
        (LadderSchedule, {"rungs": "441"}, "rungs must be a tuple of .*, got '441'"),
        (LadderSchedule, {"rungs": ((4, 4.5, 1),)}, r"rungs must be a tuple of .*, got \(4, 4.5, 1\)"),
        (LadderSchedule, {"final": (0, 0)}, r"final must be .* with at least one batch, got \(0, 0\)"),
        (LadderSchedule, {"final": (1,)}, r"final must be \(GP batches, BP batches\), got \(1,\)"),
        (LateSchedule, {"ratios": (1, 1)}, r"ratios must be a tuple of one or more \(GP batches, BP batches\), got 1"),
        (LateSchedule, {"ratios": ()}, r"ratios must be .*, got \(\)"),
        (LateSchedule, {"ratios": None}, "ratios must be .*, got None"),
        (LateSchedule, {"epochs": 0}, "epochs must be a whole number from 1"),
        (LateSchedule, {"start": "0.5"}, "start must be a number from 0 up to 1, got '0.5'"),
        (LateSchedule, {"start": 1}, "start must be below 1"),
        (AdaptiveSchedule, {"window": "3"}, "window must be a whole number from 1 .*, got '3'"),
        (AdaptiveSchedule, {"patience": 0}, "patience must be a whole number from 1 .*, got 0"),
        (AdaptiveSchedule, {"most": None}, "most must be a whole number from 0 .*, got None"),
        (AdaptiveSchedule, {"start": 9}, "least <= start <= most"),
        (AdaptiveSchedule, {"tolerance": "1%"}, "tolerance must be a number .*, got '1%'"),
        (AdaptiveSchedule, {"good_cosine": None}, "good_cosine must be a number, got None"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_named(kind, change, words):
    with pytest.raises(UsageError, match=words):
        kind(**change)


def train(schedule, losses, cosine=None):
    """Report one loss per BP batch to a schedule without warm-up; return the phases that ran."""
    phases, losses = [], iter(losses)
    while True:
        phase = schedule.phase(0, len(phases))
        try:
            loss = next(losses) if phase is Phase.BP else 0.0
        except StopIteration:
            return phases
        phases.append(phase)
        schedule.observe(phase, loss, cosine if phase is Phase.BP else None)


def test_falling_loss_raises_the_ratio_to_its_bound_and_rising_loss_lowers_it():
    schedule = AdaptiveSchedule(warm_up_epochs=0, window=2, patience=2, most=3)
    train(schedule, [0.9**k for k in range(60)])
    assert schedule.ratio == 3
    phases = train(schedule, [0.001 * 1.1**k for k in range(60)])
    assert schedule.ratio == 0 and phases[-5:] == [Phase.BP] * 5
    assert all("rose" in entry["reason"] for entry in schedule.log if entry["moved"] < 0)


def test_noise_does_not_move_the_ratio():
    schedule = AdaptiveSchedule(warm_up_epochs=0, window=2, patience=2)
    train(schedule, [1.0, 1.0, 1.2, 1.2] * 20)  # up, down, up, down: no two windows in a row agree
    assert schedule.ratio == schedule.start and len(schedule.log) > 10


def test_good_predictions_raise_the_ratio_on_a_flat_loss():
    flat = [1.0] * 40
    good, poor = (AdaptiveSchedule(warm_up_epochs=0, window=2) for _ in range(2))
    train(good, flat, cosine=0.5)
    train(poor, flat, cosine=0.0)
    assert good.ratio == good.most and poor.ratio == poor.start


def test_a_restored_schedule_goes_on_as_if_never_stopped():
    losses = [0.95**k for k in range(50)]
    whole = AdaptiveSchedule(warm_up_epochs=0, window=3)
    expected = train(whole, losses)
    first = AdaptiveSchedule(warm_up_epochs=0, window=3)
    begun = train(first, losses[:20])
    second = AdaptiveSchedule(warm_up_epochs=0, window=3)
    second.load_state_dict(first.state_dict())
    assert begun + train(second, losses[20:]) == expected and second.log == whole.log


def test_an_adaptive_schedule_has_no_plan_in_advance():
    with pytest.raises(UsageError, match="no plan in advance"):
        AdaptiveSchedule().segments(90, 10)
