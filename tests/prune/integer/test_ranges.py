"""Scale and range of every value."""

import pytest
import torch

from darb_prune.frontend.capture import capture
from darb_prune.integer.quantization import quantize
from darb_prune.integer.ranges import calibrate
from tests.prune.integer.models import CASES, model, scales_of


def test_input_tensor():
    integer = quantize(model(2, 3), torch.tensor([[0.5, -1.27]]))
    assert integer.tensors["input"].scale == pytest.approx(0.01)
    assert integer.quantize_input(torch.tensor([[0.5, -1.27], [9.0, -9.0]])).tolist() == [[50, -127], [127, -128]]


def test_percentile_clips_hidden_tensors_only():
    net, x = model(6, 40, 40, 3), torch.randn(500, 6)
    full, clipped = (scales_of(net, x, 8, share) for share in (100.0, 90.0))
    assert full[0] == clipped[0]
    assert full[3] == clipped[3]
    assert all(some < whole for some, whole in zip(clipped[1:3], full[1:3], strict=True))
    assert full[0] == pytest.approx(float(x.abs().max()) / 127)
    assert scales_of(net, [(x[:250], None), (x[250:], None)]) == pytest.approx(full)
    hidden = net[1](net[0](x)).detach().abs().flatten().sort().values
    assert clipped[1] == pytest.approx(float(hidden[round(0.9 * len(hidden)) - 1]) / 127)


def test_percentile_does_not_depend_on_batches(monkeypatch):
    net, x = model(6, 40, 3), torch.randn(200, 6)
    x[:20] *= 10
    expected = scales_of(net, x, 8, 95)
    assert scales_of(net, [x[:20], x[20:], x[:0]], 8, 95) == pytest.approx(expected)
    monkeypatch.setattr("darb_prune.integer.ranges.CHUNK", 500)
    assert scales_of(net, x, 8, 95) == pytest.approx(expected)


def test_scales_that_are_one():
    net, x = CASES["residual"]()
    stages = capture(net, x[:2])
    ranges = calibrate(stages, [x], 8, 90.0)
    operands = [stage for stage in stages.stages if stage.operand]
    assert operands
    for stage in operands:
        assert ranges[stage.output].scale == ranges[stage.operand.value].scale
    pools = [stage for stage in stages.stages if stage.maximum]
    assert pools
    for stage in pools:
        assert ranges[stage.output].scale == ranges[stage.inputs[0]].scale
    high = [stage for stage in stages.stages if stage.high == 6]
    assert high
    for stage in high:
        one = ranges[stage.output]
        assert (one.qmin, one.qmax) == (0, min(round(6 / one.scale), 127))
