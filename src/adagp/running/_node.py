"""The work of a Ray task on its node.

These functions travel to the node by value: a node with other code runs them, and not its own. They import adagp where they
use it.
"""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any


class Progress:
    """An actor that keeps the latest news of each run until the driver asks for them."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[str, dict | None]] = {}

    def put(self, name: str, node: str, row: dict | None) -> None:
        """Keep that a run began on a node, or an epoch's row of its curves."""
        self._news[name] = node, row

    def take(self) -> dict[str, tuple[str, dict | None]]:
        """Return and forget the news: by run, the node and the row."""
        news, self._news = self._news, {}
        return news


def code_of_node() -> str:
    """Return the hash of the training code that this node would run."""
    from adagp.running._provenance import training_code

    return training_code()


def train_on_node(config: dict, device: str, code: str, progress: Any) -> dict:
    """Train a run on the node that was given the task, and return its record as a JSON document.

    Args:
        config: of the run.
        device: 'cpu' or 'cuda'.
        code: hash of the driver's training code.
        progress: a handle of ``Progress``.

    Raises:
        RuntimeError: this node has other training code, or the run failed here.
    """
    node = platform.node()
    if (own := code_of_node()) != code:
        raise RuntimeError(f"node {node} has training code {own}, the driver {code}; install the driver's version there")

    from adagp._errors import UsageError
    from adagp.running._configuration import Run
    from adagp.running._train import train

    run = Run.from_config(config)

    def tell(row: dict | None) -> None:
        progress.put.remote(run.name, node, row)

    tell(None)
    try:
        checkpoint = checkpoint_folder() / f"{run.name}.pt"
        record = train(run, device=device, checkpoint=checkpoint, on_epoch=tell)
    except Exception as error:
        kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
        raise RuntimeError(f"on node {node}: {kind}{error}") from error
    checkpoint.unlink(missing_ok=True)
    machine = record.document["provenance"]["machine"] | {"node": node}
    return record.with_provenance(machine=machine).document


def checkpoint_folder() -> Path:
    """Return this user's folder of checkpoints in the node's temporary folder, where a retry of the run looks too.

    A folder of its name that belongs to somebody else, or is a link, is left alone, and the next name is tried.
    """
    temporary = Path(tempfile.gettempdir())
    for number in range(100):
        folder = temporary / f"adagp-checkpoints-{os.getuid()}{f'-{number}' if number else ''}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
                folder.chmod(0o700)
                return folder
        except OSError:  # a file or a dangling link of that name
            continue
    return Path(tempfile.mkdtemp(prefix="adagp-checkpoints-"))
