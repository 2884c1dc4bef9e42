"""The examples run as they are, and do what they say. ``validation/run_loops.py`` records what was compared."""

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, load_program
from torch import nn

import adagp
import adagp._torchvision  # before Lightning imports torchvision

sys.path.append(str(Path(__file__).parent / "training"))
import processes

EXAMPLES = ROOT / "examples"
SCHEDULE = adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),))


def example(name):
    return load_program(EXAMPLES / f"{name}.py")


def net_and_loader(batches=10):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    data = torch.utils.data.TensorDataset(torch.randn(batches * 4, 3, 2, 2), torch.randint(3, (batches * 4,)))
    return net, torch.utils.data.DataLoader(data, batch_size=4)


def plain_engine(epochs):
    net, loader = net_and_loader()
    engine = adagp.AdaGP(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9), schedule=SCHEDULE)
    for _ in range(epochs):
        for x, y in engine.epoch(loader):
            engine.step(lambda: nn.functional.cross_entropy(net(x), y))
    return net, engine


def assert_same(one, other):
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.fixture
def tried(record_property):
    """Note what a test compared, for the record of ``validation/run_loops.py``."""

    def note(loop, *packages, example, equal, to, refused=()):
        row = {"loop": loop, "packages": packages, "example": example, "equal": equal, "to": to, "refused": dict(refused)}
        record_property("tried", row)

    return note


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_lightning_trains_as_a_plain_loop_and_resumes(tmp_path, tried):
    lightning = pytest.importorskip("lightning", reason="lightning is in the test extra")
    module = example("lightning_module")

    def trainer(epochs, **settings):
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path, **{"enable_checkpointing": False} | settings,
        )  # fmt: skip

    expected, engine = plain_engine(3)
    net, loader = net_and_loader()
    wrapped = module.AdaGPClassifier(net, schedule=SCHEDULE)
    trainer(3).fit(wrapped, loader)
    assert wrapped.engine.counts == engine.counts
    assert_same(net, expected)

    net, loader = net_and_loader()
    first = trainer(2)
    first.fit(module.AdaGPClassifier(net, schedule=SCHEDULE), loader)
    first.save_checkpoint(tmp_path / "two.ckpt")
    net, loader = net_and_loader()
    wrapped = module.AdaGPClassifier(net, schedule=SCHEDULE)
    trainer(3).fit(wrapped, loader, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert wrapped.engine.counts == engine.counts and wrapped.engine.position == engine.position
    assert_same(net, expected)

    # Lightning counts the engine's steps: its checkpoints and limits go by them, also within an epoch.
    net, loader = net_and_loader()
    every = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "kept", every_n_train_steps=7, save_top_k=-1)
    stopped = trainer(3, enable_checkpointing=True, callbacks=[every], max_steps=25)
    stopped.fit(module.AdaGPClassifier(net, schedule=SCHEDULE), loader)
    assert stopped.global_step == 25 and len(list((tmp_path / "kept").glob("*.ckpt"))) == 3
    net, loader = net_and_loader()
    wrapped = module.AdaGPClassifier(net, schedule=SCHEDULE)
    within = next((tmp_path / "kept").glob("*step=14.ckpt"))
    trainer(3).fit(wrapped, loader, ckpt_path=within, weights_only=True)  # with the loader's first batches again
    assert wrapped.engine.counts == engine.counts

    # What it cannot do in a loop whose steps are the engine's, Lightning says itself.
    refused = {}
    for setting in ({"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}):
        with pytest.raises(lightning.fabric.utilities.exceptions.MisconfigurationException) as error:
            trainer(1, **setting).fit(module.AdaGPClassifier(net, schedule=SCHEDULE), loader)
        (name,) = setting
        refused[name] = " ".join(str(error.value).split())
        assert "manual optimization" in refused[name]
    tried("Lightning", "lightning", example="lightning_module", equal="bits", to="plain", refused=refused)


def test_accelerate_trains_as_a_plain_loop(capsys, tried):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is in the test extra")
    expected, engine = plain_engine(3)
    net, loader = net_and_loader()
    made = example("accelerate_loop").train(net, loader, epochs=3, schedule=SCHEDULE)
    assert made.counts == engine.counts and "epoch 3: loss" in capsys.readouterr().out
    assert_same(net, expected)

    accelerator = accelerate.Accelerator(gradient_accumulation_steps=4)
    refused = refusal(net, accelerator.prepare(torch.optim.SGD(net.parameters())))
    assert "leave its gradient_accumulation_steps at 1" in refused
    tried(
        "Accelerate", "accelerate", example="accelerate_loop", equal="bits", to="plain",
        refused={"gradient_accumulation_steps": refused},
    )  # fmt: skip


def refusal(model, optimizer):
    """Return the line in which the engine refuses a model or an optimizer at construction."""
    with pytest.raises(adagp.UsageError) as error:
        adagp.AdaGP(model, optimizer, schedule=SCHEDULE)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_hugging_faces_trainer_trains_as_a_plain_loop_and_resumes(tmp_path, tried):
    transformers = pytest.importorskip("transformers", reason="transformers is in the test group")
    module = example("huggingface_trainer")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", num_labels=3)
    torch.manual_seed(0)
    first = transformers.ResNetForImageClassification(config)
    data = [{"pixel_values": image, "labels": torch.tensor(i % 3)} for i, image in enumerate(torch.randn(40, 3, 8, 8))]

    def trainer(**settings):
        arguments = transformers.TrainingArguments(
            tmp_path, num_train_epochs=3, per_device_train_batch_size=4, learning_rate=0.01, lr_scheduler_type="constant",
            optim="adamw_torch", train_sampling_strategy="sequential", report_to="none", disable_tqdm=True, use_cpu=True,
            logging_strategy="no", **{"save_strategy": "no"} | settings,
        )  # fmt: skip
        return module.AdaGPTrainer(copy.deepcopy(first), arguments, train_dataset=data, schedule=SCHEDULE)

    expected = copy.deepcopy(first)
    named = sorted(expected.named_parameters(), key=lambda one: one[0].endswith("bias"))  # in the order of the Trainer's groups
    optimizer = torch.optim.AdamW([parameter for _, parameter in named], lr=0.01, weight_decay=0)
    engine = adagp.AdaGP(expected, optimizer, schedule=SCHEDULE, clip_norm=1.0)
    for _ in range(3):
        for batch in engine.epoch(torch.utils.data.DataLoader(data, 4)):
            engine.step(lambda: expected(**batch).loss)
    made = trainer(save_strategy="steps", save_steps=5)
    made.train()
    assert made.engine.counts == engine.counts and engine.counts["gp"]
    assert_same(made.model, expected)
    for step in (10, 15):  # after an epoch's last step, and within an epoch
        made = trainer()
        made.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert made.engine.counts == engine.counts and made.engine.position == engine.position
        assert_same(made.model, expected)

    with pytest.raises(ValueError, match="leave gradient_accumulation_steps at 1") as error:
        trainer(gradient_accumulation_steps=2)
    assert "\n" not in str(error.value)
    tried(
        "Hugging Face Trainer", "transformers", "accelerate", example="huggingface_trainer", equal="bits", to="plain",
        refused={"gradient_accumulation_steps": str(error.value)},
    )  # fmt: skip


def test_a_loop_as_timms_trains_as_timms(capsys, tried):
    timm = pytest.importorskip("timm", reason="timm is in the extra models")
    module = example("timm_training")

    def loop(net, loader, epochs):
        """Train as timm's script does, with its own scaler."""
        optimizer = timm.optim.create_optimizer_v2(net, opt="momentum", lr=0.05, weight_decay=1e-4)
        rates, _ = timm.scheduler.create_scheduler_v2(
            optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=1, warmup_lr=0.01, step_on_epochs=False,
            updates_per_epoch=len(loader),
        )  # fmt: skip
        mean, scaler, updates = timm.utils.ModelEmaV3(net, decay=0.99), timm.utils.NativeScaler("cpu"), 0
        mix, loss = timm.data.Mixup(mixup_alpha=0.2, num_classes=3), timm.loss.SoftTargetCrossEntropy()
        for epoch in range(epochs):
            for x, y in loader:
                x, y = mix(x, y)
                optimizer.zero_grad()
                scaler(loss(net(x), y), optimizer, clip_grad=5.0, parameters=net.parameters())
                mean.update(net, step=updates)
                updates += 1
                rates.step_update(num_updates=updates)
            rates.step(epoch + 1)
        return mean

    (expected, loader), (net, _), (predicted, _) = (net_and_loader() for _ in range(3))
    np.random.seed(0)
    expected_mean = loop(expected, loader, 2)
    np.random.seed(0)
    _, mean = module.train(net, loader, classes=3, epochs=2, schedule=adagp.AlwaysBP())
    assert_same(net, expected)
    assert_same(mean.module, expected_mean.module)
    engine, mean = module.train(predicted, loader, classes=3, epochs=2, schedule=SCHEDULE)
    assert engine.counts["gp"] == 8 and "epoch 2: loss" in capsys.readouterr().out
    assert all(parameter.isfinite().all() for parameter in mean.module.parameters())
    tried("timm's training script", "timm", example="timm_training", equal="bits", to="timm")


class DeepSpeedEngine(nn.Module):
    """Stands for DeepSpeed's, which compiles its operators when it is installed."""


def test_deepspeed_is_refused_at_construction(tried):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    optimizer.param_groups[0]["params"].clear()  # DeepSpeed hides them where it splits the weights
    refused = refusal(DeepSpeedEngine(), optimizer)
    assert "DeepSpeedEngine backpropagates and makes the steps itself" in refused
    tried("DeepSpeed", example="", equal="", to="", refused={"DeepSpeedEngine": refused})


DISTRIBUTED = ("ddp", "fsdp2")


def rows():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(20, 7), nn.Tanh(), nn.Linear(7, 3))
    return net, torch.utils.data.TensorDataset(torch.randn(40, 3, 4, 4), torch.randint(3, (40,)))


def trained(kind):
    net, data = rows()
    engine = example("distributed_loop").train(net, data, kind=kind, batch_size=8, epochs=3, schedule=SCHEDULE)
    weights = {name: getattr(p, "full_tensor", lambda p=p: p)().detach().clone() for name, p in net.named_parameters()}
    return {"weights": weights, "counts": dict(engine.counts)}


def in_a_group(rank, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    made = {kind: trained(kind) for kind in DISTRIBUTED}
    net, _ = rows()
    flat = torch.distributed.fsdp.FullyShardedDataParallel(net, device_id=torch.device("cpu"))
    made["FullyShardedDataParallel"] = refusal(flat, torch.optim.SGD(flat.parameters()))
    torch.save(made, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return processes.results(in_a_group, tmp_path_factory.mktemp("pair"), count=2)


@processes.one_server
@pytest.mark.parametrize("kind", DISTRIBUTED)
@pytest.mark.slow
def test_two_processes_train_as_one(pair, kind, tried):
    alone = trained(kind)
    assert alone["counts"]["gp"]
    for made in pair:
        assert made[kind]["counts"] == alone["counts"]
        torch.testing.assert_close(made[kind]["weights"], alone["weights"], rtol=1e-4, atol=1e-6)
    name = {"ddp": "DistributedDataParallel", "fsdp2": "FSDP2 (fully_shard)"}[kind]
    refused = {"FullyShardedDataParallel (FSDP1)": pair[0]["FullyShardedDataParallel"]} if kind == "fsdp2" else {}
    tried(name, "torch", example="distributed_loop", equal="rounding", to="process", refused=refused)


def test_tensorboard_gets_loss_phase_ratio_and_quality(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        example("tensorboard_logging").main(str(tmp_path))
        events = EventAccumulator(str(tmp_path))
        events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/predicted", "schedule/share of GP", "cosine/0", "cosine/4"} <= tags
    assert events.Scalars("schedule/share of GP")[0].value == 0.0
    assert events.Scalars("schedule/share of GP")[1].value == pytest.approx(18 / 22, abs=0.05)
