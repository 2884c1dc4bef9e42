"""Whether what was synthesized is what is here."""

import hashlib
import io
import tokenize
from importlib.resources import files

HARDWARE = (
    "_array.py", "_extension.py", "_fixed.py", "_gemm.py", "_host.py", "_matrix_unit.py", "_pool.py", "_sequencer.py",
    "_sizes.py", "_unfold.py", "_update.py",
)  # fmt: skip


def fingerprint(sources: tuple[str, ...] = HARDWARE) -> str:
    """A digest of sources that describe hardware, of all unless given; comments, text and layout do not count."""
    digest = hashlib.sha256()
    for name in sources:
        text = (files(__package__) / name).read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
                digest.update(token.string.encode() + b" ")
    return digest.hexdigest()[:16]
