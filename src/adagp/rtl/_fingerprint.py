"""A fingerprint of the hardware's sources, by which a synthesis report is known to describe them."""

import hashlib
import io
import tokenize
from importlib.resources import files

HARDWARE = (
    "_array.py", "_extension.py", "_fixed.py", "_gemm.py", "_host.py", "_matrix_unit.py", "_memory.py", "_pool.py",
    "_sequencer.py", "_sizes.py", "_unfold.py", "_update.py",
)  # fmt: skip
TRAINING = (*HARDWARE, "_move.py", "_trainer.py")
"""Sources of the hardware that trains."""


def fingerprint(sources: tuple[str, ...] = HARDWARE) -> str:
    """Return a digest of the sources that describe hardware, by default of all. Comments, strings and layout do not count.

    Names do, in imports too, so renaming a module that one of them imports outdates the recorded synthesis.
    """
    digest = hashlib.sha256()
    for name in sources:
        text = (files(__package__) / name).read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
                digest.update(token.string.encode() + b" ")
    return digest.hexdigest()[:16]
