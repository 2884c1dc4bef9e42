"""Settings under which a process that trains keeps its memory from step to step."""

import contextlib
import os
from collections.abc import Iterator

_SETTINGS = {
    # By default glibc hands large blocks back to the system after each step, and the next step pays for page faults.
    "MALLOC_MMAP_THRESHOLD_": str(2**35),
    "MALLOC_TRIM_THRESHOLD_": str(2**35),
    # Ask for huge pages (glibc 2.35 and later): with small ones the processor looks up addresses for much of its time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def without() -> dict[str, str]:
    """Return this process's environment without anything that glibc reads of such settings: freed memory is handed back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Context manager: processes started inside it keep the memory that they free, in huge pages where the system allows them.

    What the user has set stays. glibc reads these variables when a process starts; other C libraries ignore them.
    """
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
