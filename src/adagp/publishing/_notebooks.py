"""Executing notebooks with papermill, each once a change of what it depends on."""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import _paths
from .._errors import UsageError, count, reason, short, unknown
from .._escape import as_markdown
from .._files import read_json, write_atomic
from .._processes import temporary_folder
from .._progress import Progress
from .._threads import free_threads, usable_cores
from ..data import data_root
from ..figures import PAGE
from ..running import Profile, Run, digest, local_store, package_code

_BEFORE_IMPORTS = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as a kernel sets it, too late where matplotlib is imported
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # of a library's progress bars, which no page shows
}
"""Environment variables that libraries of a kernel read when they are imported."""
PER_MODEL = "model"
"""The notebook that is executed once a model."""


class NotebookError(RuntimeError):
    """A notebook raised; the message names the notebook, the error and where its output is kept."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One execution of one notebook."""

    notebook: Path
    """Source, without output."""
    parameters: tuple[tuple[str, Any], ...]
    """What papermill injects."""
    page: str
    """Name of the executed notebook, without its ending: the book's page."""


def available_notebooks() -> dict[str, Path]:
    """Return notebook sources by name, in the order of their numbers."""
    return {path.stem: path for path in sorted(_paths.notebooks().glob("[!.]*.ipynb"))}


def notebook_jobs(profile: Profile, only: Iterable[str] = (), parameters: dict[str, Any] | None = None) -> list[Job]:
    """Return the executions that a profile makes: every notebook once, ``PER_MODEL`` once a model.

    Args:
        only: notebook names, the numbers they start with, or a model's page such as 'model-vgg13'; none means all.
        parameters: override notebook parameters (with ``only``).

    Raises:
        UsageError: an unknown notebook or parameter.
    """
    sources = available_notebooks()
    wanted = [_find(name, sources) for name in only] or [(name, {}) for name in sources]
    plan = []
    for name, named in wanted:
        declared = declared_parameters(sources[name])
        given = named | dict(parameters or {})
        for key, value in given.items():
            if key not in declared:
                raise unknown(f"parameter of notebook {name}", key, declared)
            if key == "profile" and value != profile.name:
                raise UsageError(f"a notebook's profile is that of the command, got {short(value)}; use --profile {value}")
            _require_like(f"parameter {key} of notebook {name}", value, declared[key])
        given = {"profile": profile.name} | given
        if name == PER_MODEL:
            models = [given["model"]] if "model" in given else profile.models
            for model in models:
                profile.runs(model)  # refuses a model that is not in the profile, before anything runs
                chosen = given | {"model": model}
                plan.append(Job(notebook=sources[name], parameters=tuple(chosen.items()), page=f"{name}-{model}"))
        else:
            plan.append(Job(notebook=sources[name], parameters=tuple(given.items()), page=name))
    return plan


def needed_runs(job: Job, profile: Profile) -> list[Run]:
    """Return the runs whose records the notebook reads, which its metadata declares as ``adagp.reads``.

    It is 'runs' for those of the profile (of one model where ``adagp.model`` or the page's parameter ``model`` names one),
    'study' for those of the profile's study, and missing where the notebook reads none.

    Raises:
        UsageError: another word.
    """
    declared = read_notebook(job.notebook).metadata.get("adagp", {})
    reads = declared.get("reads")
    if reads == "runs":
        return profile.runs(declared.get("model") or dict(job.parameters).get("model"))
    if reads == "study":
        return profile.study.runs()
    if reads is not None:
        raise unknown(f"value of adagp.reads in the metadata of {job.notebook}", reads, ("runs", "study"))
    return []


def results_digest(profile: Profile) -> str:
    """Return a hash of every result that a notebook may read: this machine's of the profile, the committed ones, the claims."""
    store = local_store()
    artifact = _paths.root() / "artifact"
    return digest([*(store.path(run) for run in profile.runs()), _paths.recorded(), artifact / "claims.yml"])


