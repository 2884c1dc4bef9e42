#!/usr/bin/env bash
# Library: safetensors 0.8.0, safetensors.torch.save_file and load_file, with torch 2.13.0.
# Expected: a tensor that is loaded equals the tensor that was saved, or saving is refused, as it is for tensors that
#   are not contiguous or share memory.
# Seen: torch marks a conjugated complex tensor instead of computing it, and save_file writes the memory without heeding
#   the mark. 1-2j, made by torch.tensor([1+2j]).conj(), is loaded as 1+2j. A real tensor with such a mark is loaded
#   with the wrong sign: the imaginary part of the same tensor is -2 and is loaded as 2. torch.save is right for both,
#   and resolve_conj() or resolve_neg() before saving mends it. Nothing warns.
# Date: 2026-11-29
# Hurts: users with complex weights or filters made by an FFT: a saved model computes something else, and weights that
#   had a sign lose it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 safetensors==0.8.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import torch
from safetensors.torch import load_file, save_file

conjugated = torch.tensor([1 + 2j]).conj()
saved = {
    "conjugated": conjugated,
    "imaginary part": torch.tensor([1 + 2j]).conj().imag,
    "conjugated, resolved": conjugated.resolve_conj(),
    "imaginary part, resolved": conjugated.imag.resolve_neg(),
}
save_file(saved, "weights.safetensors")
loaded = load_file("weights.safetensors")
torch.save(saved, "weights.pt")
pickled = torch.load("weights.pt")
wrong = []
for name, tensor in saved.items():
    values = tensor.item(), loaded[name].item(), pickled[name].item()
    print("%-25s saved %-10s loaded %-10s by torch.save %s" % (name, *values))
    wrong.append(not torch.equal(tensor, loaded[name]))
right = all(torch.equal(tensor, pickled[name]) for name, tensor in saved.items())
sys.exit(0 if wrong == [True, True, False, False] and right else 1)
EOF
