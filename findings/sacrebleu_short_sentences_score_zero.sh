#!/usr/bin/env bash
# Library: sacrebleu 2.6.0, sacrebleu.corpus_bleu with its defaults.
# Expected: a translation that equals its reference scores 100.
# Seen: if no sentence of the corpus has four tokens, the score is 0.00 for a perfect translation, without a warning.
#   One perfect sentence of five words more turns it into 100; with every short sentence wrong that one sentence alone
#   still gives 5.5. BLEU(effective_order=True) gives 100, and its documentation recommends it for single sentences
#   only.
# Date: 2026-11-29
# Hurts: users who score number words, terms, titles or commands by BLEU: a perfect model looks useless, and one
#   longer sentence decides the score.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q sacrebleu==2.6.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import sacrebleu
from sacrebleu.metrics import BLEU

short, wrong, long = ["zwei und zwanzig"] * 100, ["drei oder dreissig"] * 100, ["ein Satz mit mehr Wörtern"]


def score(title, hypotheses, references, metric=sacrebleu.corpus_bleu):
    found = metric(hypotheses, [references]).score
    print(f"{title:58} {found:6.2f}")
    return found


perfect = score("100 perfect sentences of three words", short, short)
mixed = score("the same and one perfect sentence of five words", short + long, short + long)
nearly = score("100 wrong ones and one perfect sentence of five words", wrong + long, short + long)
effective = score("100 perfect sentences of three words, effective_order", short, short, BLEU(effective_order=True).corpus_score)
sys.exit(0 if perfect == 0 and mixed > 99 and 0 < nearly < 50 and effective > 99 else 1)
EOF
