"""ADA-GP in Hugging Face's Trainer, on a small ResNet made from a configuration (nothing is downloaded).

    python examples/huggingface_trainer.py

prints the Trainer's log of each epoch, then the number of batches in each phase. Data, log, checkpoints and learning rates stay
the Trainer's. The engine clips the gradients and makes the steps (the log's grad_norm is 0), and each checkpoint has its state.
"""

import os

import adagp
import adagp._torchvision  # before transformers: it imports torchvision, which needs help beside a CPU build of torch

# isort: split
import torch
import transformers


class AdaGPTrainer(transformers.Trainer):
    """A Trainer whose batches are trained by the engine.

    Args:
        schedule, predictor: as for ``adagp.AdaGP``.
        others: as for ``transformers.Trainer``.

    Raises:
        ValueError: the arguments ask for accumulated gradients.
    """

    def __init__(self, *others, schedule=None, predictor="shared-network", **named) -> None:
        super().__init__(*others, **named)
        if self.args.gradient_accumulation_steps > 1:
            raise ValueError("each batch is a step of the engine: leave gradient_accumulation_steps at 1, use larger batches")
        self.schedule, self.predictor = schedule, predictor
        self.engine: adagp.AdaGP | None = None
        self.add_callback(_Epochs(self))

    def make_engine(self) -> adagp.AdaGP:
        return adagp.AdaGP(
            self.model_wrapped, self.optimizer, schedule=self.schedule, predictor=self.predictor,
            backward=self.accelerator.backward, clip_norm=self.args.max_grad_norm or None,
        )  # fmt: skip

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            step = self.engine.step(lambda: self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch))
        self.optimizer.zero_grad()  # the engine has made the step; the Trainer's own then has nothing to do
        return step.loss


class _Epochs(transformers.TrainerCallback):
    """Tells the engine where epochs begin and end, and keeps its state in the checkpoints."""

    def __init__(self, trainer: AdaGPTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **_) -> None:
        self.trainer.engine = engine = self.trainer.make_engine()
        if state.global_step:  # a training that goes on from a checkpoint
            engine.load_state_dict(torch.load(_file(args, state), weights_only=True))
            if engine.position[0] < int(state.epoch):  # saved after an epoch's last step, before its end
                engine.begin_epoch()
                engine.end_epoch()

    def on_epoch_begin(self, args, state, control, **_) -> None:
        self.trainer.engine.begin_epoch()

    def on_epoch_end(self, args, state, control, **_) -> None:
        self.trainer.engine.end_epoch()

    def on_save(self, args, state, control, **_) -> None:
        if state.is_world_process_zero:
            torch.save(self.trainer.engine.state_dict(), _file(args, state))


def _file(args, state) -> str:
    return os.path.join(args.output_dir, f"checkpoint-{state.global_step}", "adagp.pt")


def main() -> None:
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    data = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=10
    )  # fmt: skip
    arguments = transformers.TrainingArguments(
        num_train_epochs=4, per_device_train_batch_size=64, learning_rate=3e-3, logging_strategy="epoch", save_strategy="no",
        report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = AdaGPTrainer(
        transformers.ResNetForImageClassification(config), arguments, train_dataset=data,
        schedule=adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),)),
    )  # fmt: skip
    trainer.train()
    print(dict(trainer.engine.counts))


if __name__ == "__main__":
    main()
