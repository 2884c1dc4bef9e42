"""Records of runs that nobody trained."""

from adagp.running import Record

ROW = {"train_loss": 1.0, "test_loss": 1.0, "seconds": 1.0, "train_seconds": 1.0}
ORIGIN = {"machine": {"processor": "a", "device": "cpu"}, "data": {"name": "digits", "fingerprint": "x"}}
RESULT = {
    "diverged": None, "metric": "accuracy", "averaged_score": None, "parameters": 0, "predictor_parameters": 0, "seconds": 1.0,
    "quality": {},
}  # fmt: skip


def record_of(run, score, *, batches=None, last=None, origin=None, **result):
    """A record of a run with this score, or with none where it diverged.

    Args:
        batches: by phase, of each epoch.
        last: the metric after every epoch; the score unless given.
        origin: more of its provenance.
        result: more of its result.
    """
    samples = min(1280, run.train_limit or 1280)
    result = RESULT | {"score": None if result.get("diverged") else score, "train_samples": samples} | result
    batches = batches or [{"bp": min(10, -(-samples // run.batch_size))}] * run.trained_epochs()
    figure = {result["metric"]: (score or 0.0) if last is None else last}
    rows = [ROW | figure | {"epoch": epoch, "batches": counts} for epoch, counts in enumerate(batches, 1)]
    document = {"schema": 2, "name": run.name, "config": run.config(), "result": result, "curves": rows}
    return Record.from_document(document | {"provenance": ORIGIN | (origin or {})}, "a test")
