"""Build the sdist and the wheel into dist and check what they hold. `make dist` calls it, in a clone."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)], check=True)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    packed = {name.partition("/")[2] for name in held_by(sdist)}
    require_equal(sdist, packed, tracked - {".gitignore"}, ("PKG-INFO", "setup.cfg"))
    inside = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    require_equal(wheel, {name for name in held_by(wheel) if ".dist-info/" not in name}, inside, ())
    page = MarkdownIt("commonmark").enable("table").render((ROOT / "README.md").read_text())
    if "```" in page or "<p>|" in page or page.count("<table>") < 4:
        sys.exit("README.md does not render: a table or a block of code is not closed")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], check=True)
    for path in (sdist, wheel):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB, {len(held_by(path))} files")


def held_by(archive: Path) -> list[str]:
    """Return the names of an archive's files."""
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).namelist()
    with tarfile.open(archive) as opened:
        return [member.name for member in opened if member.isfile() and ".egg-info/" not in member.name]


def require_equal(archive: Path, held: set[str], expected: set[str], made: tuple[str, ...]) -> None:
    """End with a line that names what an archive lacks, or holds beside what was expected and what the build itself makes."""
    if lacking := sorted(expected - held):
        sys.exit(f"{archive.name} lacks {', '.join(lacking)}; see MANIFEST.in and package-data in pyproject.toml")
    if more := sorted(held - expected - set(made)):
        sys.exit(f"{archive.name} holds {', '.join(more)}, which the project does not track; remove them or track them")


if __name__ == "__main__":
    main()
