#!/usr/bin/env bash
# Library: jsonschema 4.26.0 with its extra format-nongpl (rfc3987-syntax 1.1.0, lark 1.3.1), nbformat 5.10.4.
# Expected: importing a validator costs nothing for checks that nobody asks for; formats are only checked with a FormatChecker.
# Seen: importing jsonschema, and so nbformat, builds one Lark parser for each rule of the grammar of IRIs, whether or not a
#   format is ever checked. They take more than half of the processor time of the import. Without the extra none is built.
# Date: 2026-11-29
# Hurts: everything that starts a process for each notebook: jupyter_events asks for the extra, so papermill, nbclient, MyST-NB
#   and each of their kernels that imports nbformat waits for parsers of IRIs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > look.py <<'EOF'
import sys
import time

try:
    import lark
except ImportError:
    lark = None
built, spent = 0, 0.0
if lark is not None:
    make = lark.Lark.__init__

    def counted(self, *arguments, **options):
        global built, spent
        start = time.process_time()
        make(self, *arguments, **options)
        built, spent = built + 1, spent + time.process_time() - start

    lark.Lark.__init__ = counted
start = time.process_time()
import nbformat

print(f"{built} parsers, {spent / (time.process_time() - start):.0%} of the processor time of importing nbformat")
if sys.argv[1] == "with":
    sys.exit(0 if built > 30 and spent > 0.5 * (time.process_time() - start) else 1)
sys.exit(0 if built == 0 else 1)
EOF
pins="jsonschema==4.26.0 nbformat==5.10.4 lark==1.3.1"
for extra in without with; do
    python3 -m venv "$extra"
    [ $extra = with ] && pins="$pins rfc3987-syntax==1.1.0 jsonschema[format-nongpl]==4.26.0"
    "$extra/bin/pip" install -q $pins
    "$extra/bin/python" -c "import nbformat"  # compiled once
    echo "$extra the extra:"
    "$extra/bin/python" look.py $extra
done
