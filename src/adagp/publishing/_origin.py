"""Which version of the project built a book, and how to cite the project and the paper."""

from datetime import UTC, datetime
from pathlib import Path

from .. import __version__, _paths
from .._errors import UsageError
from .._escape import as_markdown
from .._files import read_yaml
from ..running import commit


def version_line(executed: Path) -> str:
    """Return version, commit, profile and day of the build, as Markdown."""
    today = datetime.now(UTC).date().isoformat()
    made = as_markdown(f"commit {commit()}, profile {executed.parent.name}")
    return f"adagp {__version__}, {made}, built on {today} (UTC)."


def citation(executed: Path) -> str:
    """Return the BibTeX entries for the project and for the paper, as a block of Markdown, from CITATION.cff.

    Raises:
        UsageError: the file is missing, or lacks a field that an entry needs.
    """
    path = _paths.root() / "CITATION.cff"
    facts = read_yaml(path, "restore it with git checkout")
    try:
        paper = facts["preferred-citation"]
        entries = [
            _entry(
                "software", "adagp", title=facts["title"], author=_names(facts), version=facts["version"],
                note=f"License: {facts['license']}",
            ),
            _entry(
                "inproceedings", "adagp-paper", title=paper["title"], author=_names(paper), booktitle=paper["collection-title"],
                year=paper["year"], pages=f"{paper['start']}--{paper['end']}", doi=paper["doi"],
            ),
        ]  # fmt: skip
    except (LookupError, TypeError) as error:
        raise UsageError(f"{path} lacks what a citation needs ({error}); restore it with git checkout") from error
    return "```bibtex\n" + "\n\n".join(entries) + "\n```"


def _entry(kind: str, key: str, **fields: object) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}"


def _names(work: dict) -> str:
    """Return the authors for BibTeX: "Family, Given and Family, Given"; a group as one name in braces."""
    return " and ".join(
        f"{{{author['name']}}}" if "name" in author else f"{author['family-names']}, {author['given-names']}"
        for author in work["authors"]
    )
