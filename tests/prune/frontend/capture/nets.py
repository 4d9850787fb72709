"""Models by any forward function, and the checks that every capture must pass."""

from itertools import pairwise
from math import prod

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from darb_prune.errors import DarbError
from darb_prune.frontend.capture import capture
from darb_prune.frontend.execution import run
from darb_prune.frontend.stages import Matrix, reads


class Net(nn.Module):
    """Modules by name and any forward function."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.call = forward

    def forward(self, x):
        return self.call(self, x)


def lively(model):
    """Double precision, and norms that do something."""
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            with torch.no_grad():
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.normal_()
                    module.bias.normal_()
    return model


def check_rules(stages):
    """What docs/arithmetic.md asks of the stages."""
    names = [stage.name for stage in stages.stages]
    assert len(names) == len(set(names))
    assert all(names)
    written, writers = {}, {}
    inside = {n: section for section in stages.sections for n in range(section.first, section.stop)}
    assert not (stages.sections and stages.recurrent)
    for section, after in pairwise(stages.sections):
        assert section.first < section.stop <= after.first
    for stage_number, stage in enumerate(stages.stages):
        for name in reads(stage):
            done = stages.last_writer.get(name) is None or name in written
            assert done or name in stages.delayed
        writers.setdefault(stage.output, []).append(stage)
        if stages.stages[stages.last_writer[stage.output]] is stage:
            written[stage.output] = True
        if not isinstance(stage, Matrix):
            continue
        shape = stages.values[stage.output].shape
        if stage.channels is not None:
            assert len(stage.inputs) == 1
            assert 0 <= stage.channels[0] < stage.channels[1] <= stages.values[stage.inputs[0]].shape[0]
        written_to = prod(shape) // prod(stage.transposed) if stage.transposed else shape[0]
        assert 0 <= stage.first <= stage.first + stage.rows <= written_to
        if stage_number in inside:
            check_section(stages, inside[stage_number], stage)
            continue
        assert not (stage.operand and (stage.pool != (1, 1) or stage.maximum))
        if stage.window is None:
            assert stage.positions(shape) == (1, 1)
            for name in stage.inputs:
                padded = [s for s in stages.stages if isinstance(s, Matrix) and name in s.inputs and s.window]
                assert stages.values[name].shape[1:] == (1, 1) or not any(any(s.window.padding) for s in padded)
        else:
            assert len(stage.inputs) == 1
            source = stages.values[stage.inputs[0]].shape
            read = stage.channels[1] - stage.channels[0] if stage.channels else source[0]
            assert not stage.window.depthwise or read == stage.rows or stage.picks
            assert stage.picks is None or (len(stage.picks) == stage.rows and min(stage.picks) >= 0)
            assert stage.picks is None or (max(stage.picks) < read and stage.window.depthwise)
            for axis in (0, 1):
                span = (stage.window.kernel[axis] - 1) * stage.window.dilation[axis] + 1
                reach = (stage.positions(shape)[axis] - 1) * stage.window.stride[axis] + span
                limit = source[1 + axis] + sum(stage.window.padding[axis::2]) - stage.window.offset[axis]
                assert reach <= limit
        if stage.transposed:
            assert prod(shape) % prod(stage.transposed) == 0
            readers = (s for s in stages.stages if isinstance(s, Matrix) and stage.output in s.inputs and s.window)
            assert prod(stage.transposed) == shape[0] or not any(any(s.window.padding) for s in readers)
            assert (stage.operand, stage.product, stage.pool, stage.maximum) == (None, None, (1, 1), False)
            assert stage.spread == (1, 1)
            assert stage.output != stages.output
        if stage.product:
            channels, height, width = stages.values[stage.product.value].shape
            assert not stage.operand
            assert not stage.maximum
            assert stage.pool == (1, 1)
            assert stage.product.first <= 0
            assert stage.rows - stage.product.first <= channels
            assert (shape[1] - 1) * stage.product.stride[0] < height
            assert (shape[2] - 1) * stage.product.stride[1] < width
        if stage.operand:
            _, height, width = stages.values[stage.operand.value].shape
            assert (shape[1] - 1) * stage.operand.stride[0] < height
            assert (shape[2] - 1) * stage.operand.stride[1] < width
    for name in stages.initial if stages.sections else ():
        readers = (stage for stage in stages.stages if isinstance(stage, Matrix) and name in stage.inputs)
        assert not any(stage.window and any(stage.window.padding) for stage in readers)
    for stage in writers[stages.output]:
        assert isinstance(stage, Matrix)
        assert stage.pool == (1, 1)
        assert not stage.maximum
    assert not any(stages.output in reads(stage) for stage in stages.stages)
    for output, found in writers.items():
        rows = {(s.first, s.rows) for s in found if isinstance(s, Matrix)}
        if rows:
            assert all(a + n == b for (a, n), (b, _) in pairwise(sorted(rows)))
            channels, height, width = stages.values[output].shape
            assert len({s.transposed and prod(s.transposed) for s in found}) == 1
            whole = channels * height * width // prod(found[0].transposed) if found[0].transposed else channels
            assert sum(n for _, n in rows) == whole
            assert not found[0].maximum
    assert set(stages.values) == {stages.input, *stages.last_writer}


def check_section(stages, section, stage):
    """A stage of a section: columns of maps of one width, written by nobody else."""
    numbers = range(section.first, section.stop)
    shapes = [stages.values[name].shape for name in (stage.output, *reads(stage))]
    assert len({width for _, _, width in shapes}) == 1
    assert shapes[0][1] == 1
    assert stage.output != stages.output
    assert stage.window is None
    assert (stage.operand, stage.product, stage.pool, stage.maximum) == (None, None, (1, 1), False)
    assert all(n in numbers for n, other in enumerate(stages.stages) if other.output == stage.output)
    assert all(stages.last_writer.get(name, -1) < section.stop for name in reads(stage))


def check(model, x):
    """Stages of ``model``, which compute what it computes, for another number of samples as well."""
    model, x = lively(model), x.double() if x.is_floating_point() else x
    stages = capture(model, x)
    check_rules(stages)
    wanted = model(x)
    if stages.outputs:  # vectors, side by side
        wanted = torch.cat([part for part in tree_leaves(wanted) if isinstance(part, torch.Tensor)], 1)
    while not isinstance(wanted, torch.Tensor):
        wanted = next(iter(wanted.values())) if isinstance(wanted, dict) else wanted[0]
    found = run(stages, stages.samples_first(x))[stages.output]
    if stages.emit == "last":
        found = found[:, -1]
    elif stages.recurrent:
        wanted = stages.samples_first(wanted)
    found = stages.as_given(found)
    assert torch.allclose(found.flatten(1), wanted.flatten(1), rtol=1e-9, atol=1e-9)
    return stages


def names(stages):
    return [stage.name for stage in stages.stages]


def vectors(forward):
    return Net(
        forward, a=nn.Linear(6, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 3), d=nn.Linear(8, 3), d2=nn.Linear(8, 3),
        other=nn.Linear(6, 8, bias=False), third=nn.Linear(6, 2), wide=nn.Linear(16, 3), wide3=nn.Linear(18, 3),
        thin=nn.Linear(14, 3), back=nn.Linear(8, 6), norm=nn.BatchNorm1d(8), drop=nn.Dropout(), id=nn.Identity(),
    )  # fmt: skip


def maps(forward):
    return Net(
        forward, a=nn.Conv2d(2, 4, 3, padding=1), a2=nn.Conv2d(4, 4, 3, padding=1, bias=False),
        b=nn.Conv2d(4, 3, (2, 1)),
        again=nn.Conv2d(2, 4, 3, padding=1), first=nn.Conv2d(2, 3, 2), norm=nn.BatchNorm2d(4), norm2=nn.BatchNorm2d(2),
        norm8=nn.BatchNorm2d(8, affine=False), wide=nn.Conv2d(8, 3, 1), fc=nn.Linear(4 * 9 * 6, 4), fc4=nn.Linear(4, 4),
        fcx=nn.Linear(2 * 9 * 6, 4), down=nn.Conv2d(4, 6, 3, 2, 1), one=nn.Conv2d(4, 6, 1, 2),
        zero=nn.ZeroPad2d((0, 1, 2, 1)), uneven=nn.Conv2d(4, 4, 3, 2, groups=4),
        uneven2=nn.Conv2d(4, 4, 3, 2, bias=False), tall_kernel=nn.Conv2d(2, 4, (10, 4), 2),
        wider=nn.Conv2d(4, 6, 3, 2, 1), wider2=nn.Conv2d(4, 6, 3, (1, 2), 1), depth=nn.Conv2d(4, 4, 3, 2, 1, groups=4),
        valid=nn.Conv2d(4, 3, (1, 2), padding="valid"), same=nn.Conv2d(3, 3, (3, 5), padding="same"),
        tall=nn.Conv2d(3, 2, (3, 1), (2, 1), (2, 0)), even=nn.Conv2d(2, 2, (2, 4), padding="same"),
        to1=nn.Conv2d(2, 1, 3),
        spread=nn.Conv2d(2, 4, 3, 2, (2, 3), (2, 3)), taps=nn.Conv2d(4, 4, (2, 3), 1, "same", (3, 2), groups=4),
        evens=nn.Conv2d(4, 3, (4, 2), padding="same", dilation=(1, 3)), large=nn.Conv2d(2, 4, 11, 4, 5),
        from1=nn.Conv2d(1, 3, 3), groups=nn.Conv2d(4, 6, 3, 2, 1, groups=2),
        pairs=nn.Conv2d(4, 2, (2, 3), padding=1, dilation=(1, 2), groups=2), multiplied=nn.Conv2d(4, 12, 3, groups=4),
        point12=nn.Conv2d(12, 2, 1), point=nn.Conv2d(4, 3, 1), narrow=nn.Conv2d(4, 4, (3, 1)),
    )  # fmt: skip


def lines(forward):
    return Net(
        forward, a=nn.Conv1d(3, 4, 3, padding=1), a2=nn.Conv1d(3, 4, 3), norm=nn.BatchNorm1d(4),
        fc=nn.Linear(20, 2),
        spread=nn.Conv1d(4, 2, 3, 2, 2, 3), long=nn.Conv1d(3, 4, 11, 4, 5), same=nn.Conv1d(4, 4, 4, padding="same"),
        down=nn.Conv1d(3, 4, 5, 2, 2), depth=nn.Conv1d(4, 4, 3, groups=4),
        groups=nn.Conv1d(4, 6, 3, groups=2), multiplied=nn.Conv1d(3, 6, 5, 2, groups=3),
    )  # fmt: skip


class Dilated(nn.Module):
    """A temporal convolutional network: padding on both sides, and the end cut off."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv1d(n, 6, 3, padding=2 * d, dilation=d) for n, d in ((3, 1), (6, 2)))
        self.down, self.fc = nn.Conv1d(3, 6, 1), nn.Linear(6, 4)

    def forward(self, x):
        h = self.first(x)[:, :, :-2].contiguous().relu()
        h = self.second(h)[:, :, :-4].contiguous().relu()
        return self.fc((h + self.down(x)).relu()[:, :, -1])


