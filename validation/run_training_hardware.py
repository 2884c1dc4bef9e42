"""``make rtl``: networks trained by the hardware's arithmetic, whole trainings and batches on the RTL in Verilator, and cycles.

Verilator comes from the system (Debian: verilator). What they say is written to artifact/recorded/hardware_training.json.
"""

import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from adagp import LadderSchedule, rtl
from adagp.rtl import _train_formats
from adagp.running import write_recorded

ROOT = Path(__file__).resolve().parents[1]
NAME = "hardware_training.json"
SEEDS = range(3)
SIDE = 4
SHORT = LadderSchedule(warm_up_epochs=1, rungs=(), final=(4, 1))
"""One epoch of true gradients, one of the ladder's first ratio."""


def curves(name: str) -> dict[str, object]:
    """Accuracy by epoch in fixed point, in floating point, and with a predictor that learns by Adam, for each seed."""
    digits, found = rtl.Digits.load(), {}
    plain = LadderSchedule(warm_up_epochs=rtl.EPOCHS)
    for label, train in (
        ("fixed", rtl.train_golden), ("float", rtl.train_float), ("adam", partial(rtl.train_golden, rule="adam")),
        ("fixed, true gradients only", partial(rtl.train_golden, schedule=plain)),
        ("float, true gradients only", partial(rtl.train_float, schedule=plain)),
    ):  # fmt: skip
        found[label] = [asdict(train(digits, name, seed=seed)) for seed in SEEDS]
    return found


def formats(name: str) -> list[dict[str, object]]:
    """Error of the gradients and accuracy by bits of an operand, and by batches of calibration."""
    digits, rows, chosen = rtl.Digits.load(), [], _train_formats.CALIBRATION
    for operand, calibration in ((12, chosen), (16, chosen), (16, 20)):
        widths = rtl.Widths(operand=operand)
        _train_formats.CALIBRATION = calibration
        trained = [rtl.train_golden(digits, name, seed=seed, widths=widths) for seed in SEEDS]
        error = [rtl.gradient_errors(digits, name, seed=seed, widths=widths) for seed in SEEDS]
        rows.append(
            {
                "operand": operand, "calibration": calibration, "error": error,
                "accuracy": [curve.accuracy[-1] for curve in trained], "clipped": [curve.clipped for curve in trained],
            }
        )  # fmt: skip
    _train_formats.CALIBRATION = chosen
    return rows


def batches(name: str) -> dict[str, object]:
    """Batches of each phase on the RTL: masters and momenta after each against the golden model, and the cycles of one."""
    digits = rtl.Digits.load()
    plan = rtl.plan_digits(digits, name)
    data = _data(digits, plan, 1)[:12]
    ran, different = rtl.train_on_hardware(
        plan, data, rows=SIDE, cols=SIDE, schedule=SHORT, epoch=6, run=rtl.run_verilator
    )
    found: dict[str, object] = {"equal": not different, "different": different[:5], "batches": {}, "cycles": {}, "steps": {}}
    for one in ran:
        found["batches"][one.phase] = found["batches"].get(one.phase, 0) + 1
        found["cycles"][one.phase] = sum(one.totals)
        found["steps"][one.phase] = one.steps
    return {"rows": SIDE, "cols": SIDE, "batch": plan.batch, **found}


def whole(name: str) -> dict[str, object]:
    """A training on the RTL from the first batch to the last: its logits, its last masters and momenta, and its accuracy."""
    digits = rtl.Digits.load()
    plan = rtl.plan_digits(digits, name)
    epochs, schedule = (rtl.EPOCHS, rtl.SCHEDULE) if name == "mlp" else (2, SHORT)
    data = _data(digits, plan, epochs)
    began = time.monotonic()
    ran, different = rtl.train_on_hardware(
        plan, data, rows=SIDE, cols=SIDE, schedule=schedule, epoch=digits.batches, every=False, run=rtl.run_verilator
    )
    trained = rtl.GoldenTraining(plan)
    trained.masters = {key: master for key, (master, _) in ran[-1].states.items()}
    right = trained.logits(plan.images(digits.test_images)).argmax(1) == digits.test_labels.numpy()
    return {
        "rows": SIDE, "cols": SIDE, "epochs": epochs, "equal": not different, "different": different[:5],
        "accuracy": float(np.mean(right)), "batches": {x: sum(one.phase == x for one in ran) for x in ("bp", "gp")},
        "cycles": sum(sum(one.totals) for one in ran), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _data(digits: rtl.Digits, plan: rtl.TrainPlan, epochs: int) -> list[rtl.Batch]:
    pairs = [pair for epoch in digits.epochs(0, epochs) for pair in epoch]
    return [rtl.Batch(images=plan.images(images), labels=labels.numpy()) for images, labels in pairs]


def main() -> int:
    """Record each part whose hardware has changed since, or that is not there; a run that was stopped goes on where it was."""
    file, sources = ROOT / "artifact" / "recorded" / NAME, rtl.fingerprint(rtl.TRAINING)
    record = json.loads(file.read_text()) if file.exists() else {}
    parts = [(make, name) for make in (batches, curves, whole, formats) for name in rtl.TRAINED]
    for make, name in parts:
        made = record.get(make.__name__, {}).get(name, {})
        if made and (make in (curves, formats) or made.get("sources") == sources):
            continue
        print(f"{make.__name__}: {name}", file=sys.stderr, flush=True)
        found = make(name)
        if isinstance(found, dict) and make in (batches, whole):
            found["sources"] = sources
        record.setdefault(make.__name__, {})[name] = found
        write_recorded(NAME, {key: value for key, value in record.items() if key != "provenance"})
    wrong = [name for group in ("batches", "whole") for name, found in record[group].items() if not found["equal"]]
    print(f"differ from the golden model: {', '.join(wrong)}" if wrong else f"all runs equal the golden model: {NAME}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
