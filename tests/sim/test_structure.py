"""Models whose operators only say what is read where, from torch to Verilog."""

import pytest
import torch
from torch import nn

from darb_hw.config import EngineConfig
from darb_prune import encode, partition, prune, quantize
from darb_prune.modules.partitioned import PartitionedLinear
from sim.batch import batch
from sim.launch import simulate
from sim.scenario import Scenario
from tests.prune.frontend.capture.nets import Dilated, Net

pytestmark = pytest.mark.simulator


def shuffled(m, x):
    """A unit of ShuffleNet: half of the channels pass by."""
    kept, rest = m.conv(x).relu().chunk(2, 1)
    rest = m.after(m.spread(m.point(rest).relu())).relu()
    halves = torch.cat([kept, rest], 1)
    return m.fc((halves[:, 2:6] + halves[:, :4]).mean((2, 3)))


def shuffle_net():
    return Net(
        shuffled, conv=nn.Conv2d(2, 8, 3, padding=1), point=nn.Conv2d(4, 4, 1), after=nn.Conv2d(4, 4, 1),
        spread=nn.Conv2d(4, 4, 3, padding=1, groups=4), fc=nn.Linear(4, 3),
    )  # fmt: skip


def looped(m, x):
    state, outputs = None, []
    for entry in x.unbind(1):
        state = m.cell(entry, state)
        outputs.append(m.fc(state[0] if isinstance(state, tuple) else state))
    return torch.stack(outputs, 1)


def mixed(m, x):
    """A mixer of the positions of an image, and an LSTM over the columns of what it makes."""
    x = m.conv(x)
    x = x + m.positions(x.flatten(2)).relu().view(x.shape)
    return m.fc(m.lstm(x.flatten(2))[0].amax(1))


def mixer():
    return Net(
        mixed, conv=nn.Conv2d(2, 3, 2), positions=nn.Linear(6, 6), fc=nn.Linear(6, 2),
        lstm=nn.LSTM(6, 3, batch_first=True, bidirectional=True),
    )  # fmt: skip


def in_parts():
    """Three layers in two parts behind a map, one that reads both, and one behind it."""
    image = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    first, second = PartitionedLinear((8, 8), (6, 6), channels=4), PartitionedLinear((6, 6), (4, 4))
    head = nn.ReLU(), second, nn.GELU(), PartitionedLinear((4, 4), (3, 3)), nn.Tanh(), nn.Linear(6, 7), nn.ReLU()
    return nn.Sequential(*image, first, *head, nn.Linear(7, 3)).eval()


def channels_in_parts(end):
    """Convolutions in two parts, with one that is depthwise in between, and a head in parts behind ``end``."""
    first = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 6, (1, 2), dilation=2), nn.ReLU()
    columns = nn.Sequential(*first, *depthwise, end, nn.Flatten())(torch.zeros(1, 1, 10, 10)).numel()
    head = nn.Linear(columns, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
    model = nn.Sequential(*first, *depthwise, end, nn.Flatten(), *head).eval()
    assert partition(model, 2, example=torch.zeros(1, 1, 10, 10)).layers == ("3", "8", "12", "14")
    return model


MODELS = {
    "positions and channels change places": (mixer, (2, 3, 4), {}),
    "LSTMCell": (lambda: Net(looped, cell=nn.LSTMCell(3, 4), fc=nn.Linear(4, 2)), (5, 3), {}),
    "GRUCell": (lambda: Net(looped, cell=nn.GRUCell(3, 4), fc=nn.Linear(4, 2)), (5, 3), {}),
    "parts of channels": (shuffle_net, (2, 6, 5), {}),
    "parts of channels, positions at once": (shuffle_net, (2, 6, 6), {"positions": 4}),
    "two outputs": (lambda: Net(lambda m, x: (m.a(x), m.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 2)), (4,), {}),
    "clusters": (in_parts, (1, 6, 6), {"clusters": 2, "lanes": 6}),
    "channels in parts": (lambda: channels_in_parts(nn.MaxPool2d(2)), (1, 10, 10), {}),
    "channels in parts, positions at once": (lambda: channels_in_parts(nn.MaxPool2d(2)), (1, 10, 10), {"positions": 4}),
    "clusters behind a mean": (lambda: channels_in_parts(nn.AdaptiveAvgPool2d(1)), (1, 10, 10), {"clusters": 2}),
    "clusters behind a maximum": (lambda: channels_in_parts(nn.AdaptiveMaxPool2d(1)), (1, 10, 10), {"clusters": 2}),
    "dilated": (Dilated, (3, 12), {}),
    "dilated, positions at once": (Dilated, (3, 12), {"positions": 4}),
}


# Each has another one that is like it.
LONG = {"channels in parts, positions at once", "clusters behind a maximum", "dilated, positions at once"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in MODELS])
def test_models(name, make_build):
    build_model, shape, options = MODELS[name]
    torch.manual_seed(0)
    model, x = build_model(), torch.randn(4, *shape)
    prune(model, 2, example=x)
    integer = quantize(model, x)
    network = encode(integer)
    config = EngineConfig(**{"lanes": 4, **options})
    build = make_build(f"structure-{name.replace(' ', '-')}", network, integer.vectors(network, x), config)
    (report,) = simulate(build, "icarus", [Scenario((0, 1, 2, 3), idle=0.2, stall=0.2)])
    assert (report.mismatch, report.frames) == (None, 4)
    if config.clusters > 1:
        assert batch(build).mismatch is None
