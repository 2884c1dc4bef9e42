#!/usr/bin/env bash
# Library: torchmetrics 1.9.0, text.SacreBLEUScore with its defaults, beside sacrebleu 2.6.0 with its defaults.
# Expected: the same score. The class is named after sacrebleu, whose tokenization it takes.
# Seen: 0.00 where sacrebleu says 17.15, since torchmetrics smooths nothing and sacrebleu smooths "exp" by default: a corpus
#   without a matching sequence of four words scores 0. smooth=True is another smoothing and stays at 0 as well. With one
#   match of four words both packages agree.
# Date: 2026-11-30
# Hurts: curves of small corpora and of the first epochs: they stay at 0 and then jump, and a table whose rows come from both
#   packages compares two measures under one name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 torchmetrics==1.9.0 sacrebleu==2.6.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import sacrebleu
from torchmetrics.text import SacreBLEUScore


def scores(title, said, wanted):
    theirs = sacrebleu.corpus_bleu(said, [wanted]).score
    plain, smooth = (100 * float(SacreBLEUScore(smooth=s)(said, [[w] for w in wanted])) for s in (False, True))
    print(f"{title:30} sacrebleu {theirs:6.2f}, torchmetrics {plain:6.2f}, with smooth=True {smooth:6.2f}")
    return theirs, plain, smooth


said, wanted = ["the cat sat on a mat today", "there is a dog"], ["the cat lay on a rug today", "there was a dog"]
none = scores("no match of four words", said, wanted)
match = "a man rides a red bicycle"
one = scores("one sentence that matches more", [*said, match], [*wanted, match])
sys.exit(0 if none[0] > 15 and none[1] == 0 == none[2] and one[0] > 30 and abs(one[0] - one[1]) < 0.01 else 1)
EOF
