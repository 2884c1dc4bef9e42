"""From a run's configuration to its record: profiles, training, worker processes, a cluster, the store."""

from ._behaviour import agrees, behaviour, is_current
from ._budget import PLANS, record, recording_plan
from ._cluster import run_on_ray
from ._configuration import Run
from ._cost import cost_epochs, gp_work, planned_cost
from ._frontier import confirmation_runs, fine_tuning_runs, frontier_runs
from ._machine import find_device
from ._profiles import PROFILES, Profile, profile
from ._provenance import digest, git, package_code, provenance, write_recorded
from ._record import Epoch, Provenance, Record, Result
from ._setup import Setup, make_optimizer, make_predictor, setup
from ._store import Store, local_store, recorded_store
from ._train import train
from ._workers import HeldError, outcome, progress_line, run_all, run_one

__all__ = [
    "PLANS", "PROFILES", "Epoch", "HeldError", "Profile", "Provenance", "Record", "Result", "Run",
    "Setup", "Store", "agrees", "behaviour", "confirmation_runs", "cost_epochs", "digest", "find_device",
    "fine_tuning_runs", "frontier_runs", "git", "gp_work", "is_current", "local_store", "make_optimizer",
    "make_predictor", "outcome", "package_code", "planned_cost", "profile", "progress_line", "provenance",
    "record", "recorded_store", "recording_plan", "run_all", "run_on_ray", "run_one",
    "setup", "train", "write_recorded",
]  # fmt: skip
