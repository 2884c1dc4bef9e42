#!/usr/bin/env bash
# Library: jupyter-book 1.0.4.post1 (myst-nb 1.3.0) with numpy 2.3.5.
# Expected: glue("x", value) and {glue:text} show a NumPy scalar as a number, as with NumPy 1, and a format such as
#   :.2f applies to it.
# Seen: the glued text is the scalar's repr, which NumPy 2 changed. The page reads "np.float64(1.5)", and with :.2f
#   the place stays empty (a warning in the log; the build succeeds). glue("x", float(value)) is right.
# Date: 2026-11-29
# Hurts: authors of executed books: means and other results of NumPy are shown with their type or vanish from the
#   sentence.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jupyter-book==1.0.4.post1 myst-nb==1.3.0 ipykernel numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import html
import pathlib
import re
import subprocess
import sys

FILES = {
    "_config.yml": "title: one page\nexecute:\n  execute_notebooks: force\nsphinx:\n  config:\n    html_theme: alabaster\n",
    "_toc.yml": "format: jb-book\nroot: page\n",
    "page.md": """---
kernelspec: {name: python3, display_name: Python}
jupytext: {text_representation: {extension: .md, format_name: myst}}
---
# Page

```{code-cell}
import numpy as np
from myst_nb import glue
glue("plain", 1.5, display=False)
glue("scalar", np.float64(1.5), display=False)
```

float, with a format: [{glue:text}`plain:.2f`]

scalar: [{glue:text}`scalar`]

scalar, with a format: [{glue:text}`scalar:.2f`]
""",
}
for name, text in FILES.items():
    with open(name, "w") as file:
        file.write(text)
done = subprocess.run([pathlib.Path(sys.executable).with_name("jupyter-book"), "build", "."], capture_output=True, text=True)
page = html.unescape(re.sub("<[^>]*>", "", open("_build/html/page.html").read()))
found = [re.search(rf"{name}: \[(.*?)\]", page)[1] for name in ("float, with a format", "scalar", "scalar, with a format")]
print("exit status of the build:", done.returncode, "- shown:", found)
sys.exit(0 if done.returncode == 0 and found == ["1.50", "np.float64(1.5)", ""] else 1)
EOF
