#!/usr/bin/env bash
# Library: papermill 2.7.0, the command's -p NAME VALUE.
# Expected: what looks like a number becomes one; a label such as 2024_01 or the start of a commit, 4e10, stays text.
# Seen: Python's own literals decide, so an underscore between digits is dropped and an e between digits is an exponent:
#   2024_01 arrives as the number 202401 and the commit 4e10 as 40000000000.0; a zero in front is lost (007 is 7). A list of
#   labels therefore arrives partly as text and partly as numbers. -r (raw) keeps the text.
# Date: 2026-11-30
# Hurts: who passes the label of a run, a date or the start of a commit's hash: files get other names, and two labels (1_0, 10)
#   become one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q papermill==2.7.0 ipykernel==7.4.0
export PATH="$work/venv/bin:$PATH" JUPYTER_DATA_DIR="$work/jupyter" IPYTHONDIR="$work/ipython"
cd "$work"
python -m ipykernel install --prefix "$work/venv" --name python3 > "$work/log" 2>&1
python - <<'EOF'
import nbformat
from nbformat import v4

cell = v4.new_code_cell("month = commit = run = other = None", metadata={"tags": ["parameters"]})
kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
body = v4.new_code_cell("print([month, commit, run, other])")
nbformat.write(v4.new_notebook(cells=[cell, body], metadata={"kernelspec": kernel}), "in.ipynb")
EOF
papermill in.ipynb out.ipynb -p month 2024_01 -p commit 4e10 -p run 007 -p other 2024_a > "$work/log" 2>&1
papermill in.ipynb raw.ipynb -r month 2024_01 -r commit 4e10 -r run 007 -r other 2024_a > "$work/log" 2>&1
python - <<'EOF'
import sys

import nbformat

seen = [nbformat.read(name, 4).cells[-1].outputs[0].text.strip() for name in ("out.ipynb", "raw.ipynb")]
print("passed: 2024_01, 4e10, 007, 2024_a", *seen, sep="\n")
sys.exit(0 if seen == ["[202401, 40000000000.0, 7, '2024_a']", "['2024_01', '4e10', '007', '2024_a']"] else 1)
EOF
