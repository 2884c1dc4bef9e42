"""The ``adagp`` command: one thin function for each subcommand.

Exit codes: 0 success, 1 a run or a check failed, 2 bad usage (one line says what and lists what is valid).
"""

import contextlib
import json
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _processes, _simulation
from ._errors import EXTRAS, MissingExtraError, UsageError, as_whole, count, reason, require, require_whole, short, unknown
from ._escape import say, tell
from ._files import MOST_DIGITS, parse_yaml
from ._progress import duration, progress
from ._threads import free_threads, most_threads, require_threads_of_environment
from .methods import METHODS
from .models import available
from .schedule import LadderSchedule

if TYPE_CHECKING:
    from . import running

app = typer.Typer(
    help="Train with predicted gradients, model the accelerator, reproduce every table and figure.",
    epilog=None if __doc__ else "Commands have no descriptions: Python was told to drop them (-OO or PYTHONOPTIMIZE=2).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        tell(f"adagp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _profiles() -> list[str]:
    from .running import PROFILES

    return list(PROFILES)


def _datasets() -> list[str]:
    from .data import available

    return list(available())


def _bounded(threads: int) -> int:
    require_whole("--threads", threads, 0, most_threads())
    return threads


ThreadsOption = Annotated[
    int,
    typer.Option(
        help="Threads of each process; 0: OMP_NUM_THREADS, or as many as cores are free.", min=0, callback=_bounded
    ),
]
StoreOption = Annotated[
    str, typer.Option(help="Folder of the records; by default that of the checkout, or adagp-runs in the current folder.")
]
ProfileOption = Annotated[
    str,
    typer.Option(
        help="smoke (for CI), quick (the default), reduced (thin networks, for CPUs) or full (paper scale, GPU).",
        autocompletion=_profiles,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]

RENAMED = {"hardware": "rtl", "sweep": "train-all"}
"""Former names of commands, which still work, and what they are called now."""
ENVIRONMENT = {
    "ADAGP_HOME": "folder of the checkout; unless set, it is searched from the current folder upwards",
    "ADAGP_DATA": "folder of the data sets; unless set, the user's cache folder",
    "OMP_NUM_THREADS": "threads of each process, where --threads is not given; unless set, as many as cores are free",
}
"""The variables that a user may set. (``ADAGP_PAGE`` is set by ``adagp reproduce`` for the page that it executes.)"""
_LARGEST = 4096  # size of a matrix product that is simulated
_LONGEST_WORD, _LONGEST_VALUE, _LONGEST_LINE = 4096, 1000, 600  # characters of an argument, of --param's value, of an error

_CommandLineError: Any = typer.BadParameter.__base__  # typer carries a click of its own and does not export this one


@app.command()
def reproduce(
    profile: ProfileOption = "quick",
    only: Annotated[list[str], typer.Option(help="A notebook's name or number; repeatable.")] = [],
    parameter: Annotated[list[str], typer.Option("--param", "-p", help="NAME=VALUE for the notebook; with --only.")] = [],
    jobs: Annotated[int, typer.Option(help="Processes at once; 0: one for each core.", min=0)] = 0,
    threads: ThreadsOption = 0,
) -> None:
    """Make every table and figure: train, simulate, build the book.

    Train what is missing, model the accelerator, execute the notebooks, build the book and print the claims.
    """
    require(*EXTRAS["book"], what="adagp reproduce")
    from . import _paths, evidence, publishing, running

    began = time.monotonic()
    chosen = running.profile(profile)
    if parameter and not only:
        raise UsageError("--param goes with --only: name the notebook that takes it")
    plan = publishing.notebook_jobs(chosen, only, _pairs(parameter))
    store = running.local_store()
    runs = list(dict.fromkeys(run for job in plan for run in publishing.needed_runs(job, chosen)))
    missing = store.missing(runs)
    folder = _paths.output() / profile / "executed"
    inputs = publishing.results_digest(chosen)
    for line in publishing.forecast(plan, chosen, folder, inputs, each=bool(only)):
        say(line)
    say(f"1/4 training: {len(missing)} of {len(runs)} runs to do (profile {profile}), results in {store.folder}")
    at_once, each = jobs or None, threads or None
    with progress() as (write, bar):
        running.run_all(
            runs, store, jobs=at_once, threads=each, device=running.find_device(), report=write, progress=bar
        )
    with publishing.hold_pages(f"adagp reproduce --profile {profile}", say):
        say(f"2/4 notebooks: {len(plan)}, into {folder}")
        inputs = publishing.results_digest(chosen)
        with progress() as (write, bar):
            publishing.execute_notebooks(
                plan, folder, jobs=at_once, threads=each, report=write, inputs=inputs, progress=bar
            )
        say("3/4 book")
        page, built = publishing.build_book(folder)
        say(f"    {'built' if built else 'nothing changed'}: {page}")
    say(f"4/4 claims ({duration(time.monotonic() - began)} so far)")
    tell(publishing.claims_table(evidence.check_claims(chosen)))
    for made in [page.parent / "notebooks" / f"{job.page}.html" for job in plan] if only else [page]:
        say(f"open {made}")


@app.command()
def book(profile: ProfileOption = "quick") -> None:
    """Build the book from the notebooks executed last."""
    require(*EXTRAS["book"], what="adagp book")
    from . import _paths, publishing, running

    folder = _paths.output() / running.profile(profile).name / "executed"
    if not list(folder.glob("*.ipynb")):
        raise UsageError(f"no executed notebooks in {folder}: run adagp reproduce --profile {profile} first")
    with publishing.hold_pages(f"adagp book --profile {profile}", say):
        tell(publishing.build_book(folder)[0])


@app.command()
def paper() -> None:
    """Write the project as a paper (PDF), from the recorded results."""
    require(*EXTRAS["book"], *EXTRAS["paper"], what="adagp paper")
    from . import _paths, publishing

    tell(publishing.build_paper(_paths.output() / "paper"))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A model's name; adagp info lists them.", autocompletion=available)],
    dataset: Annotated[str, typer.Option(help="A data set's name.", autocompletion=_datasets)] = "digits",
    method: Annotated[
        str,
        typer.Option(
            help="bp, adagp, coast, ... (adagp info lists them), or package.module:class.", autocompletion=lambda: list(METHODS)
        ),
    ] = "adagp",
    width: Annotated[float, typer.Option(help="Share of the published channel counts.")] = 1.0,
    epochs: Annotated[int, typer.Option(help="Epochs of the schedule.")] = 90,
    warm_up_epochs: Annotated[int, typer.Option(help="Epochs before prediction starts.")] = LadderSchedule.warm_up_epochs,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 128,
    lr: Annotated[float, typer.Option(help="Initial learning rate.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    train_limit: Annotated[int, typer.Option(help="Train on this many samples, from the first on; 0: all.")] = 0,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    threads: ThreadsOption = 0,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Train one model with one method and keep its record."""
    import torch

    from . import running

    run = running.Run(
        model=model,
        dataset=dataset,
        method=method,
        width=width,
        epochs=epochs,
        warm_up_epochs=warm_up_epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        train_limit=train_limit or None,
        precision=precision,
    )
    records = _store(store)
    number, why = free_threads(threads or None)
    if records.get(run) is None:
        say(f"training with {count(number, 'thread')} ({why})")
    torch.set_num_threads(number)
    with progress() as (write, bar):

        def show(row: dict) -> None:
            if bar is None or row.get("start"):
                write(running.progress_line(run, row))
            else:
                bar(row["epoch"], run.trained_epochs(), running.progress_line(run, row))

        record = running.run_one(run, records, device=running.find_device(), on_epoch=show)
    if as_json:
        tell(json.dumps(record.document))
    else:
        tell(f"{run.name}: {running.outcome(record)}\n{records.path(run)}")


def _settings() -> list[str]:
    from .running import SETTINGS

    return list(SETTINGS)


@app.command()
def judge(
    method: Annotated[str, typer.Argument(help="package.module:class, an entry point, or a name that adagp info lists.")],
    setting: Annotated[
        str, typer.Option(help="quick (minutes on a CPU), short or long.", autocompletion=_settings)
    ] = "quick",
    model: Annotated[str, typer.Option(help="In place of the setting's model.", autocompletion=available)] = "",
    dataset: Annotated[str, typer.Option(help="In place of the setting's data set.", autocompletion=_datasets)] = "",
    seeds: Annotated[int, typer.Option(help="Seeds of each method; 0: the setting's.", min=0)] = 0,
    out: Annotated[str, typer.Option(help="The report (.html); its figures go beside it as .json.")] = "judge.html",
    jobs: Annotated[int, typer.Option(help="Runs at once; 0: one for each core, or one on an accelerator.", min=0)] = 0,
    threads: ThreadsOption = 0,
    store: StoreOption = "",
    as_json: JsonOption = False,
) -> None:
    """Judge a method of your own, at equal cost.

    Train it, backpropagation at several budgets, ADA-GP, coasting and skipping, and write a report. Recorded runs are reused.
    """
    require(*EXTRAS["book"], *EXTRAS["models"], *EXTRAS["data"], what="adagp judge")  # book first: it brings the others
    from pathlib import Path

    from . import evidence, measuring, publishing, running

    if not out.endswith(".html"):
        raise UsageError(f"--out takes a file that ends in .html, got {short(out)}")
    with contextlib.redirect_stdout(sys.stderr):  # what the user's own code prints is no result
        plan = running.judge_runs(method, setting, model=model or None, dataset=dataset or None, seeds=seeds or None)
        running.try_method(plan[0])
        records = _store(store)
        known = running.known_records(plan, records)
        missing = [run for run in plan if run not in known]
        say(f"{len(missing)} of {len(plan)} runs to train, records in {records.folder}")
        with progress() as (write, bar):
            running.run_all(
                missing, records, jobs=jobs or None, threads=threads or None, device=running.find_device(), report=write,
                progress=bar,
            )
        known |= running.known_records(missing, records)
        judged = [known[run] for run in plan]
        times = measuring.method_times(evidence.scored_runs(judged))
        words = [f"adagp judge {method}", *(f"--setting {setting}" for _ in [1] if setting != "quick")]
        words += [f"--{name} {value}" for name, value in (("model", model), ("dataset", dataset), ("seeds", seeds)) if value]
        found = evidence.judge(judged, method, times)
        document = publishing.write_report(Path(out), found, setting, " ".join(words))
    tell(json.dumps(document) if as_json else f"{document['verdict']}\n{out}")


@app.command()
def train_all(
    profile: ProfileOption = "quick",
    model: Annotated[list[str], typer.Option(help="Only this model's runs; repeatable.")] = [],
    ray: Annotated[str, typer.Option(help="Address of a Ray cluster, host:port or auto; by default this machine.")] = "",
    gpus_per_run: Annotated[float, typer.Option(help="With --ray: share of a GPU that a run takes; 0: CPU.", min=0)] = 0.0,
    jobs: Annotated[int, typer.Option(help="Without --ray: processes at once; 0: one for each core.", min=0)] = 0,
    threads: ThreadsOption = 0,
    store: StoreOption = "",
) -> None:
    """Train the missing runs of a profile, here or on a Ray cluster."""
    from . import running

    chosen = running.profile(profile)
    runs = [run for name in model for run in chosen.runs(name)] if model else chosen.runs()
    records = _store(store)
    if ray:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints there what it knows of a lost node
            left = running.run_on_ray(runs, records, address=ray, gpus=gpus_per_run, report=say)
    else:
        require(*EXTRAS["models"], *EXTRAS["data"], what="adagp train-all")
        device = running.find_device()
        with progress() as (write, bar):
            left = running.run_all(
                runs, records, jobs=jobs or None, threads=threads or None, device=device, report=write, progress=bar
            )
    tell(f"{len(runs) - len(left)} of {len(runs)} runs are in {records.folder}")


@app.command()
def record(
    time_budget: Annotated[str, typer.Option(help="How long to continue: 90s, 25m or 2h.")] = "25m",
    profile: Annotated[
        str,
        typer.Option(help="A profile, frontier, fine-tuning, confirmation or predictor-rate; default: full, on a CPU reduced."),
    ] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps; by default the fastest one.")] = "",
    jobs: Annotated[int, typer.Option(help="Runs at once; 0: one for each core, or one on an accelerator.", min=0)] = 0,
    threads: ThreadsOption = 0,
) -> None:
    """Train the next missing runs of a plan and record them.

    The records are kept under artifact/recorded.
    """
    require(*EXTRAS["models"], *EXTRAS["data"], what="adagp record")
    from . import running

    device, budget = running.find_device(device), _seconds(time_budget)
    name = profile or ("reduced" if device == "cpu" else "full")
    plan = running.recording_plan(name)
    at_once, each = jobs or None, threads or None
    with progress() as (write, bar):
        left = running.record(
            plan, time_budget=budget, jobs=at_once, threads=each, device=device, report=write, progress=bar
        )
    tell(f"{len(plan) - len(left)} of {len(plan)} runs of plan {name} are recorded; {len(left)} left")
    for run in left[:5]:
        tell(f"  {run.model} {run.dataset} {run.method} seed {run.seed}")


@app.command()
def check(
    profile: ProfileOption = "quick",
    as_json: JsonOption = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Record the current deterministic values, and write the README's table.")
    ] = False,
) -> None:
    """Compare each claim with its record and with the last run.

    Exit 1 if a deterministic value has changed, or if a record was refused: then --keep keeps nothing.
    """
    from . import evidence, publishing, running

    refused: list[UsageError] = []
    claims = evidence.check_claims(running.profile(profile), refuse=refused.append)
    for error in refused:
        say(f"adagp: refused: {error}")
    if keep and not refused:
        evidence.record_fixed(claims)
        claims = evidence.check_claims(running.profile(profile))
        publishing.claims_in_readme(claims)
    tell(json.dumps([claim.to_dict() for claim in claims]) if as_json else publishing.claims_table(claims))
    unrecorded = [claim.id for claim in claims if claim.unrecorded]
    moved = [claim.id for claim in claims if claim.moved]
    if moved:
        say(f"adagp: deterministic values moved away from their recorded ones: {', '.join(moved)}")
    if unrecorded:
        say(f"adagp: no recorded values to compare with: {', '.join(unrecorded)}; adagp check --keep records them")
    if refused:
        number = "1 record was" if len(refused) == 1 else f"{len(refused)} records were"
        say(f"adagp: {number} refused; the claims rest on the others{', and nothing was kept' if keep else ''}")
    if moved or unrecorded or refused:
        raise typer.Exit(1)


@app.command("rtl")
def write_or_simulate_rtl(
    rows: Annotated[int, typer.Option(help="PEs along the reduction.")] = 4,
    cols: Annotated[int, typer.Option(help="PEs along the outputs.")] = 4,
    design: Annotated[str, typer.Option(help="baseline, low, efficient or max.")] = "efficient",
    verilog: Annotated[str, typer.Option(help="Write the design's Verilog to this file.")] = "",
    gemm: Annotated[str, typer.Option(help="M,N,K: simulate a product of random integers.")] = "",
    train: Annotated[str, typer.Option(help="digits: train on them in the golden model of the hardware that trains.")] = "",
    network: Annotated[str, typer.Option(help="Network to train: mlp or cnn; by default mlp.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a design's Verilog, simulate a product, or train on it."""
    from pathlib import Path

    from . import rtl
    from ._files import write_atomic

    if not verilog and not gemm and not train and not network:
        raise UsageError("nothing to do: give --verilog FILE, --gemm M,N,K or --train digits")
    if train or network:
        if train not in ("", "digits"):
            raise UsageError(f"--train takes digits, got {short(train)}")
        if not train or verilog or gemm:
            raise UsageError("--network needs --train digits" if not train else "--train goes without --verilog and --gemm")
        if design != "efficient":
            raise UsageError(f"--train has the design efficient, got {short(design)}")
        trained = rtl.train_digits(network or "mlp", seed, rows=rows, cols=cols)
        shown = {name: _percents(value) if isinstance(value, list) else value for name, value in trained.items()}
        tell(json.dumps(trained) if as_json else "\n".join(f"{name:15} {value}" for name, value in shown.items()))
        return
    if design != "efficient" and not verilog:
        raise UsageError(f"--design goes with --verilog, got {short(design)}; designs compute a product alike, so leave it out")
    facts: dict[str, object] = {"rows": rows, "cols": cols}
    if verilog:
        unit = rtl.unit(design, rows=rows, cols=cols)
        write_atomic(Path(verilog), rtl.verilog(unit, "adagp_unit", f"design {design}, {rows} x {cols} PEs"))
        facts |= {"design": design, "verilog": verilog}
    if gemm:
        sizes = _sizes(gemm)
        if (largest := max(rows, cols, *sizes)) > _LARGEST:
            raise UsageError(f"--rows, --cols and the sizes of --gemm are at most {_LARGEST:,}, got {short(largest)}")
        facts |= rtl.compare_gemm(sizes, rows=rows, cols=cols)
    tell(json.dumps(facts) if as_json else "\n".join(f"{name:13} {value}" for name, value in facts.items()))
    if facts.get("equal") is False:
        raise typer.Exit(1)


@app.command()
def info(
    as_json: JsonOption = False,
    template: Annotated[str, typer.Option(help="Print a file to start from instead: hardware.")] = "",
) -> None:
    """Print versions, folders and every valid name; or a template.

    The machine and the environment variables are listed too.
    """
    if template:
        if template != "hardware":
            raise unknown("template", template, ["hardware"])
        from .accelerator import hardware_template

        tell(hardware_template(), end="")
        return
    import adagp

    from . import _paths, accelerator, data, models, predictors, running

    origin, home = running.provenance(running.find_device()), _paths.checkout()
    notebooks: list[str] = []
    if home is not None:
        with contextlib.suppress(MissingExtraError):  # a page needs the extra book
            from . import publishing

            notebooks = list(publishing.available_notebooks())
    facts = {
        "adagp": adagp.__version__,
        "checkout": None if home is None else str(home),
        "records": str(_paths.runs()),
        "versions": origin["versions"],
        "machine": origin["machine"],
        "models": list(models.available()),
        "networks for adagp simulate alone": accelerator.networks_of_today(),
        "datasets": list(data.available()),
        "methods": {name: method.line for name, method in METHODS.items()},
        "predictors": dict(predictors.available()),
        "profiles": list(running.PROFILES),
        "notebooks": notebooks,
        "environment": {name: f"{os.environ.get(name, 'not set')} ({text})" for name, text in ENVIRONMENT.items()},
    }
    if as_json:
        tell(json.dumps(facts))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            tell(f"{key}:")
            for name, text in value.items():
                tell(f"  {name:18} {text}")
        else:
            tell(f"{key}: {(', '.join(value) if isinstance(value, list) else value) or 'none'}")


for _command in _simulation.COMMANDS:
    app.command()(_command)


def _store(folder: str) -> "running.Store":
    from pathlib import Path

    from . import running

    return running.local_store(Path(folder) if folder else None)


def _percents(shares: list[float]) -> str:
    return " ".join(f"{100 * share:.1f}%" for share in shares)


def _sizes(text: str) -> tuple[int, int, int]:
    sizes = [as_whole(part.strip()) for part in text.split(",")]
    if len(sizes) != 3 or not all(sizes):
        raise UsageError(f"--gemm takes three whole numbers above 0, M,N,K, e.g. 7,11,13, got {short(text)}")
    return sizes[0], sizes[1], sizes[2]


def _seconds(text: str) -> float:
    """Return a time such as '90', '90s', '25m' or '2h' in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match or not 0 < float(match[1]) < 1e9:
        raise UsageError(f"a time budget is a positive number with s, m or h, such as 25m; got {short(text)}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _pairs(texts: list[str]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--param takes NAME=VALUE, got {short(text)}")
        if len(value) > _LONGEST_VALUE:
            raise UsageError(f"--param {name} takes at most {_LONGEST_VALUE:,} characters, got {len(value):,}; shorten it")
        if name in pairs:
            raise UsageError(f"--param {name} is given twice, got {short(value)} too; give it once")
        try:
            pairs[name] = parse_yaml(value)
        except ValueError as error:
            raise UsageError(
                f"--param {name} takes a value in plain YAML, such as 3, vgg13 or [1, 2], got {short(value)}: {reason(error)}"
            ) from None
    return pairs


def _require_words(words: list[str]) -> None:
    """Refuse what no option takes, before it is read as a number or printed."""
    for number, word in enumerate(words, 1):
        if len(word) > _LONGEST_WORD:
            raise UsageError(f"argument {number} has {len(word):,} characters, expected at most {_LONGEST_WORD:,}; shorten it")
        if re.search(rf"\d{{{MOST_DIGITS + 1}}}", word):
            raise UsageError(f"argument {number} is {short(word)}, expected numbers of at most {MOST_DIGITS} digits")


def _require_folder() -> None:
    """Refuse a current folder that was removed: torch cannot be imported from there."""
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(f"the current folder cannot be read: {reason(error)}; go to another one") from error


def _cut(message: str) -> str:
    """Return a message on one line, without the middle of one that quotes something long."""
    line = " ".join(message.split("\n"))
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 3:]}"


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in RENAMED:
        say(f"adagp {words[0]} is now called adagp {RENAMED[words[0]]}")
        words[0] = RENAMED[words[0]]
    try:
        _require_words(words)
        _require_folder()
        require_threads_of_environment()
        # Not app(), which handles Ctrl-C itself, without a line, and takes a file that ends too early for Ctrl-D.
        if "_ADAGP_COMPLETE" in os.environ:  # the shell asks what may follow, or for the script that asks it
            app(words, prog_name="adagp")
        command = typer.main.get_command(app)
        with command.make_context("adagp", words) as context:
            try:
                command.invoke(context)
            except Exception as error:
                if _processes.is_stopped():  # something swallowed the signal, such as torch's import, and then failed
                    raise KeyboardInterrupt from error
                raise
        return 0
    except typer.Exit as end:
        return end.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except (_CommandLineError, UsageError) as error:
        message = error.format_message() if isinstance(error, _CommandLineError) else str(error)
        say(message if message.startswith("Usage:") else f"adagp: {_cut(message)}")  # the help text, where no command was given
        return 2
    except KeyboardInterrupt:
        return _processes.stopped()
    except BrokenPipeError:  # | head
        _processes.silence(sys.stdout)
        return 1
    except RuntimeError as error:  # a run, a notebook or the book failed; its message says which
        say(f"adagp: {error}")
        return 1
    except MemoryError:
        say("adagp: memory is short: raise its limit (ulimit -v), or run fewer processes (--jobs)")
        return 1
    except ImportError as error:  # a shared library, say, that does not fit into memory
        say(f"adagp: cannot import what this needs ({reason(error)}): raise the limit of memory, or install adagp again")
        return 1
    except OSError as error:  # no space, a read-only file system, no such folder
        place = error.filename or error.filename2
        say(f"adagp: {f'{place}: ' if place else ''}{reason(error)}")
        return 1
