"""From a run's configuration to its record: profiles, training, worker processes, a cluster, the store."""

from ._behaviour import agrees, behaviour, is_current
from ._budget import PLANS, record, recording_plan
from ._cluster import run_on_ray
from ._configuration import Run
from ._cost import cost_epochs, gp_work, planned_cost
from ._estimate import estimate
from ._frontier import CHOSEN_RATE, RATES, confirmation_runs, fine_tuning_runs, frontier_runs, rate_runs
from ._judge import BESIDE, SETTINGS, JudgeSetting, judge_runs, known_records
from ._machine import find_device
from ._profiles import PROFILES, Profile, profile
from ._provenance import commit, digest, git, package_code, provenance, write_recorded
from ._record import Epoch, Provenance, Record, Result
from ._setup import Setup, make_optimizer, make_predictor, setup
from ._store import Store, local_store, recorded_store
from ._train import train
from ._trial import try_method
from ._workers import HeldError, outcome, progress_line, run_all, run_one

__all__ = [
    "BESIDE", "CHOSEN_RATE", "PLANS", "PROFILES", "RATES", "SETTINGS", "Epoch", "HeldError", "JudgeSetting", "Profile",
    "Provenance", "Record", "Result", "Run", "Setup", "Store", "agrees", "behaviour", "commit", "confirmation_runs",
    "cost_epochs", "digest", "estimate", "find_device", "fine_tuning_runs", "frontier_runs", "git", "gp_work", "is_current",
    "judge_runs", "known_records", "local_store", "make_optimizer", "make_predictor", "outcome", "package_code", "planned_cost",
    "profile", "progress_line", "provenance", "rate_runs", "record", "recorded_store", "recording_plan", "run_all",
    "run_on_ray", "run_one", "setup", "train", "try_method", "write_recorded",
]  # fmt: skip
