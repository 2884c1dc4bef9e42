"""Executing notebooks: only what is out of date, never with an unknown parameter, failures named."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from adagp._errors import UsageError
from adagp.publishing import NotebookError, execute_notebooks, forecast, needed_runs, notebook_jobs
from adagp.running import profile

SMOKE = profile("smoke")
SOURCES = Path(__file__).resolve().parents[2] / "notebooks"


def notebook(source):
    cells = [("parameters", 'profile = "quick"\nvalue = 1'), (None, source)]
    return {
        "cells": [
            {"cell_type": "code", "id": f"c{i}", "metadata": {"tags": [tag] if tag else []}, "source": text,
             "outputs": [], "execution_count": None}
            for i, (tag, text) in enumerate(cells)
        ]
        + [{"cell_type": "markdown", "id": "m", "metadata": {}, "source": "# Value {{value}}"}],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip


@pytest.fixture
def notebooks(checkout):
    """A checkout whose only notebook is a tiny one."""
    folder = checkout / "notebooks"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "01_tiny.ipynb").write_text(json.dumps(notebook("print(profile, value * 2)")))
    return folder


def test_a_notebook_is_executed_once_a_change(notebooks, tmp_path):
    lines = []
    plan = notebook_jobs(SMOKE, ["01"], {"value": 21})
    assert forecast(plan, SMOKE, tmp_path, "", each=True)[0] == "01_tiny: executes the notebook (not executed before)"
    assert execute_notebooks(plan, tmp_path, report=lines.append) == plan
    assert forecast(plan, SMOKE, tmp_path, "", each=True)[0].startswith("01_tiny: nothing to do, executed 20")
    expected = f"01_tiny: executes the notebook ({lines[1].rpartition(' in ')[2]} last time)"
    assert forecast(plan, SMOKE, tmp_path, "new results", each=True)[0] == expected
    made = json.loads((tmp_path / "01_tiny.ipynb").read_text())
    assert "smoke 42" in json.dumps(made) and "# Value 21" in json.dumps(made)
    assert len(lines) == 2 and lines[0].startswith("1 at once, each with ") and "1/1 notebooks | 01_tiny" in lines[1]
    assert "".join(made["cells"][0]["source"]) == 'profile = "smoke"\nvalue = 21'
    assert execute_notebooks(plan, tmp_path, report=lines.append) == []
    assert execute_notebooks(plan, tmp_path, report=lines.append, inputs="new results") == plan


def test_a_page_shows_the_parameters_that_were_not_given_too_and_stays_when_its_notebook_fails(notebooks, tmp_path):
    plan = notebook_jobs(SMOKE)
    execute_notebooks(plan, tmp_path, report=lambda line: None)
    good = (tmp_path / "01_tiny.ipynb").read_text()
    assert "".join(json.loads(good)["cells"][0]["source"]) == 'profile = "smoke"\nvalue = 1'
    (notebooks / "01_tiny.ipynb").write_text(json.dumps(notebook("raise ValueError('seven is odd')")))
    with pytest.raises(NotebookError, match="01_tiny failed: ValueError: seven is odd"):
        execute_notebooks(plan, tmp_path, report=lambda line: None)
    assert (tmp_path / "01_tiny.ipynb").read_text() == good
    assert "seven is odd" in (tmp_path / "01_tiny.failed.ipynb").read_text()


@pytest.mark.parametrize(
    ("only", "parameters", "words"),
    [
        (["99"], {}, "unknown notebook '99'; choose from: .*16_claims"),
        (["model"], {"modle": "vgg13"}, "unknown parameter of notebook model 'modle'; choose from: model, profile"),
        (["model"], {"model": "vgg12"}, "unknown model in profile smoke 'vgg12'"),
    ],
)
def test_unknown_names_are_refused_before_anything_runs(checkout, only, parameters, words):
    with pytest.raises(UsageError, match=words):
        notebook_jobs(SMOKE, only, parameters)


def test_a_notebook_declares_the_runs_that_it_reads():
    """What its code asks for, so that nothing is trained while it is executed and nothing in vain before."""
    for job in notebook_jobs(SMOKE):
        source = job.notebook.read_text()
        expected = []
        if "evidence.study_results(" in source:
            expected = SMOKE.study.runs()
        elif "evidence.results(" in source:
            named = "transformer" if 'results(profile, \\"transformer' in source else None
            expected = SMOKE.runs(dict(job.parameters).get("model") or named)
        assert needed_runs(job, SMOKE) == expected, job.page


def test_another_word_for_what_a_notebook_reads_is_refused(notebooks):
    wrong = notebook("1")
    wrong["metadata"]["adagp"] = {"reads": "everything"}
    (notebooks / "01_tiny.ipynb").write_text(json.dumps(wrong))
    with pytest.raises(UsageError, match=r"unknown value of adagp\.reads in the metadata of .*01_tiny.ipynb 'everything'"):
        needed_runs(notebook_jobs(SMOKE)[0], SMOKE)


def test_the_runs_that_a_page_needs_follow_from_its_metadata_and_parameters():
    full = profile("quick")
    pages = {job.page: job for job in notebook_jobs(full, ["03", "04", "09", "13", "model-vgg13"])}
    needed = {page: needed_runs(job, full) for page, job in pages.items()}
    assert needed["03_accuracy"] == full.runs() and needed["13_controls"] == full.study.runs() and not needed["09_overhead"]
    assert {run.model for run in needed["04_transformer"]} == {"transformer"}
    assert {run.model for run in needed["model-vgg13"]} == {"vgg13"}


@pytest.mark.parametrize(("deaths", "fails"), [(1, False), (9, True)])
def test_a_kernel_whose_port_was_taken_is_started_again_and_three_times_at_most(
    notebooks, tmp_path, monkeypatch, deaths, fails
):
    import papermill

    tried, execute = [], papermill.execute_notebook

    def dying(*arguments, **settings):
        tried.append(arguments)
        if len(tried) <= deaths:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return execute(*arguments, **settings)

    monkeypatch.setattr(papermill, "execute_notebook", dying)
    (notebooks / "01_tiny.ipynb").write_text(json.dumps(notebook("print(1)")))
    with pytest.raises(NotebookError, match="Kernel died before replying") if fails else contextlib.nullcontext():
        execute_notebooks(notebook_jobs(SMOKE), tmp_path / "out", report=lambda line: None)
    assert len(tried) == (3 if fails else 2) and (tmp_path / "out" / "01_tiny.ipynb").exists() != fails


def test_a_notebook_imports_the_package_of_the_command_from_any_folder(notebooks, tmp_path, monkeypatch):
    """Relative folders in the environment are those of the command, and braces in a path are no parameter of papermill."""
    import adagp

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "other")
    monkeypatch.setenv("ADAGP_DATA", "data")
    source = "import os, adagp\nprint(adagp.__file__, os.environ['ADAGP_DATA'], os.environ['PYTHONPATH'])"
    (notebooks / "01_tiny.ipynb").write_text(json.dumps(notebook(source)))
    left = tmp_path / "{lab}" / ".01_tiny.killed"
    left.mkdir(parents=True)
    execute_notebooks(notebook_jobs(SMOKE), tmp_path / "{lab}", report=lambda line: None)
    printed = json.loads((tmp_path / "{lab}" / "01_tiny.ipynb").read_text())["cells"]
    (text,) = ["".join(cell["outputs"][0]["text"]) for cell in printed if cell.get("outputs")]
    assert text.split()[:2] == [adagp.__file__, str(tmp_path / "data")] and str(tmp_path / "other") in text
    assert not left.exists()
