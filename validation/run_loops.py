"""``make validate``: the engine in the loops of other libraries, as the examples use it.

Runs tests/test_examples.py and writes to artifact/recorded/loops.json what each of its tests compared and what was refused,
with the versions of the libraries. The exit code is 1 if a test fails or is skipped: then nothing is written.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "artifact" / "recorded" / "loops.json"


class Tried:
    """A plugin of pytest that keeps what tests noted with the fixture ``tried``."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call":
            self.rows += [value for name, value in report.user_properties if name == "tried"]


def main() -> int:
    tried = Tried()
    if pytest.main(["-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "test_examples.py")], [tried]):
        return 1
    if tried.skipped:
        print(f"not recorded, since these were skipped: {', '.join(tried.skipped)}", file=sys.stderr)
        return 1
    # Imported now: the tests check shapes in modules that they import first.
    from adagp._files import write_json
    from adagp.running import provenance

    rows = [row | {"packages": {name: version(name) for name in row["packages"]}} for row in tried.rows]
    write_json(RECORD, {"loops": rows, "provenance": provenance()})
    print(f"{len(rows)} loops are in {RECORD.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
