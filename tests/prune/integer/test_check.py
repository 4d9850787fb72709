"""Everything that stands in the way of a model, with remedies that work."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import darb_prune
from darb_prune import JoinedInputs, encode, prune, quantize
from darb_prune.errors import ModelError
from darb_prune.integer.check import check
from darb_prune.modules.masked import apply_mask


class Net(nn.Module):
    """Runs ``forward(self, x)`` with the modules given."""

    def __init__(self, call, **modules):
        super().__init__()
        self.call = call
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.call(self, x)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, left, right):
        return self.fc(torch.cat([left, right], dim=1))


def maps(call, **modules):
    return Net(call, conv=nn.Conv2d(2, 4, 3, padding=1), fc=nn.Linear(4, 3), **modules), torch.randn(2, 2, 6, 6)


def lines(call, **modules):
    modules = {"conv": nn.Conv1d(4, 8, 3), "fc": nn.Linear(8, 3)} | modules
    return Net(call, **modules), torch.randn(2, 4, 12)


def sequences(call, **modules):
    return Net(call, **modules, fc=nn.Linear(8, 3)), torch.randn(2, 5, 4)


def normed(norm):
    return maps(lambda m, x: m.fc(m.norm(m.conv(x)).relu().mean((2, 3))), norm=norm)


def curved(function):
    return maps(lambda m, x: m.fc(function(m.conv(x)).mean((2, 3))))


def looped(m, x):
    state = torch.zeros(len(x), 8), torch.zeros(len(x), 8)
    for step in range(x.shape[1]):
        state = m.cell(x[:, step], state)
    return m.fc(state[0])


def skipping(m, x):
    state = None
    for step in range(0, x.shape[1], 2):
        state = m.cell(x[:, step], state)
    return m.fc(state[0])


def attention(m, x):
    queries, keys, values = m.q(x), m.k(x), m.v(x)
    return m.fc((torch.softmax(queries @ keys.transpose(1, 2), -1) @ values).mean(1))


weight_norm = torch.nn.utils.parametrizations.weight_norm
projections = {name: nn.Linear(4, 8) for name in "qkv"}
# What is wrong, what is said about it, and the model with the remedy.
CASES = {
    "layer norm": (
        normed(nn.LayerNorm([4, 6, 6])), ["norm: operator layer_norm .*; replace it by BatchNorm"],
        normed(nn.BatchNorm2d(4)),
    ),
    "group norm": (
        normed(nn.GroupNorm(2, 4)), ["norm: operator group_norm .*; replace it by BatchNorm"],
        normed(nn.BatchNorm2d(4)),
    ),
    "curve": (curved(F.rrelu), ["model: operator rrelu .*; replace it by LeakyReLU"], curved(F.leaky_relu)),
    "softmax": (
        maps(lambda m, x: m.fc(m.conv(x).mean((2, 3))).softmax(1)),
        ["model: operator softmax is not supported; leave it out of the model"],
        maps(lambda m, x: m.fc(m.conv(x).mean((2, 3)))),
    ),
    "channels": (
        maps(lambda m, x: m.fc2(m.conv(x)[:, ::2, 1:].mean((2, 3))), fc2=nn.Linear(2, 3)),
        ["model: every 2-th channel is read, and a part of another dimension; index the channels by themselves"],
        maps(lambda m, x: m.fc2(m.conv(x)[:, :, 1:][:, ::2].mean((2, 3))), fc2=nn.Linear(2, 3)),
    ),
    "cell": (
        sequences(lambda m, x: looped(m, x.flip((1, 2))), cell=nn.LSTMCell(4, 8)),
        ["model: flip of other dimensions than the channels; "],
        sequences(looped, cell=nn.LSTMCell(4, 8)),
    ),
    "cell that skips a step": (
        sequences(skipping, cell=nn.LSTMCell(4, 8)), ["cell: operator LSTMCell is not supported; call it for every"],
        sequences(looped, cell=nn.LSTMCell(4, 8)),
    ),
    "directions": (
        sequences(lambda m, x: m.fc(m.gru(x)[0][:, -1]), gru=nn.GRU(4, 4, bidirectional=True)),
        ["gru: GRU must read .*, and the samples are dimension 0 of the input; check batch_first, or give the model"],
        sequences(lambda m, x: m.fc(m.gru(x.transpose(0, 1))[0][-1]), gru=nn.GRU(4, 4, bidirectional=True)),
    ),
    "time as the height": (
        maps(lambda m, x: m.fc(m.layer(m.conv(x).permute(0, 2, 1, 3).flatten(2))[0].mean(1)),
             layer=nn.GRU(24, 2, batch_first=True, bidirectional=True)),
        ["layer: GRU must read .*; give images with time as the last dimension"], None,
    ),
    "attention module": (
        sequences(lambda m, x: m.fc(m.attention(*[x.repeat(1, 1, 2)] * 3)[0].mean(1)),
                  attention=nn.MultiheadAttention(8, 2, batch_first=True)),
        ["repeat of other dimensions", "attention: operator MultiheadAttention is not supported; attention"], None,
    ),
    "attention by hand": (
        sequences(attention, **projections),
        [
            "operator matmul .*; attention multiplies", "operator softmax .*; inside a model",
        ], None,
    ),
    "every position": (
        maps(lambda m, x: m.fc(m.each(m.conv(x)).relu().mean((2, 3))), each=nn.Linear(6, 4)),
        [r"each: Linear must read .*; flatten.1. first, .* or put the channels last, as in x.permute\(0, 2, 3, 1\)"],
        maps(lambda m, x: m.fc(m.each(m.conv(x).permute(0, 2, 3, 1)).relu().mean((1, 2))), each=nn.Linear(4, 4)),
    ),
    "weight norm": (
        (nn.Sequential(weight_norm(nn.Conv2d(2, 4, 3)), nn.ReLU()), torch.randn(2, 2, 6, 6)),
        ["0: weight of Conv2d is computed .*; make it a plain parameter: torch.nn.utils.parametrize.remove_param"],
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU()), torch.randn(2, 2, 6, 6)),
    ),
    "values": (
        maps(lambda m, x: m.fc((m.conv(x) if x.sum() > 0 else m.conv(x).relu()).mean((2, 3)))),
        ["model: __bool__ makes .* depend on values of its input, .*; decide on shapes or constants"], None,
    ),
    "in place": (
        maps(lambda m, x: (lambda h: (h.view(-1).relu_(), m.fc(h.mean((2, 3))))[1])(m.conv(x))),
        ["a tensor was changed in place through another view of it; use operators that do not work in place"],
        maps(lambda m, x: m.fc(m.conv(x).relu().mean((2, 3)))),
    ),
    "many": (
        maps(lambda m, x: m.fc(F.max_pool2d(F.rrelu(m.norm(m.conv(x))), 3, 2, 1).mean((2, 3)).cumsum(1)).softmax(1),
             norm=nn.GroupNorm(2, 4)),
        ["operator group_norm", "operator rrelu", "operator cumsum is not supported", "operator softmax"], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_problems_and_remedies(name):
    (model, example), messages, remedied = CASES[name]
    report = check(model, example)
    assert len(report.problems) == len(messages)
    for finding, message in zip(report.problems, messages, strict=True):
        assert re.search(message, str(finding)), str(finding)
    assert str(report).count("supported: Linear") == any(not finding.remedy for finding in report.problems)
    if remedied is not None:
        model, example = remedied
        findings = check(model, example).findings
        assert all("takes sequences of 5 time steps" in finding.problem for finding in findings)
        prune(model, 2, example=example)
        encode(quantize(model, example))


def test_sequences_of_one_length():
    model, example = CASES["directions"][2]
    (finding,) = check(model, example).findings
    assert str(finding) == (
        f"model: takes sequences of {example.shape[1]} time steps and no others, since it looks at several of them at "
        "once; give an example of the length that you use"
    )
    assert finding.warning


def test_lines_are_those_of_the_model():
    model, example = CASES["curve"][0]
    (finding,) = check(model, example).problems
    path, _, line = finding.line.rpartition(":")
    with open(path) as source:
        assert "m.fc(function(m.conv(x))" in source.readlines()[int(line) - 1]


def test_models_of_two_inputs():
    (finding,) = check(Two(), torch.randn(2, 3)).problems
    assert str(finding) == (
        "model: takes 2 inputs (left, right); darb_prune.JoinedInputs(model, channels) takes them as one tensor, side "
        "by side; channels are those of each input"
    )
    assert not check(JoinedInputs(Two(), (3, 3)), torch.randn(2, 6)).findings


def test_prune_and_train_refuse_what_check_finds():
    model, example = CASES["many"][0]
    with pytest.raises(ModelError, match=r"norm: operator group_norm .*; 3 more problems, darb_prune.check lists them"):
        prune(model, 2, example=example)
    loader = [(example, torch.zeros(2, dtype=torch.int64))]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=r"norm: operator group_norm .*; 3 more problems"):
        darb_prune.train(model, loader, epochs=1, progress=False)
    with pytest.raises(ModelError, match=r"norm: operator group_norm .*; 3 more problems"):
        darb_prune.finetune(model, loader, epochs=1, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(darb_prune.train(model, loader, epochs=1, progress=False, check=False)) == 1


def test_several_outputs():
    report = check(Net(lambda m, x: (m.a(x), m.b(x)), a=nn.Linear(4, 3), b=nn.Linear(4, 2)), torch.randn(2, 4))
    assert not report.problems
    assert "warning: model: its outputs become one vector, of 3, 2 elements; return only those that" in str(report)
    model, example = maps(lambda m, x: (lambda h: (m.fc(h.mean((2, 3))), h))(m.conv(x)))
    report = check(model, example)
    assert not report.problems
    assert "warning: model: a second output is dropped; join them" in str(report)
    model = Net(lambda m, x: (lambda out, state: (m.fc(out), state))(*m.gru(x)), gru=nn.GRU(4, 3, batch_first=True),
                fc=nn.Linear(3, 2))  # fmt: skip
    assert not check(model, torch.randn(2, 5, 4)).findings


@pytest.mark.parametrize("end", ["softmax", "log_softmax", "argmax"])
def test_what_is_at_the_end_is_dropped_on_request(end):
    model, example = maps(lambda m, x: getattr(m.fc(m.conv(x).mean((2, 3))), end)(1))
    (problem,) = check(model, example).problems
    assert "leave it out of the model, and apply it to the outputs: the largest output" in str(problem)
    assert "drop_softmax=True, or --drop-softmax, does it for you" in str(problem)
    report = check(model, example, drop_softmax=True)
    assert not report.problems
    assert [str(warning)[: len(end) + 29] for warning in report.warnings] == [f"model: {end} at the end is dropped"]
    with pytest.raises(ModelError, match="leave it out of the model"):
        prune(model, 2, example=example)
    prune(model, 2, example=example, drop_softmax=True)
    if end != "argmax":
        loader = [(example, torch.zeros(2, dtype=torch.int64))]
        darb_prune.finetune(model, loader, epochs=1, progress=False, drop_softmax=True)
        darb_prune.finetune(model, loader, epochs=1, weight_bits=8, progress=False, drop_softmax=True)
    integer = quantize(model, example, drop_softmax=True)
    assert encode(integer).layers
    assert integer(integer.quantize_input(example)).shape == (2, 3)


def test_inputs_of_one_sign_use_half_of_their_range():
    model = nn.Sequential(nn.Linear(4, 3))
    (finding,) = check(model, 255 * torch.rand(2, 4)).findings
    assert finding.warning
    assert "half of the range of the inputs is not used; subtract the middle" in str(finding)
    assert not check(model, 255 * torch.rand(2, 4) - 127).findings
    assert not check(model).findings


def test_outputs_that_nobody_reads():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[3].weight[:, 16:32] = 0
        model[5].weight[:, 1:4] = 0
    report = check(model, torch.randn(2, 1, 6, 6))
    assert [(finding.path, finding.problem) for finding in report.findings] == [
        ("0", "1 of 4 outputs are read by weights of 0 only"), ("3", "3 of 5 outputs are read by weights of 0 only"),
    ]  # fmt: skip


def test_outputs_that_no_group_reads():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[2].weight[:2, 1] = 0
        model[2].weight[2, 1] = 0
    (finding,) = check(model, torch.randn(2, 1, 8, 8)).findings
    assert (finding.path, finding.problem) == ("0", "1 of 4 outputs are read by weights of 0 only")


def test_what_later_steps_refuse():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    apply_mask(model[0], torch.eye(3, 4), "weight")
    (finding,) = check(model, torch.randn(2, 4)).problems
    assert str(finding).startswith("0: pruned without levels (irregular), which has no encoding; prune with method")
    with torch.no_grad():
        model[2].weight[1, 0] = float("nan")
    assert "weight or bias is NaN or infinite; train again" in str(check(model, torch.randn(2, 4)))


def test_layers_that_cannot_be_pruned():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU())
    assert "no layer to prune" in str(check(model, torch.randn(2, 4, 6, 6)))


def test_models_are_not_changed():
    model, example = CASES["layer norm"][2]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    check(model, example)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
