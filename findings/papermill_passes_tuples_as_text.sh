#!/usr/bin/env bash
# Library: papermill 2.7.0, papermill.execute_notebook with parameters=dict(...).
# Expected: a Python notebook gets the Python values that were passed, or an error names a value that cannot be passed.
#   (A NumPy integer raises such an error.)
# Seen: a tuple arrives as its text, at the top and inside of lists and dicts. (16, 32) becomes the string "(16, 32)" of
#   length 8, and a loop over it runs over its characters. The keys of {1: "a"} become strings. Nothing warns, and a
#   notebook that only prints or loops over the values runs to its end. Lists are right.
# Date: 2026-11-29
# Hurts: users who sweep parameters with itertools.product or dicts of tuples: shapes, ranges and betas arrive as text,
#   and len(), loops and products take another meaning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q papermill==2.7.0 ipykernel==7.4.0
export PATH="$work/venv/bin:$PATH" JUPYTER_DATA_DIR="$work/jupyter" IPYTHONDIR="$work/ipython"
cd "$work"
"$work/venv/bin/python" -m ipykernel install --prefix "$work/venv" --name python3 > "$work/log" 2>&1
"$work/venv/bin/python" - 2> "$work/log" <<'EOF'
import sys

import nbformat
import papermill
from nbformat import v4

cell = v4.new_code_cell("shape = sweep = names = None", metadata={"tags": ["parameters"]})
body = v4.new_code_cell("print([shape, len(shape), sweep, names])")
kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(v4.new_notebook(cells=[cell, body], metadata={"kernelspec": kernel}), "in.ipynb")
parameters = {"shape": (16, 32), "sweep": [(1, 0.5), [2, 0.5]], "names": {1: "a"}}
done = papermill.execute_notebook("in.ipynb", "out.ipynb", parameters=parameters, progress_bar=False, log_output=False)
print("passed:  ", parameters)
seen = done.cells[-1].outputs[0].text.strip()
print("notebook: [shape, len(shape), sweep, names] is", seen)
sys.exit(0 if seen == "['(16, 32)', 8, ['(1, 0.5)', [2, 0.5]], {'1': 'a'}]" else 1)
EOF
