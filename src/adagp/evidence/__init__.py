"""From records to evidence: tidy tables, statistics, and each claim against what was measured."""

from ._claims import Claim, Measured, check_claims, claim_value, record_fixed
from ._computed import (
    collection_table,
    hardware_record,
    model_table,
    pipeline_schedules,
    pipeline_sweep,
    scalesim_record,
    zoo_workloads,
)
from ._frames import (
    by_method,
    curves,
    largest,
    page_records,
    quality,
    recorded,
    results,
    study_results,
    summary,
    variants,
)
from ._measured import large_batch, step_times
from ._statistics import mean_std, paired_interval

__all__ = [
    "Claim", "Measured", "by_method", "check_claims", "claim_value", "collection_table", "curves", "hardware_record", "large_batch",
    "largest", "mean_std", "model_table", "page_records", "paired_interval", "pipeline_schedules", "pipeline_sweep", "quality", "record_fixed",
    "recorded", "results", "scalesim_record", "step_times", "study_results", "summary", "variants", "zoo_workloads",
]  # fmt: skip