def refuse_vectors(message, forward):
    """Capturing a model of :func:`vectors`, with layers that share or miss something, fails with ``message``."""
    net = vectors(forward)
    net.b2, net.single, net.four, net.twelve = nn.Linear(8, 8), nn.Linear(6, 1), nn.Linear(4, 3), nn.Linear(12, 3)
    net.b2.weight = net.b.weight
    net.bare = nn.BatchNorm1d(8, track_running_stats=False)
    net.tied = nn.Linear(6, 8)
    del net.tied.weight
    net.tied.weight = net.a.weight * 2
    net.count = lambda: True
    if "not recognised" in message:
        net.call = lambda m, x: m.c(torch.relu(m.a(x)) if not torch.is_grad_enabled() else x)
        net.a.register_forward_hook(lambda module, args, result: result.mul_(2))
    with pytest.raises(DarbError, match=message) as caught:
        capture(net, torch.randn(3, 6))
    assert "\n" not in str(caught.value)


def refuse_maps(message, forward):
    """The same for feature maps."""
    net = Net(
        forward, a=nn.Conv2d(2, 4, 3, padding=1), a2=nn.Conv2d(2, 4, 3, padding=1),
        norm=nn.BatchNorm1d(216),
        fc=nn.Linear(6, 3),
        first=nn.Conv2d(2, 2, 1),
        mirror=nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), last=nn.Conv2d(6, 2, 1), six=nn.Conv2d(6, 2, 1),
        flat=nn.Linear(216, 2), first2=nn.Conv2d(2, 2, 1),
    )  # fmt: skip
    with pytest.raises(DarbError, match=message):
        capture(net, torch.randn(2, 2, 9, 6))
