"""From modules to chains, and what is refused."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_prune.container import DarbError
from darb_prune.graph import chain, check_finite
from darb_prune.masks import bmwm
from darb_prune.pruned import apply_mask


class Forward(nn.Module):
    """Three layers and any forward function."""

    def __init__(self, forward):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.other, self.scale = nn.Linear(12, 8), nn.Parameter(torch.ones(()))
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.fc2.weight
        self.act, self.call = nn.ReLU(), forward

    def forward(self, x):
        return self.call(self, x)


def run(stages, x):
    x = x.reshape(len(x), -1)
    for stage in stages:
        x = F.linear(x, stage.linear.weight, stage.linear.bias)
        x = x.relu() if stage.relu else x
    return x


LEGAL = {
    "module relu": lambda m, x: m.fc3(m.act(m.fc1(x.flatten(1)))),
    "F.relu": lambda m, x: m.fc3(F.relu(m.fc1(torch.flatten(x, 1)))),
    "torch.relu": lambda m, x: m.fc3(torch.relu(m.fc1(torch.flatten(x, start_dim=1)))),
    "method relu": lambda m, x: m.fc3(m.fc1(x.view(-1, 12)).relu()),
    "inplace": lambda m, x: m.fc3(F.relu(m.fc1(x.reshape(x.shape[0], -1)), inplace=True).relu_()),
    "size": lambda m, x: m.fc3(m.fc1(x.view(x.size(0), 12)).relu()),
    "tuple": lambda m, x: m.fc3(m.fc1(torch.reshape(x, (x.size()[0], -1))).relu()),
    "dropout": lambda m, x: m.fc3(F.dropout(m.fc1(x.flatten(1)).relu(), 0.5, m.training)),
    "keywords": lambda m, x: m.fc3(input=F.relu(input=m.fc1(torch.reshape(x, shape=(x.size(dim=0), 12))))),
    "mode": lambda m, x: m.fc3(torch.sigmoid(m.fc1(x.flatten(1))) if m.training else m.fc1(x.flatten(1))),
    "contiguous": lambda m, x: m.fc3(m.fc1(x.contiguous().flatten(1)).relu()),
    "no relu": lambda m, x: m.fc3(m.fc2(m.fc1(x.flatten(1)))),
    "relu at the end": lambda m, x: m.fc3(m.fc2(m.fc1(x.flatten(1)))).relu(),
    "unused result": lambda m, x: (m.other(x.flatten(1)), m.fc3(m.fc1(x.flatten(1))))[1],
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_models_become_equal_chains(name):
    model = Forward(LEGAL[name]).eval()
    x = torch.randn(5, 3, 4)
    assert torch.allclose(run(chain(model), x), model(x), atol=1e-6)


def test_sequential_names_and_modules():
    model = nn.Sequential(
        OrderedDict(
            flat=nn.Flatten(), net=nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Dropout()), id=nn.Identity(),
            out=nn.Linear(3, 2),
        )
    )  # fmt: skip
    stages = chain(model)
    assert [(stage.name, stage.relu) for stage in stages] == [("net.0", True), ("out", False)]
    assert stages[0].linear is model.net[0]


def test_bare_linear_is_a_chain():
    linear = nn.Linear(4, 3)
    (stage,) = chain(linear)
    assert stage.linear is linear
    assert stage.name == "0"


def test_pruned_layers_stay_layers():
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    apply_mask(model[0], bmwm(model[0].weight, 2))
    assert [stage.name for stage in chain(model)] == ["0", "2"]


ILLEGAL = {
    "operator sigmoid is not supported": lambda m, x: torch.sigmoid(m.fc1(x)),
    r"operator \.tanh\(\) is not supported": lambda m, x: m.fc1(x).tanh(),
    r"other: Linear does not read the output of the operator before it \(a branch\)": lambda m, x: (
        m.fc1(x) + m.other(x)
    ),
    "operator add is not supported": lambda m, x: m.fc2(m.fc1(x)) + 1,
    "ReLU before the first Linear": lambda m, x: m.fc1(x.relu()),
    "fc2: Linear shares its weight with layer 'fc2'": lambda m, x: m.fc2(m.fc2(m.fc1(x))),
    "tied: Linear shares its weight with layer 'fc2'": lambda m, x: m.tied(m.fc2(m.fc1(x))),
    "use of tensor 'scale'": lambda m, x: m.fc1(x * m.scale),
    "fc1: Linear has 12 columns, but layer 'fc2' before it has 8 rows": lambda m, x: m.fc1(m.fc2(x)),
    r"flatten\(0, -1\) is not supported": lambda m, x: m.fc1(x.flatten()),
    "reshape to 3 dimensions": lambda m, x: m.fc1(x.view(-1, 1, 12)),
    "reshape to a batch of 1 is not supported": lambda m, x: m.fc1(x.view(1, 12)),
    "reshape to a batch of size": lambda m, x: m.fc1(x.view(x.size(1), -1)),
    "reshape to a batch of getitem": lambda m, x: m.fc1(x.view(x.shape[1], -1)),
    "fc1: Linear has 12 columns, but is given 13 values": lambda m, x: m.fc1(x.view(-1, 13)),
    "reshape of 8 features to 4": lambda m, x: m.fc2(m.fc1(x).view(-1, 4)),
    "must return the output of its last operator": lambda m, x: (m.fc1(x), 1),
    "cannot be traced": lambda m, x: m.fc1(x) if x.sum() > 0 else m.other(x),
    "no Linear layer": lambda m, x: x,
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal_models(message):
    with pytest.raises(DarbError, match=message) as caught:
        chain(Forward(ILLEGAL[message]))
    assert "\n" not in str(caught.value)


UNUSED = {
    "module": lambda m, h: m.inplace(h),
    "F.relu": lambda m, h: F.relu(h, inplace=True),
    "torch.relu_": lambda m, h: torch.relu_(h),
    "method": lambda m, h: h.relu_(),
    "clamp_": lambda m, h: h.clamp_(min=0),
    "out": lambda m, h: torch.clamp(h, min=0, out=h),
}


@pytest.mark.parametrize("name", UNUSED)
def test_an_operator_in_place_whose_result_is_not_used(name):
    def forward(m, x):
        h = m.fc1(x.flatten(1))
        UNUSED[name](m, h)
        return m.fc2(h)

    net = Forward(forward)
    net.inplace = nn.ReLU(inplace=True)
    with pytest.raises(DarbError, match="works in place and its result is not used; go on with its result"):
        chain(net)


def test_flags_of_training_are_given_back():
    net = Forward(LEGAL["mode"])
    net.fc2.eval()
    chain(net)
    assert net.training
    assert net.fc1.training
    assert not net.fc2.training


def test_computed_parameters_are_refused():
    net = nn.Sequential(nn.Linear(4, 3))
    torch_prune.random_unstructured(net[0], "bias", 0.5)
    with pytest.raises(DarbError, match="0: bias of Linear is computed"):
        chain(net)
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(net[0])
    with pytest.raises(DarbError, match="0: weight of Linear is computed"):
        chain(net)
    with pytest.raises(DarbError, match="0: weight of Linear is computed"):
        chain(nn.Sequential(torch.nn.utils.spectral_norm(nn.Linear(4, 3))))


def test_branches():
    def skip(m, x):
        first = m.fc1(x)
        second = m.fc2(first)
        return m.fc3(torch.relu(first)), second

    with pytest.raises(DarbError, match=r"fc3: .*a branch|ReLU does not read .*a branch|relu.*a branch"):
        chain(Forward(skip))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(1, 1, 3), "net.1: operator Conv2d is not supported; supported: Linear, ReLU"),
        (nn.LSTM(3, 3), "net.1: operator LSTM"),
        (nn.BatchNorm1d(3), "net.1: operator BatchNorm1d"),
        (nn.ReLU6(), "net.1: operator ReLU6"),
        (nn.Softmax(dim=1), "net.1: operator Softmax"),
        (nn.Flatten(0), r"net.1: flatten\(0, -1\)"),
        (nn.Linear(4, 3), "net.1: Linear has 4 columns, but layer 'net.0' before it has 3 rows"),
    ],
)
def test_unsupported_modules_are_named(module, message):
    model = nn.Sequential(OrderedDict(net=nn.Sequential(nn.Linear(4, 3), module)))
    with pytest.raises(DarbError, match=message):
        chain(model)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x, y):
        return self.fc(x)


def test_two_inputs():
    with pytest.raises(DarbError, match="input 'y': more than one input"):
        chain(TwoInputs())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weight", "bias", "masked weight"])
def test_weights_that_are_not_finite(value, where):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5))
    if where == "masked weight":
        apply_mask(model[2], torch.ones(5, 3))
    with torch.no_grad():
        target = model[2].bias if where == "bias" else getattr(model[2], "weight_orig", model[2].weight)
        target[4] = value
    with pytest.raises(DarbError, match="layer '2', row 4: weight or bias is NaN or infinite"):
        check_finite(chain(model))
