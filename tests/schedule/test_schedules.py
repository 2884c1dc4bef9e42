"""The ladder against its definition, and the adaptive schedule's decisions."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagp import AdaptiveSchedule, AlwaysBP, LadderSchedule, Phase
from adagp._errors import UsageError
from adagp.schedule import DECAYS


def counted(schedule, epochs, batches):
    """Batches by phase, one after the other."""
    phases = [schedule.phase(epoch, batch) for epoch in range(epochs) for batch in range(batches)]
    return {phase: phases.count(phase) for phase in Phase}


def test_the_ladder_over_ninety_epochs_costs_what_arithmetic_says():
    """With a backward pass of two forward passes and free prediction: 270 / 184.3 = 1.465, close to the paper's 1.47."""
    counts = counted(LadderSchedule(), 90, 60)  # 60 batches hold whole groups of every ratio
    cost = 3 * (counts[Phase.WARM_UP] + counts[Phase.BP]) + counts[Phase.GP]
    assert 3 * 90 * 60 / cost == pytest.approx(270 / 184.3, rel=1e-3)
    first = [LadderSchedule().phase(10, batch) for batch in range(10)]
    assert first == ([Phase.GP] * 4 + [Phase.BP]) * 2


ratios = st.tuples(st.integers(0, 5), st.integers(0, 3)).filter(sum)
rungs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 3)), max_size=3).map(tuple)


@given(warm_up=st.integers(0, 4), rungs=rungs, final=ratios, epochs=st.integers(1, 15), batches=st.integers(1, 23))
def test_segments_count_exactly_the_batches_that_run(warm_up, rungs, final, epochs, batches):
    ladder = LadderSchedule(warm_up_epochs=warm_up, rungs=rungs, final=final)
    segments = ladder.segments(epochs, batches)
    counts = counted(ladder, epochs, batches)
    assert sum(s.epochs for s in segments) == epochs and all(s.batches == batches for s in segments)
    assert sum(s.epochs * s.gp for s in segments) == counts[Phase.GP]
    assert sum(s.epochs * s.bp for s in segments) == counts[Phase.BP]
    assert sum(s.epochs * s.warm_up for s in segments) == counts[Phase.WARM_UP]


@pytest.mark.parametrize("name", DECAYS)
def test_every_decay_stays_within_the_initial_rate_and_ends_at_zero(name):
    rates = [DECAYS[name](step / 1000) for step in range(1001)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1, abs=1e-6) and min(rates) == pytest.approx(0, abs=1e-6) and rates[-1] < 1e-6
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= 50  # a warm-up is over after a twentieth
    assert all(abs(after - before) < 0.08 for before, after in pairwise(rates))  # 1 - sqrt falls fastest, 0.07 at its start


def test_schedules_print_their_plan():
    assert str(LadderSchedule()) == (
        "10 epochs of warm-up, 4 epochs of GP:BP 4:1, 4 epochs of GP:BP 3:1, 4 epochs of GP:BP 2:1, then 1:1"
    )
    assert "every batch" in str(AlwaysBP())


@pytest.mark.parametrize("change", [{"warm_up_epochs": -1}, {"rungs": ((1, 0, 0),)}, {"final": (0, 0)}])
def test_a_ladder_without_batches_is_refused(change):
    with pytest.raises(UsageError):
        LadderSchedule(**change)


def train(schedule, losses, cosine=None):
    """Feed one loss a BP batch (after a warm-up of none); returns the phases that ran."""
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
    with pytest.raises(UsageError, match="least <= start <= most"):
        AdaptiveSchedule(start=9)
