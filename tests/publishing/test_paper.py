"""The paper is made of the records: its source holds each verdict and no figure typed by hand, and Typst sets it."""

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import RECORDS, ROOT, copy_checkout

from adagp import _paths, evidence, publishing
from adagp import accelerator as acc
from adagp._errors import MissingExtraError, UsageError

TEXT = Path(publishing.__file__).parent / "paper.typ"


@pytest.fixture(scope="module")
def deciding():
    """The runs that decide about accuracy."""
    return evidence.deciding()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, deciding):
    """The paper's source, from these runs and from a few workloads."""
    home = tmp_path_factory.mktemp("paper") / "checkout"
    runs = home.parent / "runs"
    runs.mkdir()
    for record in deciding:
        shutil.copy(ROOT / RECORDS / f"{record.name}.json", runs)
    copy_checkout(home, runs)
    some = evidence.zoo_workloads()[::6]
    areas = [sum(acc.area(design).values()) for design in ("baseline", "efficient")]
    means = acc.equal_area_means(acc.equal_area(some[:1], areas, designs=["baseline", "low", "efficient"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAGP_HOME", str(home))
        _paths.root.cache_clear()
        patch.setattr(evidence, "zoo_workloads", lambda: some)
        patch.setattr(evidence, "equal_area", lambda: means)
        source = publishing.write_paper(home / "made")
    _paths.root.cache_clear()
    return source.parent


def test_the_source_has_each_claim_with_its_verdict_and_value(folder, deciding):
    found = {row["id"]: row for row in json.loads((folder / "paper.json").read_text())["claims"]}
    claims = evidence.recorded_claims(deciding)
    assert found.keys() == {claim.id for claim in claims} and {claim.verdict for claim in claims} >= {"holds", "differs"}
    for claim in claims:
        row = found[claim.id]
        assert row["verdict"] == claim.verdict and row["words"].startswith(claim.verdict) and row["page"] == claim.notebook
        assert f"{claim.judged.value:.2f}" in row["measured"]


def test_the_text_has_no_measured_number_of_its_own(folder):
    """Figures with a decimal point stand in it as sizes of type only, and all that it names is there."""
    text = TEXT.read_text()
    assert re.findall(r"\d\.\d+(?!\d*(?:pt|em|cm|fr)\b)", re.sub(r"numbering: \S+|Apache-2.0", "", text)) == []
    numbers = json.loads((folder / "paper.json").read_text())
    assert [name for name in re.findall(r"#d\.(\w+)", text) if name not in numbers] == []
    assert [name for name in re.findall(r'image\("(.+?)"', text) if not (folder / name).exists()] == []


def test_typst_sets_four_to_six_pages(folder):
    if not find_spec("typst"):
        pytest.skip("typst is not installed (make paper installs it)")
    import matplotlib
    import typst

    fonts = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    found = typst.compile_with_warnings(str(folder / "adagp.typ"), font_paths=[fonts], ignore_system_fonts=True)
    assert found[0].startswith(b"%PDF") and [str(warning) for warning in found[1]] == []
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", found[0])) <= 6


def test_what_is_missing_is_said_in_a_line(checkout, monkeypatch, tmp_path):
    for path in (checkout / "artifact" / "recorded" / "runs").glob("*.json"):
        path.unlink()
    with pytest.raises(UsageError, match="no run of ADA-GP and backpropagation"):
        publishing.write_paper(tmp_path)
    monkeypatch.setattr("adagp._errors.find_spec", lambda module: None)
    monkeypatch.delitem(__import__("sys").modules, "typst", raising=False)
    with pytest.raises(MissingExtraError, match=r"adagp\[paper\]"):
        publishing.build_paper(tmp_path)
