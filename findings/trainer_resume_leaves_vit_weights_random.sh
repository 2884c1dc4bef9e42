#!/usr/bin/env bash
# Library: transformers 5.24.0 with torch 2.13.0: Trainer.train(resume_from_checkpoint=...) with ViTForImageClassification.
# Expected: training continues with the weights that the Trainer saved in its checkpoint, as it does for ResNet.
# Seen: the checkpoint names the weights as earlier versions did (vit.encoder.layer.0.attention.attention.query.weight), the
#   model names them vit.layers.0.attention.q_proj.weight. The Trainer loads the file without renaming them. All weights of the
#   encoder's layers keep the values that the model was built with; those of embeddings and head, and the optimizer's state,
#   are restored. Training goes on from that mixture. The Trainer logs two warnings, of missing and of unexpected keys.
#   from_pretrained reads the same file as expected.
# Date: 2026-11-29
# Hurts: users who continue an interrupted training of a vision transformer: the encoder begins anew.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 transformers==5.24.0 accelerate==1.15.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import logging
import sys

import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments

transformers.logging.set_verbosity(logging.ERROR)
transformers.logging.disable_progress_bar()
VIT = transformers.ViTConfig(
    image_size=4, patch_size=2, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=2
)
RESNET = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", num_labels=2)
DATA = [{"pixel_values": image, "labels": index % 2} for index, image in enumerate(torch.randn(8, 3, 4, 4))]


class Begin(TrainerCallback):
    """Keeps the weights that a training begins with."""

    def on_train_begin(self, args, state, control, model, **_):
        self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}


def train(model, folder, checkpoint=None):
    arguments = TrainingArguments(
        folder, max_steps=2, save_steps=1, per_device_train_batch_size=4, learning_rate=0.1, use_cpu=True, report_to="none",
        disable_tqdm=True, logging_strategy="no", warmup_steps=0, dataloader_pin_memory=False,
    )
    begin = Begin()
    trainer = Trainer(model, arguments, train_dataset=DATA, callbacks=[begin])
    trainer.train(resume_from_checkpoint=checkpoint)
    return begin.weights


lost = {}
for name, kind, config in (
    ("vit", transformers.ViTForImageClassification, VIT), ("resnet", transformers.ResNetForImageClassification, RESNET)
):
    train(kind(config), name)
    saved = kind.from_pretrained(f"{name}/checkpoint-1").state_dict()
    resumed = train(kind(config), name, f"{name}/checkpoint-1")
    lost[name] = [key for key in saved if not torch.equal(saved[key], resumed[key])]
    print(f"{name}: {len(lost[name])} of {len(saved)} tensors are not those of the checkpoint", *lost[name][:2])
layers = [key for key in lost["vit"] if not key.startswith("vit.layers.0.")]
sys.exit(0 if len(lost["vit"]) > 8 and not layers and not lost["resnet"] else 1)
EOF
