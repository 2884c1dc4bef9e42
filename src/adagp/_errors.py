"""Errors a user can mend: one line that names the value, what was expected and how to mend it."""

from collections.abc import Iterable


class UsageError(ValueError):
    """Bad input from the user. The command line prints it as one line and exits with 2."""


def unknown(kind: str, value: object, valid: Iterable[str]) -> UsageError:
    """The error for a name that is not in a registry, e.g. ``unknown("model", "vgg12", names)``."""
    return UsageError(f"unknown {kind} {value!r}; choose from: {', '.join(sorted(valid))}")