def _find(name: str, sources: dict[str, Path]) -> tuple[str, dict[str, Any]]:
    """Return the notebook that a page's name, or its number, means, and the parameters that the name gives."""
    if name.startswith(f"{PER_MODEL}-"):
        return PER_MODEL, {"model": name.removeprefix(f"{PER_MODEL}-")}
    matches = [known for known in sources if known == name or known.split("_")[0] == name]
    if not matches:
        raise unknown("notebook", name, sources)
    return matches[0], {}


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Return what the notebook's ``parameters`` cell assigns, by name: papermill only warns about other parameters.

    Raises:
        UsageError: not a notebook, or one without such a cell, or a cell that assigns anything but constants.
    """
    import ast

    for cell in read_notebook(notebook).cells:
        if "parameters" in cell.metadata.get("tags", []):
            try:
                return {
                    target.id: ast.literal_eval(node.value)
                    for node in ast.parse("".join(cell.source)).body
                    if isinstance(node, ast.Assign)
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
            except (SyntaxError, ValueError) as error:
                raise UsageError(f"{notebook}: its cell tagged 'parameters' must assign constants: {reason(error)}") from error
    raise UsageError(f"{notebook} has no cell tagged 'parameters'; tag the cell that sets profile")


def read_notebook(path: Path) -> Any:
    """Return a validated notebook (``nbformat.NotebookNode``).

    Raises:
        UsageError: it is missing, unreadable or not a notebook.
    """
    import nbformat

    try:
        notebook = nbformat.from_dict(read_json(path, "restore it with git checkout"))
        nbformat.validate(notebook)
        return notebook
    except UsageError:
        raise
    except Exception as error:  # of nbformat's own, of jsonschema
        raise UsageError(f"{path} is not a notebook: {reason(error)}; restore it with git checkout") from error


def _require_like(what: str, value: Any, example: Any) -> None:
    """Refuse a value of another kind than the notebook's own: an empty one would reach the notebook as None."""
    if example is None:
        return
    kinds = int | float if isinstance(example, float) else type(example)
    if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(example, bool)) or value == "":
        raise UsageError(f"{what} must be like {short(example)}, got {short(value)}")


def execute_notebooks(
    plan: list[Job],
    folder: Path,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    report: Callable[[str], None],
    inputs: str = "",
    progress: Progress | None = None,
) -> list[Job]:
    """Execute what is out of date into ``folder`` and return the jobs that ran.

    A notebook is up to date while its source, parameters, the package and ``inputs`` (a hash of the results it reads)
    are those of its last execution. Each kernel is a process of its own (see ``_kernels``).

    Args:
        jobs: notebooks at once (default: one a core this process may use).
        threads: of each (default: by what is free).
        progress: takes the place of a line for each notebook.

    Raises:
        NotebookError: a notebook raised.
    """
    stale = [job for job in plan if is_stale(job, folder, inputs)]
    if not stale:
        return []
    from . import _kernels

    together = max(1, min(jobs or usable_cores(), len(stale)))
    each, why = free_threads(threads, jobs=together)
    report(f"{together} at once, each with {count(each, 'thread')} ({why})")
    environment = {"OMP_NUM_THREADS": str(each), **_BEFORE_IMPORTS}
    forked = _kernels.prepare(len(stale), environment)
    began, finished = time.monotonic(), 0

    def one(job: Job) -> Job:
        nonlocal finished
        start, key = time.monotonic(), _key(job, inputs)  # of what is executed, should somebody edit it meanwhile
        _papermill(job, folder, environment, forked)
        took = round(time.monotonic() - start, 1)
        stamp = {"key": key, "seconds": took, "finished": datetime.now(UTC).isoformat(timespec="minutes")}
        write_atomic(folder / f"{job.page}.json", json.dumps(stamp))
        finished += 1
        if progress is not None:
            progress(finished, len(stale), job.page)
            return job
        elapsed = int(time.monotonic() - began)
        report(
            f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {finished}/{len(stale)} notebooks | "
            f"{job.page} in {took:.0f} s"
        )
        return job

    with ThreadPoolExecutor(together) as pool:
        futures = [pool.submit(one, job) for job in stale]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _kernels.kill_kernels()
            raise


def is_stale(job: Job, folder: Path, inputs: str = "") -> bool:
    """Return whether ``execute_notebooks`` would execute this one."""
    return stamp(folder, job.page).get("key") != _key(job, inputs)


