"""Files that are written whole or not at all, and read with an error that names a damaged one."""

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from ._errors import UsageError, reason, short

MOST_BYTES = 64 * 2**20
"""Largest file that is read; the largest of this project's own has half a megabyte."""
MOST_DIGITS = 1000
"""Longest number that is read; Python itself takes none of over 4,300 digits."""
_DEEPEST = 100  # levels of lists and tables within each other
_QUOTED = re.compile(rb'"(?:[^"\\]+|\\.?)*(?:"|\Z)|\'[^\'\n]*\'', re.DOTALL)
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))
_DIGITS = bytes.maketrans(b"123456789_", b"0" * 10)
_LONGEST = 230  # bytes of a file's name that fit into that of its temporary file
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}  # fmt: skip


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` in one step: a crash or a full disk leaves the old file as it was, or none.

    Once this returns, the file survives a power cut: it, its name and new folders are on the disk, which costs about 20 ms.
    A process that is killed in between leaves a file ``.NAME.*`` beside it, which ``sweep`` removes. A link stays, and the file
    that it names is written. A file keeps its permissions; those of a new one follow from the umask.

    Raises:
        UsageError: the folder cannot be written to, the disk is full, or something else than a file has this name.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        target = Path(os.path.realpath(path))
        make_folder(target.parent)
        mode = _mode(target)
        name = os.fsdecode(os.fsencode(target.name)[:_LONGEST])
        part = target.with_name(f".{name}.{secrets.token_hex(4)}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            temporary = part
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(part, mode)
        os.replace(part, target)
        _sync(target.parent)
    except BaseException as error:  # Ctrl-C too
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError | ValueError):  # ValueError: a name with a zero byte
            raise UsageError(f"cannot write {path}: {reason(error)}; free space there or choose another folder") from error
        raise


def _mode(path: Path) -> int | None:
    """Return the permissions of a file; None where there is none yet.

    Raises:
        ValueError: it is a folder, a pipe or a device: a file in its place would break what others use it for.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    _require_file(found)
    return stat.S_IMODE(found.st_mode)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they survive a power cut.

    Raises:
        OSError: it cannot be created.
    """
    folder = Path(os.path.realpath(folder))  # where a link leads, which may have to be made
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _sync(place.parent)


def _sync(folder: Path) -> None:
    """Write a folder's entries to the disk, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync files alone
            raise
    finally:
        os.close(descriptor)


def sweep(path: Path) -> None:
    """Remove the temporary files that killed processes left while writing ``path``. No process may be writing it now."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN and infinity are refused (JSON has neither)."""
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_bytes(path: Path, mend: str, *, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file. Nothing else is opened: reading a pipe or a device may never end.

    Args:
        mend: what a user can do about a damaged file, as the end of the message.
        most: bytes.

    Raises:
        UsageError: it is missing, unreadable, too large, or no regular file.
    """
    try:
        _require_file(os.stat(path))
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            _require_file(found)
            if found.st_size > most:
                raise ValueError(f"it has {found.st_size:,} bytes, expected at most {most:,}")
            content = file.read(most + 1) or b""
        if len(content) > most:  # a file that grows
            raise ValueError(f"it has more than the {most:,} bytes that are read at most")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte too
        raise UsageError(f"cannot read {path}: {reason(error)}; {mend}") from error
    return content


def read_text(path: Path, mend: str, *, most: int = MOST_BYTES) -> str:
    """Return the text of a file in UTF-8, without a byte order mark and with newlines for all ends of lines.

    Args:
        mend, most: as for ``read_bytes``.

    Raises:
        UsageError: as ``read_bytes``, or it is not text.
    """
    content = read_bytes(path, mend, most=most)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except ValueError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; {mend}") from error


def read_json(path: Path, mend: str) -> Any:
    """Return the content of a JSON file.

    Args:
        mend: what a user can do about a damaged file, as the end of the message.

    Raises:
        UsageError: it cannot be read (``read_bytes``), is not JSON, has NaN or infinity, a key twice in one object, too deep
            lists or too long numbers.
    """
    text = read_text(path, mend)
    try:
        _require_plain(text)
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; {mend}") from error


def read_toml(path: Path, mend: str) -> dict[str, Any]:
    """Return the content of a TOML file of at most 256 KiB.

    Raises:
        UsageError: it cannot be read (``read_bytes``), is not TOML, or has too deep tables or too long numbers.
    """
    import tomllib

    text = read_text(path, mend, most=2**18)
    try:
        _require_plain(text)
        for number, line in enumerate(text.split("\n"), 1):
            if line.count(".") > _DEEPEST:  # the parser's time grows with the square of the parts of a key
                raise ValueError(f"line {number} has {line.count('.'):,} dots, expected at most {_DEEPEST}")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {reason(error)}; {mend}") from error


def parse_yaml(text: str) -> Any:
    """Return the value of a text in YAML, without its anchors, aliases and tags, which can stand for more than they show.

    Raises:
        ValueError: it is not such YAML, or has a key twice in one mapping; the message says in a few words why.
    """
    import yaml

    _require_plain(text)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise ValueError("it has an anchor, an alias or a tag; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError(_too_deep())
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _require_unique(node)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ArithmeticError, RecursionError) as error:  # ArithmeticError: numbers such as 1:59:59.5
        raise ValueError(reason(error)) from error


def read_yaml(path: Path, mend: str) -> Any:
    """Return the content of a YAML file of at most 256 KiB, as ``parse_yaml``.

    Raises:
        UsageError: it cannot be read (``read_bytes``), or is not such YAML.
    """
    text = read_text(path, mend, most=2**18)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"{path} is not YAML: {reason(error)}; {mend}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(_twice([key for key, _ in pairs]))
    return found


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it has {word}, which is no number in JSON")


def _require_unique(node: Any) -> None:
    """Refuse a YAML mapping with a key twice, of which the parser would keep the last."""
    pairs = [pair for pair in getattr(node, "value", ()) if isinstance(pair, tuple)]
    keys = [key.value for key, _ in pairs if isinstance(key.value, str)]
    if len(set(keys)) < len(keys):
        raise ValueError(_twice(keys))
    for part in [part for pair in pairs for part in pair] if pairs else getattr(node, "value", ()):
        if not isinstance(part, str):
            _require_unique(part)


def _twice(keys: list[str]) -> str:
    return f"it has the key {short(next(key for key in keys if keys.count(key) > 1))} twice; keep one"


def _require_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, expected a file")


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, should it have become a pipe since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _require_plain(text: str) -> None:
    """Refuse, before a parser sees it, what is nested too deep or has a number of too many digits."""
    content = text.encode(errors="replace")
    if b"0" * (MOST_DIGITS + 1) in content.translate(_DIGITS):
        raise ValueError(f"it has a number of more than the {MOST_DIGITS} digits that are read at most")
    left = _without_quoted(content).translate(None, _OTHERS)
    for _ in range(_DEEPEST):  # each time the innermost pairs go
        left, before = left.replace(b"[]", b"").replace(b"{}", b""), left
        if left == before:
            break
    if len(left) > _DEEPEST:  # a parser names the place where a single bracket is missing
        raise ValueError(_too_deep())


def _without_quoted(content: bytes) -> bytes:
    """Return a text without its quoted parts.

    Without backslashes and apostrophes, as in our records, every second ``"`` ends a quoted part, and a split finds them at a
    fraction of what the search for all cases costs: that takes as long as the parser.
    """
    if b"\\" in content or b"'" in content:
        return _QUOTED.sub(b"", content)
    return b"".join(content.split(b'"')[::2])


def _too_deep() -> str:
    return f"its lists and tables are nested deeper than {_DEEPEST}, or do not end"
