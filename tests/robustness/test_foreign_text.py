"""Text from elsewhere on every way out: names with markup, a control character and a formula are shown as they are written."""

import csv
import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from adagp import accelerator as acc
from adagp import cli, evidence, figures, publishing
from adagp._escape import as_cell, as_csv, as_html, as_markdown, fill_html, visible
from adagp.evidence import _claims
from adagp.publishing import _book, _findings, _notebooks, _times
from adagp.running import profile
from adagp.running._store import read

BAD = "=1+1 <u>x</u> \x07\x1b[0m $\\frac$ *a* `b` | &lt; \u202e"
"""No page of ours underlines anything, so a tag u is live markup; matplotlib refuses the formula between the dollar signs."""
SHOWN = BAD.replace("\x07", r"\x07").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
ROOT = Path(__file__).resolve().parents[2]
UNSEEN = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} | {"\u202e"}


class Page(HTMLParser):
    """The tags of a page, its text, and the text that MathJax would read."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.typeset, self.ignored = set(), "", "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("br", "path", "use", "rect", "meta"):
            self.ignored.append("mathjax_ignore" in (dict(attributes).get("class") or ""))

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        self.ignored.pop()

    def handle_data(self, data):
        self.text += data
        if not any(self.ignored):
            self.typeset += data


def inert(text, *, shows=True):
    page = Page(text)
    assert "u" not in page.tags and not UNSEEN & set(text) and "$" not in page.typeset and "\\" not in page.typeset
    assert not shows or " ".join(SHOWN.split()) in " ".join(page.text.split()), page.text
    return page


def rendered(markdown):
    return MarkdownIt("commonmark").render(markdown)


def plain(text):
    assert text and not UNSEEN & set(text), text
    return text


def no_formula(text):
    for row in csv.reader(io.StringIO(plain(text))):
        for cell in row:
            assert not cell.startswith(("=", "+", "@")) and (not cell.startswith("-") or float(cell) < 0), cell


def everywhere(value):
    """The same JSON with every text replaced."""
    if isinstance(value, dict):
        return {key: everywhere(item) for key, item in value.items()}
    if isinstance(value, list):
        return [everywhere(item) for item in value]
    return BAD if isinstance(value, str) else value


# ------------------------------------------------------------------ each way by itself


@pytest.mark.parametrize(
    "text", [BAD, "<script>", "a\0b", "]]>", "$$x$$", r"\(x\)", "[a](b:c)", "![a](b)", "<https://a.b>", "a\n\n# b", "_a_ __b__"]
)
def test_html_and_markdown_show_what_is_written(text):
    for made in (f"<p>{as_html(text)}</p>", rendered(f"**Scale:** {as_markdown(text)}.")):
        page = Page(made)
        assert not page.tags - {"p", "strong", "span"} and "$" not in page.typeset and "\\" not in page.typeset
        assert "".join(visible(text).split()) in "".join(page.text.split())


def test_ordinary_names_stay_as_they_are():
    for text in ("mobilenet_v2, width 0.125, 10,000 samples of CIFAR-10", "NVIDIA H200", "vgg13 · 1.5 ± 0.2 (3)"):
        assert as_html(text) == as_markdown(text) == visible(text) == as_cell(text) == text
    assert fill_html("<b>{n:,}</b> {text}", n=1234, text="a<b") == "<b>1,234</b> a&lt;b"


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@x", "-x", "\t=1", "=1\n+1"])
def test_a_cell_that_a_spreadsheet_would_compute_gets_an_apostrophe(text):
    assert as_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+2", "-1e3", -1.5, 3, None, "a=b", "1+1", ""])
def test_a_number_or_a_word_in_a_cell_stays(value):
    assert as_cell(value) == value


@pytest.mark.parametrize("text", ["\x1b[0m", "a\rb", "\x9b0m", "\x7f", "\ud800", "a\tb\nc"])
def test_a_terminal_gets_no_control_character(capsys, text):
    cli.tell(text)
    cli.say(text)
    out, err = capsys.readouterr()
    assert out == err and not UNSEEN & set(out) and out.encode()
    assert text != "a\tb\nc" or out == text + "\n"


def test_commands_print_through_one_place():
    for name in ("cli.py", "_simulation.py"):
        assert " print(" not in (Path(cli.__file__).parent / name).read_text()


# ------------------------------------------------------------------ records


@pytest.fixture
def small(tmp_path, at_home):
    """A checkout without records."""
    home = tmp_path / "checkout"
    for folder in ("notebooks", "artifact/recorded/runs"):
        (home / folder).mkdir(parents=True)
    for file in ("README.md", "artifact/claims.yml", "artifact/recorded/deterministic.json", "artifact/recorded/steps.json"):
        shutil.copy(ROOT / file, home / file)
    return at_home(home)


@pytest.fixture
def records(small):
    """Its records have such a text wherever a record may hold any text."""
    folder = ROOT / "artifact" / "recorded" / "runs"
    runs = {run.name for run in profile("reduced").runs() if run.method in ("adagp", "bp", "coast") and run.seed < 3}
    chosen = [read(path) for path in sorted(folder.glob("vgg13-*-s[012]-*.json")) if path.stem in runs]
    assert len(chosen) >= 9
    for record in chosen:
        document = json.loads(json.dumps(record.document))
        document["provenance"] = everywhere(document["provenance"])
        document["result"]["cut"] = BAD
        quality = document["result"]["quality"]
        document["result"]["quality"] = {
            phase: {BAD + name: facts for name, facts in layers.items()} for phase, layers in quality.items()
        }
        (small / "artifact" / "recorded" / "runs" / f"{record.name}.json").write_text(json.dumps(document))
    return evidence.recorded()


def test_records_on_pages(records, small):
    runs = evidence.summary(records)
    assert set(runs["data"]) == {BAD}
    inert(publishing.recorded_scale().data)
    inert(publishing.score_table(runs).data)
    inert(publishing.accuracy_table().data)
    inert(publishing.networks_table().data)
    inert(_times.times(small / "artifact" / "output" / "smoke" / "executed"))
    inert(_findings.FINDINGS["accuracy"]("smoke").data)
    inert(publishing.control_table(runs).data, shows=False)
    inert(publishing.quality_table(evidence.quality(records)).data, shows=False)
    inert(rendered(publishing.describe(runs).data))


def test_records_on_the_terminal_and_in_the_readme(records, small, capsys, monkeypatch):
    for name in ("mean_speedup", "mean_energy_saving", "predictor_share"):  # which no record enters, and which take seconds
        monkeypatch.setitem(_claims.MEASURES, name, lambda: _claims._computed(1.0, "1 model"))
    claims = evidence.check_claims(profile("smoke"))
    publishing.claims_in_readme(claims)
    assert "<u>" not in (small / "README.md").read_text()
    inert(publishing.claims_page(claims).data, shows=False)
    cli.tell(publishing.claims_table(claims))
    assert "<u>x</u>" in plain(capsys.readouterr().out)


def test_records_in_figures(records):
    drawn = figures.predictor_quality(evidence.quality(records[:2]))
    assert "<u>x</u>" in figures.show("x", drawn, alt=BAD, profile="smoke").data.replace("&lt;", "<").replace("&gt;", ">")


# ------------------------------------------------------------------ steps, files, parameters


def test_recorded_steps_on_a_page(small):
    path = small / "artifact" / "recorded" / "steps.json"
    record = json.loads(path.read_text())
    plain_step = [found["table"][1] for found in record["models"].values()]
    record = everywhere(record)
    record["models"] = {BAD + name: found for name, found in record["models"].items()}
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"steps\.json: .* has no step 'plain backpropagation'"):
        publishing.steps_table()
    for found, own in zip(record["models"].values(), plain_step, strict=True):
        found["table"][1]["step"] = own["step"]
    path.write_text(json.dumps(record))
    page = publishing.steps_table().data
    assert inert(page).text.count("<u>x</u>") > 5
    cards = _book._TABLE.sub(_book._as_cards, page)
    assert "data-label" in cards
    inert(cards)


@pytest.fixture
def topology(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["Layer", "M", "N", "K"])
    table.writerows([[BAD, 8, 8, 8], [f"{BAD} $x$", 8, 16, 8], ["-1+1", 8, 8, 16]])
    path = tmp_path / "=1+1 <u>$x$.csv"
    path.write_text(rows.getvalue(), encoding="utf-8")
    return path.name


def test_a_topology_on_the_terminal_and_in_csv(topology, tmp_path, capsys):
    assert cli.main(["simulate", topology, "--layers", "layers.csv"]) == 0
    assert " ".join(SHOWN.split()) in plain(capsys.readouterr().out)
    assert cli.main(["simulate", topology, "--json"]) == 0
    assert json.loads(plain(capsys.readouterr().out))["model"] == "=1+1 <u>$x$"
    assert cli.main(["explore", topology, "--out", "table.csv", "--dataflow", "ws", "--figure", "drawn.svg"]) == 0
    assert cli.main(["export", topology]) == 0
    exported = capsys.readouterr().out
    assert cli.main(["export", topology, "--out", "out.csv"]) == 0
    assert plain(exported).endswith((tmp_path / "out.csv").read_text())
    for name in ("layers.csv", "table.csv", "out.csv"):
        no_formula((tmp_path / name).read_text())
    assert "'=1+1" in (tmp_path / "layers.csv").read_text()
    assert acc.read_topology("out.csv").macs("forward") == acc.read_topology(topology).macs("forward")


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # such names leave a phone's figure no room
def test_a_topology_in_a_figure(topology, small, monkeypatch):
    monkeypatch.chdir(small.parent)
    drawn = figures.layer_cycles(acc.simulate(acc.read_topology(topology)))
    monkeypatch.setenv(figures.PAGE, BAD)
    inert(figures.show("names", drawn, alt=BAD, profile="smoke").data)
    folder = small / "artifact" / "output" / "smoke" / "figures"
    assert "&lt;u&gt;x&lt;/u&gt;" in plain((folder / "names.svg").read_text()) and (folder / "names.png").stat().st_size > 1000
    no_formula((folder / "names.csv").read_text())
    frame = drawn[1].rename(columns={"layer": "=1+1"})
    assert as_csv(frame).splitlines()[0] == "position,'=1+1,group,cycles"


def test_an_error_about_a_file_is_one_line_without_controls(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text(f"[designs.{json.dumps(BAD)}]\n{json.dumps(BAD)} = 3\n")
    assert cli.main(["simulate", "vgg13", "--hardware", str(tmp_path / "bad.toml")]) == 2
    err = plain(capsys.readouterr().err)
    assert "<u>x</u>" in err and err.count("\n") == 1


def test_a_parameter_in_the_title_of_a_page(tmp_path):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# On {{name}}"},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "name = 'x'"},
        {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": "name = 'x'"},
    ]
    made = tmp_path / "page.ipynb"
    made.write_text(json.dumps({"cells": cells}))
    _notebooks._tidy(made, {"name": BAD})
    inert(rendered(json.loads(made.read_text())["cells"][0]["source"]))
    (tmp_path / "page.json").write_text(json.dumps({"key": "", "seconds": 1.0, "finished": BAD}))
    assert _times.stamp(tmp_path, "page")["finished"] == BAD


def test_a_machine_in_the_table_of_times(small, monkeypatch):
    executed = small / "artifact" / "output" / "smoke" / "executed"
    executed.mkdir(parents=True)
    (executed / "page.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": f"# {BAD}"}]}))
    (executed / "page.json").write_text(json.dumps({"key": "", "seconds": 1.0, "finished": BAD}))
    monkeypatch.setattr(_times, "recorded", list)
    inert(_times.times(executed))


def test_a_card_takes_text_for_text():
    made = publishing.finding("x", BAD, None, alt="", page="07_speedup", basis=BAD, more=BAD)
    assert inert(made.data).text.count("<u>x</u>") == 3
