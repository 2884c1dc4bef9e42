"""The claims as tables: for a terminal, the README, the opening page, the page of claims and the artifact appendix."""

import io
import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _paths
from .._errors import UsageError, count
from .._escape import Html, as_markdown, fill_html, visible
from .._files import read_bytes, read_text, write_atomic
from .._progress import duration
from ..evidence import Claim, Measured, deciding, recorded_claims, summary, verdict_changes
from ..models import FOURTEEN
from ..running import Record
from ._display import html_table
from ._notebooks import stamp

if TYPE_CHECKING:
    from IPython.display import HTML

_WIDE, _NARROW = 160, 120  # characters of a line: where there is no terminal, and too few for all columns
_COMMAND = "adagp reproduce --only {}"
_MARKS = "<!-- claims: written by adagp check --keep -->\n", "<!-- /claims -->"


def claims_table(claims: Iterable[Claim]) -> str:
    """Return the claims as text that is as wide as the terminal at most."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    claims, width = list(claims), shutil.get_terminal_size((_WIDE, 24)).columns
    wide = width >= _NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), leading=0 if wide else 1)
    for column in ("claim", "verdict", *(["paper"] if wide else []), "expected", "this run", "holds if", "page"):
        table.add_column(f"{column}\n{'-' * len(column)}", overflow="fold", no_wrap=column in ("claim", "page"))
    for claim in claims:
        name = f"{claim.id} ({claim.source})" if wide else claim.id
        cells = [name, _verdict(claim), *([_paper(claim)] if wide else []), _plain(claim.recorded), _plain(claim.current)]
        table.add_row(*(Text(visible(cell)) for cell in (*cells, claim.tolerance, claim.notebook)))
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join([*(line.rstrip() for line in lines), "", *(textwrap.fill(line, width) for line in _below(claims))])


def _below(claims: list[Claim]) -> list[str]:
    """Return what is said once below the table: the scale of runs, and how a page is made again."""
    scales = "; ".join(sorted({claim.judged.scale for claim in claims if claim.judged and claim.judged.scale}))
    return [
        *([f"Verdicts on accuracy rest on recorded runs: {scales}"] if scales else []),
        f"To make a page again: {_COMMAND.format('PAGE')}",
    ]


def _verdict(claim: Claim) -> str:
    """Return the verdict with what it rests on in brief: "open (1 of 14 models, 3 seeds)"."""
    said = claim.verdict + _why(claim)
    if claim.judged is not None and claim.judged.models:
        said += f" ({claim.judged.models} of {len(FOURTEEN)} models, {count(claim.judged.seeds, 'seed')})"
    return said + (" (moved!)" if claim.moved else "")


def _why(claim: Claim) -> str:
    return ": follows from the schedule" if claim.follows_from_schedule else ""


def _paper(claim: Claim, none: str = "-") -> str:
    return none if claim.paper is None else f"{claim.paper:g} {claim.unit}"


def _plain(measured: Measured | None, unit: str = "", otherwise: str = "not run") -> str:
    """Return a value with its interval, and with its unit where one is given."""
    if measured is None:
        return otherwise
    value = f"{measured.value:.2f}" if measured.low == measured.value else measured.text()
    return f"{value} {unit}".rstrip()


def _counted(measured: Measured | None, unit: str) -> str:
    """Return a value with its interval, its unit and what it was measured on."""
    return "not run" if measured is None else f"{_plain(measured, unit)} ({measured.n})"


def claims_page(claims: Iterable[Claim], *, brief: bool = False) -> "HTML":
    """Return the claims as the book's table.

    Args:
        brief: for the opening page: what the verdict rests on, and the page that shows it.
    """
    import pandas as pd

    claims = list(claims)
    rows = []
    for claim in claims:
        said = _verdict(claim)
        if claim.verdict == "open" and claim.judged is not None and not claim.judged.missing:
            said = said.replace("open", f"open: the interval holds the bound of {next(iter(claim.holds.values())):g}", 1)
        row = {"claim": claim.sentence, "by": claim.source, "verdict": said, "paper": _paper(claim, "–")}
        if brief:
            row |= {"measured": _plain(claim.judged, claim.unit), "page": _page(claim)}
        else:
            row |= {
                "expected": _counted(claim.recorded, claim.unit),
                "this run": _counted(claim.current, claim.unit),
                "holds if": claim.tolerance,
                "what would change the verdict": claim.would_change,
                "page": _page(claim),
            }
        rows.append(row)
    return html_table(pd.DataFrame(rows), marks={"verdict": [claim.verdict for claim in claims]})


def _page(claim: Claim) -> Html:
    return fill_html('<a href="page:{page}">{page}</a>', page=claim.notebook)


def claims_appendix(executed: Path) -> str:
    """Return the appendix's table as HTML: for each claim the command, its time, the recorded value and the tolerance."""
    import pandas as pd

    rows = []
    records = deciding()
    for claim in recorded_claims(records):
        seconds = stamp(executed, claim.notebook).get("seconds")
        rows.append(
            {
                "claim": claim.sentence,
                "command": Html(f"<code>{_COMMAND.format(claim.notebook)}</code>"),
                "time": "not made yet" if seconds is None else duration(seconds),
                "paper": _paper(claim, "–"),
                "expected": _counted(claim.recorded, claim.unit),
                "holds if": claim.tolerance,
                "verdict": _verdict(claim),
            }
        )
    return html_table(pd.DataFrame(rows)).data.replace("\n", "") + _training(records)


