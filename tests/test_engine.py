"""Laws of the engine: every choice is a function of the machine and the request, and says why."""

import pytest
import torch
from torch import nn

from residua.engine import CPU_BF16_FROM_PX, CPU_THREADS_FROM_PX, Decision, Engine, Facts, decide, facts, regions
from residua.errors import UsageError
from residua.nn.resnet import units
from residua.nn.zoo import build

PLAIN = Facts(cpu_bf16=False, cores=4, threads=3)
NEW = Facts(cpu_bf16=True, cores=4, threads=3)
SLOW = Facts(cpu_bf16=True, cpu_bf16_pays=False, cores=4, threads=3)
GPU = Facts(cpu_bf16=True, cuda=2, cuda_bf16=True, cores=4, threads=3)
OLD_GPU = Facts(cpu_bf16=True, cuda=1, cuda_bf16=False, cores=4, threads=3)
APPLE = Facts(cpu_bf16=False, mps=True, cores=4, threads=3)


@pytest.mark.parametrize(
    ("machine", "side_px", "device", "precision", "memory_format"),
    [
        (PLAIN, 224, "cpu", "fp32", "channels_last"),
        (NEW, CPU_BF16_FROM_PX, "cpu", "bf16", "channels_last"),
        (SLOW, 224, "cpu", "fp32", "channels_last"),
        (NEW, CPU_BF16_FROM_PX - 1, "cpu", "fp32", "channels_last"),
        (GPU, 32, "cuda", "bf16", "channels_last"),
        (OLD_GPU, 32, "cuda", "fp16", "channels_last"),
        (APPLE, 32, "mps", "fp32", "contiguous"),
    ],
)
def test_auto_is_a_function_of_the_machine_and_the_image_side(machine, side_px, device, precision, memory_format):
    engine = decide(side_px=side_px, in_memory=True, machine=machine)
    assert (engine.device, engine.precision, engine.memory_format) == (device, precision, memory_format)
    assert not engine.compile


def test_every_decision_has_a_reason_and_the_flag_that_overrides_it():
    engine = decide(side_px=32, in_memory=False, machine=NEW)
    assert [d.what for d in engine.decisions] == [
        "device", "precision", "memory_format", "compile", "threads", "workers",
    ]  # fmt: skip
    assert all(d.why and d.flag == "--" + d.what.replace("_", "-") for d in engine.decisions)
    assert all(isinstance(d, Decision) for d in engine.decisions)
    for d in engine.decisions:
        asked = {d.what: int(d.value) if d.value.isdigit() else d.value}
        again = decide(side_px=32, in_memory=False, machine=NEW, **asked)
        assert next(a.why for a in again.decisions if a.what == d.what) == "asked for"


@pytest.mark.parametrize(
    ("machine", "asked", "says"),
    [
        (PLAIN, {"device": "cuda"}, "0 CUDA GPUs"),
        (GPU, {"device": "cuda:2"}, "2 CUDA GPUs"),
        (PLAIN, {"device": "mps"}, "no Apple GPU"),
        (PLAIN, {"device": "cudda"}, "did you mean cuda"),
        (PLAIN, {"precision": "bf16"}, "no bf16"),
        (OLD_GPU, {"precision": "bf16"}, "no bf16"),
        (APPLE, {"precision": "bf16"}, "no bf16"),
        (NEW, {"precision": "fp16"}, "CUDA"),
        (NEW, {"precision": "f16"}, "did you mean"),
        (NEW, {"memory_format": "channels"}, "did you mean channels_last"),
        (NEW, {"compile": "yes"}, "known: auto, on, off"),
        (NEW, {"threads": 0}, "at least 1"),
        (NEW, {"workers": -1}, "0 or more"),
    ],
)
def test_what_the_machine_lacks_is_refused_in_one_line(machine, asked, says):
    with pytest.raises(UsageError, match=says) as error:
        decide(side_px=32, in_memory=True, machine=machine, **asked)
    assert "\n" not in str(error.value)