def _key(job: Job, inputs: str) -> str:
    # The time of the last change counts too: `touch` is how a user of make says "run this again".
    parts = [digest([job.notebook]), str(job.notebook.stat().st_mtime_ns), repr(job.parameters), package_code(), inputs]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def stamp(folder: Path, page: str) -> dict:
    """Return what is known of a page's last execution: key, seconds, finished (UTC); empty where there was none."""
    try:
        found = read_json(folder / f"{page}.json", "")
        read_json(folder / f"{page}.ipynb", "")["cells"]  # a damaged page is executed again
        said = isinstance(found["key"], str) and isinstance(found["finished"], str) and is_time(found["seconds"])
        return found if said else {}
    except (UsageError, LookupError, TypeError):
        return {}


def is_time(seconds: object) -> bool:
    """Return whether a value that was read is a time in seconds that a command can have taken."""
    return isinstance(seconds, int | float) and 0 <= seconds < 1e9


_STARTS = 3
"""Tries to start a kernel. Jupyter chooses ports that are free, and another process may take one before the kernel does."""


def _papermill(job: Job, folder: Path, environment: dict[str, str], forked: bool) -> None:
    """Execute one notebook in a process of its own; the result takes its place only when it is complete."""
    import papermill

    from . import _kernels

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # its errors are raised; a stopped command says one line
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{job.page}.*/"):  # of a command that was killed
        shutil.rmtree(left, ignore_errors=True)
    environment = os.environ | _absolute() | environment | {"ADAGP_HOME": str(_paths.root()), PAGE: job.page}
    with temporary_folder(folder, f".{job.page}.") as temporary:
        made = temporary / f"{job.page}.ipynb"
        # Papermill takes what stands in braces in a path for a parameter.
        source, target = (str(path).replace("{", "{{").replace("}", "}}") for path in (job.notebook, made))

        def execute() -> None:
            papermill.execute_notebook(
                source,
                target,
                dict(job.parameters),
                kernel_name="python3",
                progress_bar=False,
                kernel_manager_class=_kernels.manager(_paths.notebooks(), environment, forked=forked),
            )

        try:
            for tries_left in reversed(range(_STARTS)):
                try:
                    execute()
                    break
                except RuntimeError as error:  # no cell has run yet
                    if not tries_left or "died before replying" not in str(error):
                        raise
        except Exception as error:  # of a cell, of papermill, of a kernel that died
            kept = folder / f"{job.page}.failed.ipynb"
            if made.exists():
                made.replace(kept)
            lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
            raise NotebookError(f"notebook {job.page} failed: {lines[-1]} (its output: {kept})") from error
        _tidy(made, dict(job.parameters))
        made.replace(folder / f"{job.page}.ipynb")


def _absolute() -> dict[str, str]:
    """Return the variables that name folders, with absolute paths: a notebook is executed in another folder than the command.

    The command's own package comes first, so that no notebook imports another one.
    """
    found = {name: os.path.abspath(data_root()) for name in ("ADAGP_DATA",) if os.environ.get(name)}
    if os.environ.get("XDG_CACHE_HOME"):
        found["XDG_CACHE_HOME"] = os.path.abspath(os.environ["XDG_CACHE_HOME"])
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = str(Path(__file__).resolve().parents[2])
    if not own.endswith("-packages"):  # those come after the standard library, which they must not hide
        paths.insert(0, own)
    return found | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def _tidy(made: Path, parameters: dict[str, object]) -> None:
    """Write the parameters' values where a text cell names them as ``{{name}}`` (a page's title cannot be an output)."""
    notebook = json.loads(made.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            for name, value in parameters.items():
                text = text.replace("{{" + name + "}}", as_markdown(str(value)))
            cell["source"] = text
        elif "injected-parameters" in cell["metadata"].get("tags", []):
            own = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
            # The page shows, or hides, the notebook's own cell, with the values that it was executed with.
            for name, value in parameters.items():
                line = re.compile(rf"^{name} = .*$", re.MULTILINE)
                written = f"{name} = {json.dumps(value) if isinstance(value, str) else repr(value)}"
                own["source"] = line.sub(written.replace("\\", r"\\"), "".join(own["source"]))
            cell["metadata"]["tags"].append("remove-cell")
    made.write_text(json.dumps(notebook, indent=1))