def _training(records: list[Record]) -> str:
    """Return how long the recorded runs took that verdicts on accuracy rest on, as a paragraph."""
    if not records:
        return ""
    runs = summary(records)
    devices = sorted({record.provenance.machine.device for record in records})
    return "\n\n" + fill_html(
        "<p>The runs behind the claims on accuracy: {n}, {each} each (median), {time} together, on {device}. They "
        "are in <code>artifact/recorded/runs</code>; <code>adagp record --profile full</code> makes removed ones again.</p>",
        n=len(runs), each=duration(runs["seconds"].median()), time=duration(runs["seconds"].sum()), device=", ".join(devices),
    )  # fmt: skip


def verdict_history() -> "HTML":
    """Return every change of a verdict since the first ones, the newest first."""
    import pandas as pd

    rows: list[dict[str, str]] = []
    last: dict[str, str] = {}
    for change in verdict_changes():
        rows.append(
            {
                "day": change.date,
                "claim": change.claim,
                "verdict": f"{last[change.claim]} → {_changed(change.verdict)}" if change.claim in last else change.verdict,
                "why": change.why,
            }
        )
        last[change.claim] = _changed(change.verdict)
    return html_table(pd.DataFrame(rows[::-1]))


def claims_as_text(claims: Iterable[Claim]) -> list[dict[str, str]]:
    """Return a row for each claim: id, sentence, by, verdict, words (the verdict with what it rests on), paper (its value),
    measured, expected, holds (the range in which it does) and page."""
    return [
        {
            "id": claim.id, "sentence": claim.sentence, "by": claim.source, "verdict": claim.verdict, "words": _verdict(claim),
            "paper": _paper(claim, "–"), "measured": _counted(claim.judged, claim.unit),
            "expected": _counted(claim.recorded, claim.unit), "holds": claim.tolerance, "page": claim.notebook,
        }
        for claim in claims
    ]  # fmt: skip


def _changed(verdict: str) -> str:
    """Return a verdict of the history with its reason, if that is what changed."""
    return f"holds: {verdict}" if verdict.startswith("follows") else verdict


def claims_in_readme(claims: Iterable[Claim]) -> None:
    """Write the claims, their verdicts and what was measured between the two marks of the checkout's README.

    Raises:
        UsageError: the marks are not there.
    """
    path = _paths.root() / "README.md"
    mend = "restore it with git checkout"
    ends = "\r\n" if b"\r\n" in read_bytes(path, mend) else "\n"
    before, start, rest = read_text(path, mend).partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not end:
        raise UsageError(f"{path} has no lines {_MARKS[0].strip()!r} and {_MARKS[1]!r}; restore it with git checkout")
    lines = ["| Claim | By | Verdict | Measured |", "|---|---|---|---|"]
    for claim in claims:
        found = _counted(claim.judged, claim.unit) if claim.judged else "nothing yet"
        lines.append(f"| {claim.sentence} | {claim.source} | **{claim.verdict}**{_why(claim)} | {found} |")
    scales = {claim.judged.scale for claim in claims if claim.judged and claim.judged.scale}
    lines += ["", *(f"Verdicts on accuracy rest on {as_markdown(scale)}." for scale in sorted(scales))]
    write_atomic(path, (before + start + "\n".join(lines) + "\n" + end + after).replace("\n", ends))
