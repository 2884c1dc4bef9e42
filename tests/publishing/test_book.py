"""A book can be built of the pages that there are, and every page shows the table of contents as it is now."""

import json
import re

import pytest
import yaml

import adagp
from adagp.publishing import build_book


def page(folder, name, title):
    """An executed notebook with a title and a link to a page that may not be there."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": f"# {title}\n\n[Speed-up](07_speedup)"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps(made))


@pytest.mark.slow
def test_a_book_of_one_page_is_built_and_grows(checkout):
    contents = checkout / "book" / "_toc.yml"
    toc = yaml.safe_load(contents.read_text())
    for part in toc["parts"]:
        part["chapters"] = [chapter for chapter in part["chapters"] if chapter["file"] != "api"]  # it takes long
    contents.write_text(yaml.safe_dump(toc))
    executed = checkout / "artifact" / "output" / "smoke" / "executed"
    page(executed, "10_layers", "Layer by layer")
    front, built = build_book(executed)
    first = front.parent / "notebooks" / "10_layers.html"
    assert built and "Layer by layer" in first.read_text()
    text = front.read_text()
    assert "glue" not in text and adagp.__version__ in text and "10.1145/3613424.3623779" in text
    # What is missing says which command makes it, and no link is dead.
    missing = "not made yet: <code>adagp reproduce --only {}</code>"
    assert missing.format("20_findings") in text and missing.format("07_speedup") in first.read_text()
    assert not re.search(r'href="(page:|#)(notebooks/)?\d\d_', text + first.read_text())
    appendix = (front.parent / "artifact.html").read_text()
    assert "adagp reproduce --only 07_speedup" in appendix and "1.40 to 1.54 x" in appendix and "{{" not in appendix
    page(executed, "07_speedup", "How fast")
    build_book(executed)
    assert 'href="07_speedup.html"' in first.read_text() and "How fast" in first.read_text()
    assert build_book(executed) == (front, False)
