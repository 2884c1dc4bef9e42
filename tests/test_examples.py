"""The examples run as they are, and do what they say."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import adagp
import adagp._torchvision  # before Lightning imports torchvision

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCHEDULE = adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),))


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_as_a_plain_loop_and_resumes(tmp_path):
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


def test_accelerate_trains_as_a_plain_loop(capsys):
    pytest.importorskip("accelerate", reason="accelerate is in the test extra")
    expected, engine = plain_engine(3)
    net, loader = net_and_loader()
    made = example("accelerate_loop").train(net, loader, epochs=3, schedule=SCHEDULE)
    assert made.counts == engine.counts and "epoch 3: loss" in capsys.readouterr().out
    assert_same(net, expected)


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
