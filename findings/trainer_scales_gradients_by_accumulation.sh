#!/usr/bin/env bash
# Library: transformers 5.24.0 with torch 2.13.0: Trainer with gradient_accumulation_steps.
# Expected: four batches of one row, accumulated, give the gradient of one batch of four rows: the documentation says
#   that accumulation simulates larger batches.
# Seen: for BERT with a masked-language, token or sentence head the accumulated gradient is 4 times as large, and so is
#   the logged loss. Trainer leaves out the division because their forward() takes **kwargs, so it expects them to
#   divide by the num_items_in_batch that it passes. They ignore it: their loss is a mean of each small batch. Sentence
#   heads of RoBERTa, DistilBERT, DeBERTa, ELECTRA, ALBERT, MPNet, GPT-2 and Llama do the same. Causal language models
#   are right (Llama: ratio 1.00). Nothing warns; the default max_grad_norm=1.0 hides part of it.
# Date: 2026-11-29
# Hurts: users who halve the batch size and double the accumulation to fit a smaller GPU: the learning rate that was
#   tuned is in effect doubled (with SGD), or clipping acts in steps in which it did not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 transformers==5.24.0 accelerate==1.15.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import copy
import logging
import sys

import torch
import transformers
from transformers import BertConfig, LlamaConfig, Trainer, TrainingArguments

transformers.logging.set_verbosity(logging.ERROR)
sizes = dict(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=3,
    max_position_embeddings=16,
)
llama, bert = LlamaConfig(**sizes), BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def gradient_norm(model, rows, batch, steps):
    model, found = copy.deepcopy(model), []

    class Recorded(torch.optim.SGD):
        def step(self, closure=None):
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item())
            return super().step(closure)

    optimizer = Recorded(model.parameters(), lr=0.0)
    arguments = TrainingArguments(
        output_dir="out", report_to=[], use_cpu=True, max_steps=1, max_grad_norm=0.0, save_strategy="no",
        logging_strategy="no", disable_tqdm=True, per_device_train_batch_size=batch, gradient_accumulation_steps=steps,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    Trainer(model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, schedule)).train()
    return found[0]


torch.manual_seed(0)
sentences = [torch.randint(1, 32, (6,)) for _ in range(4)]
ratios = {}
for kind, config, labels in (
    ("LlamaForCausalLM", llama, sentences),
    ("BertForMaskedLM", bert, sentences),
    ("BertForTokenClassification", bert, [s % 3 for s in sentences]),
    ("BertForSequenceClassification", bert, [torch.tensor(i % 3) for i in range(4)]),
):
    model = getattr(transformers, kind)(config)
    rows = [{"input_ids": s, "attention_mask": torch.ones_like(s), "labels": y} for s, y in zip(sentences, labels)]
    whole, accumulated = gradient_norm(model, rows, 4, 1), gradient_norm(model, rows, 1, 4)
    ratios[kind] = accumulated / whole
    print(f"{kind:30} gradient of a batch of 4 {whole:.3f}, of 4 of 1 {accumulated:.3f}, ratio {ratios[kind]:.2f}")
causal, *others = ratios.values()
sys.exit(0 if abs(causal - 1) < 0.01 and all(abs(ratio - 4) < 0.01 for ratio in others) else 1)
EOF
