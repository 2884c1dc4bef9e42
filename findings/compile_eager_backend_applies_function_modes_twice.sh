#!/usr/bin/env bash
# Library: torch 2.13.0, torch.compile(backend="eager") and backends that return gm.forward, with an active
#   torch.overrides.TorchFunctionMode.
# Expected: backend="eager" runs the captured graph without compiling it, for debugging, and gives what the function
#   gives without torch.compile.
# Seen: a mode that replaces the result of a function is traced into the graph, and acts on the graph's own calls again
#   when that runs. A mode that doubles torch.sin quadruples it: sin(1) = 0.841 becomes 3.366 where plain execution,
#   "aot_eager" and "inductor" give 1.683. The backend of the documentation's custom-backend example, which returns
#   gm.forward, does the same. Nothing warns.
# Date: 2026-11-29
# Hurts: users who look for the cause of a wrong result by changing backends, as the troubleshooting guide recommends:
#   the simplest backend is the one that is wrong. Also tests that use backend="eager" to avoid a C++ compiler.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import torch
from torch.overrides import TorchFunctionMode


class Doubled(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is torch.sin else result


def sine(x):
    return torch.sin(x)


def custom(gm, example_inputs):
    return gm.forward


def shown(backend):
    torch.compiler.reset()
    function = torch.compile(sine, backend=backend) if backend else sine
    with Doubled():
        result = function(torch.ones(())).item()
    title = {None: "no torch.compile", custom: "returns gm.forward"}.get(backend, backend)
    print(f"{title:20} {result:.3f}")
    return result


plain, aot, eager, forward = shown(None), shown("aot_eager"), shown("eager"), shown(custom)
same = abs(plain - aot) < 1e-6
twice = abs(eager - 2 * plain) < 1e-6 and abs(forward - 2 * plain) < 1e-6
sys.exit(0 if same and twice else 1)
EOF