def test_readers_are_for_files_only():
    assert decide(side_px=32, in_memory=True, machine=NEW).workers == 0
    assert decide(side_px=32, in_memory=False, machine=NEW).workers == NEW.cores
    assert decide(side_px=32, in_memory=False, machine=NEW, workers=0).workers == 0


def test_one_thread_trains_on_tiny_images_unless_asked_otherwise():
    assert decide(side_px=CPU_THREADS_FROM_PX - 1, in_memory=True, machine=NEW).threads == 1
    assert decide(side_px=CPU_THREADS_FROM_PX, in_memory=True, machine=NEW).threads == NEW.threads
    assert decide(side_px=8, in_memory=True, machine=NEW, threads=2).threads == 2
    assert decide(side_px=8, in_memory=True, machine=GPU).threads == GPU.threads


def test_this_machine_can_be_decided_for():
    engine = decide(side_px=32, in_memory=True)
    assert engine.threads == torch.get_num_threads() == facts().threads
    assert engine.describe().startswith(engine.device)
    assert engine.to_json()["decisions"][0]["what"] == "device"


def test_a_placed_net_and_moved_pictures_have_the_memory_format():
    engine = Engine(device="cpu", memory_format="channels_last", threads=torch.get_num_threads())
    net = engine.place(nn.Conv2d(3, 4, 3))
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
    images = engine.move(torch.zeros(2, 3, 5, 7))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert engine.move(torch.zeros(2, dtype=torch.int64)).dtype == torch.int64
    assert net(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_computes_in_the_precision_and_the_scaler_passes_through(precision):
    engine = Engine(device="cpu", precision=precision, threads=torch.get_num_threads())
    net = engine.place(nn.Linear(3, 4))
    with engine.autocast():
        out = net(torch.ones(2, 3))
    assert out.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    scaler = engine.scaler()
    assert not scaler.is_enabled()
    assert torch.equal(scaler.scale(out), out)


def test_a_compiler_that_fails_at_the_first_batch_is_left_out_with_one_line(monkeypatch):
    def broken(*args, **kwargs):
        def call(*a, **k):
            raise RuntimeError("no g++ here\nand more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    told = []
    net = Engine(device="cpu", compile=True, threads=torch.get_num_threads()).place(nn.Linear(3, 4), told.append)
    x = torch.ones(2, 3)
    assert torch.equal(net(x), net.forward(x))
    net(x)
    assert len(told) == 1
    assert "no g++ here" in told[0] and "\n" not in told[0]


def test_units_of_a_deep_net_are_compiled_one_by_one_on_a_gpu():
    deep, shallow = build("cifar_resnet110", classes=10), build("cifar_resnet20", classes=10)
    assert regions(deep, "cuda") == units(deep) and len(units(deep)) == 54
    assert regions(deep, "cpu") == [deep]
    assert regions(shallow, "cuda") == [shallow]


def test_parts_whose_compiler_fails_say_so_once_and_answer(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no g++ here")

    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: broken)
    net = build("cifar_resnet110", classes=10).eval()
    x = torch.randn(2, 3, 8, 8)
    wanted, told = net(x), []
    monkeypatch.setattr("residua.engine.regions", lambda net, kind: units(net))
    Engine(device="cpu", compile=True, threads=torch.get_num_threads()).place(net, told.append)
    assert torch.equal(net(x), wanted)
    assert len(told) == 1


def test_a_compiled_net_keeps_its_parameter_names_and_an_error_of_its_own_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, *args, **kwargs: call)
    net = Engine(device="cpu", compile=True, threads=torch.get_num_threads()).place(nn.Linear(3, 4), pytest.fail)
    assert list(net.state_dict()) == ["weight", "bias"]
    with pytest.raises(RuntimeError, match="shapes"):
        net(torch.ones(2, 5))
    assert net(torch.ones(2, 3)).shape == (2, 4)
