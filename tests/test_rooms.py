"""The order of the rooms: an import goes down, never up and never sideways."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "adagp"
FLOORS = (
    {"__main__"},
    {"cli"},
    {"_simulation"},
    {"publishing"},
    {"evidence", "figures"},
    {"measuring"},
    {"running"},
    {"rtl"},
    {"training", "accelerator"},
    {"models"},
    {"predictors", "schedule", "data"},
    {"methods"},
    {"_files", "_memory", "_paths", "_threads", "_work", "_torchvision"},
    {"_progress"},
    {"_predictor_size", "_escape"},
    {"_processes"},
    {"_errors", "_imported"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FACADE = {"data", "models", "predictors", "schedule", "training", "_errors"}  # what ``import adagp`` brings


def imports(source: str, package: list[str]) -> set[str]:
    """Rooms of adagp that a module imports: at its head, inside functions, or for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            names = [[*base, *(node.module or "").split("."), alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for name in names:
            parts = [part for part in name if part]
            if parts[0] == "adagp":
                found.add(parts[1] if len(parts) > 1 else "adagp")
    return found


def misplaced(room: str, imported: set[str]) -> set[str]:
    """What a module of ``room`` imports and may not."""
    others = imported - {room, "adagp", "__version__"}
    return {other for other in others if other not in FLOOR or FLOOR[other] <= FLOOR[room]}


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_import_goes_up(file):
    place = file.relative_to(SOURCE).with_suffix("").parts
    found = imports(file.read_text(), ["adagp", *place[:-1]])
    if place == ("__init__",):
        assert found - {"adagp"} <= FACADE
    else:
        assert misplaced(place[0], found) == set()


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("running", "from ..evidence import recorded"),
        ("running", "def late():\n    from .. import publishing"),
        ("training", "import adagp.accelerator.costs"),
        ("evidence", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from adagp.figures import style"),
    ],
)
def test_an_import_upwards_or_sideways_is_found(room, source):
    assert misplaced(room, imports(source, ["adagp", room]))
