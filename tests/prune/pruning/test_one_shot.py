"""prune(): every method on a model, ratios, and what it leaves on the modules."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from darb_hw.config import EngineConfig
from darb_hw.plan.plan import Plan
from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError, ModelError
from darb_prune.integer.encoder import encode
from darb_prune.integer.quantization import quantize
from darb_prune.modules.masked import shadow_weight
from darb_prune.patterns.allocation import by_budget, by_density, level_cost
from darb_prune.patterns.masks import level_mask
from darb_prune.pruning.methods import (
    BMWM,
    METHODS,
    NM,
    BankBalanced,
    Darb,
    Irregular,
    Mixed,
    Unpruned,
    encodable,
    methods_with,
    parse,
)
from darb_prune.pruning.one_shot import prune
from darb_prune.training.batches import Batches
from darb_prune.training.heads import IGNORED, HeadLoss
from darb_prune.training.loop import finetune


def model(*sizes):
    layers = []
    for columns, rows in itertools.pairwise(sizes):
        layers += [nn.Linear(columns, rows), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def kept(net):
    return sum(int(layer.weight.count_nonzero()) for layer in net if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("neurons", "channels")])
@pytest.mark.parametrize("order", ["none", "spread"])
@pytest.mark.parametrize("ratio", [1, 2.5, 13, 100])
def test_methods_and_ratios(method, order, ratio):
    net = model(64, 128, 64, 10)
    dense = [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]
    if ratio == 100 and method in ("bmwm", "bank", "nm"):  # one weight a row is a ratio of 84
        with pytest.raises(DarbError, match="keeps at least 202 weights, the ratio allows 170; lower the ratio"):
            prune(net, ratio, parse(method, {"order": order}))
        return
    left = prune(net, ratio, parse(method, defaults={"order": order}))
    assert left.weights == 17024
    assert left.kept == kept(net)
    if method == "dense":
        assert left.ratio == 1
        assert not torch_prune.is_pruned(net)
    elif method in ("darb", "mixed", "irregular"):
        # Never below the ratio; above it by less than one row's smallest step.
        assert ratio <= left.ratio < ratio * 1.06
    elif ratio < 64:
        assert ratio * 0.999 <= left.ratio < ratio * 2.6
    for layer, weight in zip((net[0], net[2], net[4]), dense, strict=True):
        assert torch.equal(shadow_weight(layer), weight)
        assert hasattr(layer, "weight_level") == (method in encodable() and method != "dense")
        if hasattr(layer, "weight_level"):
            mask = level_mask(weight, layer.weight_level, layer.weight_order)
            assert torch.equal(layer.weight_mask.bool(), mask)
            assert torch.equal(layer.weight_order, torch.arange(weight.shape[1])) == (order == "none")
    if method in encodable():
        assert encode(quantize(net, torch.rand(20, 64))).kept == left.kept


def test_uniform_methods_choose_the_densest_level_that_is_sparse_enough():
    cases = [("bmwm", 13, (4, 1)), ("bmwm", 16, (4, 1)), ("bank", 13, (6, 4)), ("bank", 64, (6, 1))]
    for method, ratio, level in [*cases, ("nm", 4, (4, 4)), ("nm", 13, (4, 1)), ("nm", 20, (5, 1))]:
        net = model(64, 8)
        prune(net, ratio, method)
        assert {tuple(pair) for pair in net[0].weight_level.tolist()} == {level}, (method, ratio)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1, 60), st.sampled_from(["codes", "bits"]))
def test_budget_is_never_exceeded(columns, rows, ratio, budget):
    net = model(columns, rows, 3)
    prune(net, ratio, Mixed(budget=budget))
    cost = sum(
        level_cost(Level(b, m), layer.in_features, budget)
        for layer in (net[0], net[2])
        for b, m in layer.weight_level.tolist()
    )
    assert cost <= (columns * rows + rows * 3) * (8 if budget == "bits" else 1) / ratio


@given(st.integers(1, 200), st.integers(1, 20), st.floats(1, 60), st.sampled_from(["bmwm", "bank", "nm"]))
def test_uniform_methods_never_miss_the_ratio_from_below(columns, rows, ratio, method):
    net = model(columns, rows, 3)
    try:
        assert prune(net, ratio, method).ratio >= ratio * (1 - 1e-6)
    except DarbError:
        assert (rows + 3) * ratio > columns * rows + rows * 3


@pytest.mark.parametrize("allocation", ["budget", "density"])
@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_levels_do_not_depend_on_the_scale_of_the_weights(allocation, scale):
    one = model(64, 32, 10)
    other = copy.deepcopy(one)
    with torch.no_grad():
        for index in (0, 2):
            other[index].weight *= scale
    for net in (one, other):
        prune(net, 8, Darb(allocation=allocation, saliency="magnitude"))
    for index in (0, 2):
        same = (one[index].weight_level == other[index].weight_level).all(dim=1)
        assert same.double().mean() > 0.9


def test_a_pruned_model_can_be_copied():
    net = model(64, 32, 10)
    prune(net, 8)
    other = copy.deepcopy(net)
    assert torch.equal(other[0].weight, net[0].weight)
    finetune(net, [(torch.rand(8, 64), torch.zeros(8, dtype=torch.int64))], 2, progress=False)
    assert torch.equal(copy.deepcopy(net)[0].weight, net[0].weight_orig * net[0].weight_mask)
    prune(net, 8, "irregular")
    copy.deepcopy(net)


def test_budget_of_bits_is_met():
    net = model(64, 128, 64, 10)
    prune(net, 10, Darb(budget="bits"), weight_bits=4)
    bits = sum(
        level_cost(Level(b, m), layer.in_features, "bits", 4)
        for layer in (net[0], net[2], net[4])
        for b, m in layer.weight_level.tolist()
    )
    assert 0.99 < bits / (17024 * 4 / 10) <= 1


@pytest.mark.parametrize(("allocation", "choose"), [("budget", by_budget), ("density", by_density)])
def test_levels_are_chosen_for_the_columns_as_stored(allocation, choose):
    net = model(64, 32)
    with torch.no_grad():
        net[0].weight[:16, :16] *= 10
    prune(net, 8, Darb(allocation=allocation))
    stored = shadow_weight(net[0])[:, net[0].weight_order]
    assert torch.equal(net[0].weight_level, choose([stored], 64 * 32 / 8)[0])
    if allocation == "budget":
        assert not torch.equal(net[0].weight_level, choose([shadow_weight(net[0])], 64 * 32 / 8)[0])


def test_pruning_again_starts_from_the_shadow_weights():
    first, second = model(64, 32, 10), model(64, 32, 10)
    second.load_state_dict(first.state_dict())
    prune(first, 25, BankBalanced())
    prune(first, 9, Irregular())
    prune(first, 4)
    prune(second, 4)
    for key, value in second.state_dict().items():
        assert torch.equal(first.state_dict()[key], value), key
    prune(first, method=Unpruned())
    assert set(first.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_parameters_keep_their_identity():
    net = model(64, 32, 10)
    before = {id(parameter) for parameter in net.parameters()}
    prune(net, 4)
    prune(net, 6)
    assert {id(parameter) for parameter in net.parameters()} == before


def test_excluded_layers_stay_dense_but_count():
    net = model(64, 128, 64, 10)
    left = prune(net, 13, exclude=["4"])
    assert not torch_prune.is_pruned(net[4])
    assert 13 <= left.ratio < 13.1
    prune(net, 2)
    prune(net, 13, exclude=["4"])
    assert not torch_prune.is_pruned(net[4])


def test_custom_levels():
    net = model(64, 32)
    prune(net, 8, Mixed(levels=[EMPTY, Level(4, 2)]))
    assert {tuple(pair) for pair in net[0].weight_level.tolist()} <= {(0, 0), (4, 2)}
    prune(net, 8, Darb(levels=[Level(3, 1)]))
    assert {tuple(pair) for pair in net[0].weight_level.tolist()} == {(3, 1)}


def test_spread_order_retains_more_of_clustered_columns():
    net = model(64, 32)
    with torch.no_grad():
        net[0].weight[:, :16] *= 10  # all strong columns in one place
    saliency = {}
    for order in ("none", "spread"):
        prune(net, 8, Darb(order=order))
        saliency[order] = float(net[0].weight.detach().square().sum())
    assert saliency["spread"] > 1.2 * saliency["none"]


@pytest.mark.parametrize(
    ("options", "exclude"),
    [({}, []), ({"budget": "bits"}, []), ({"budget": "cycles", "lanes": 4}, []), ({"lanes": 4}, []), ({}, ["4"])],
)
def test_layers_that_are_used_more_often_keep_fewer_weights(options, exclude):
    """The ratio divides what is run: here three layers alike, of which two are run five times as often."""
    net = model(32, 32, 32, 32)
    prune(net, 2, Mixed(**options), exclude=exclude)
    alike = int(net[0].weight.count_nonzero())
    prune(net, 2, Mixed(**options), exclude=exclude, uses={"0": 5, "4": 5})
    spent = 0
    for layer, use in zip((net[0], net[2], net[4]), (5, 1, 5), strict=True):
        levels = layer.weight_level if hasattr(layer, "weight_level") else torch.tensor([[0, 1]] * 32)
        pairs, counts = torch.unique(levels, dim=0, return_counts=True)
        for (b, m), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            rows = -(-count // 4) * 4 if options.get("budget") == "cycles" else count
            spent += use * rows * level_cost(Level(b, m), 32, "bits" if options.get("budget") == "bits" else "codes")
    room = (5 + 1 + 5) * 32 * 32 * (8 if options.get("budget") == "bits" else 1) / 2
    assert 0.98 * room < spent <= room
    assert net[0].weight.count_nonzero() < net[2].weight.count_nonzero()
    assert exclude or int(net[0].weight.count_nonzero()) < 0.95 * alike


@pytest.mark.parametrize("saliency", ["taylor", "fisher"])
def test_gradients_are_those_of_the_loss(saliency):
    """Of two tasks one has no labels: what makes its outputs is worth nothing."""
    net = model(64, 32, 10)
    labels = torch.stack([torch.arange(40) % 6, torch.full((40,), IGNORED)], 1)
    loader = Batches(torch.rand(40, 64), labels, 8)
    prune(net, 4, Darb(saliency=saliency), samples=loader, loss=HeadLoss((6, 4)))
    kept = net[2].weight.count_nonzero(dim=1)
    assert kept[:6].all()
    assert not kept[6:].any()


@pytest.mark.parametrize("name", ["darb", "mixed", "bmwm", "bank", "nm", "irregular", "block", "rows", "columns"])
def test_what_is_worth_most_stays(name):
    """Some inputs are always 0: gradients of their weights are too, so they are worth nothing, however large."""
    net = model(64, 32, 10)
    inputs = torch.rand(80, 64)
    inputs[:, 1::2] = 0
    with torch.no_grad():
        net[0].weight[:, 1::2] *= 100
    options = {"shape": "8x1"} if name == "block" else {"order": "none"} if name in methods_with("order") else {}
    loader = Batches(inputs, torch.arange(80) % 10, 8)
    others = {"exclude": ["2"], "samples": loader}
    prune(net, 1.7, parse(name, {"saliency": "magnitude", **options}), **others)
    heavy = (net[0].weight != 0)[:, 1::2].double().mean()
    prune(net, 1.7, parse(name, {"saliency": "taylor", **options}), **others)
    useful = (net[0].weight != 0)[:, 0::2].double().mean()
    idle = (net[0].weight != 0)[:, 1::2].double().mean()
    if name == "rows":
        assert heavy == idle == useful  # whole rows have both
    else:
        assert heavy > idle + 0.2
        assert useful > idle + 0.2


@pytest.mark.parametrize("saliency", ["mean", "row", "taylor"])
def test_levels_that_follow_densities_are_those_of_magnitudes(saliency):
    net = model(64, 32, 10)
    with torch.no_grad():
        net[0].weight *= 3
    loader = Batches(torch.rand(80, 64), torch.arange(80) % 10, 8)
    plain, other = (copy.deepcopy(net) for _ in range(2))
    prune(plain, 4, Darb(allocation="density", saliency="magnitude"))
    prune(other, 4, Darb(allocation="density", saliency=saliency), samples=loader)
    for layer in (0, 2):
        assert torch.equal(plain[layer].weight_level, other[layer].weight_level)
        assert torch.equal(plain[layer].weight_mask, other[layer].weight_mask)
    assert plain[0].weight_mask.mean() > plain[2].weight_mask.mean()


@pytest.mark.parametrize("saliency", ["taylor", "fisher"])
def test_a_task_that_was_learnt_better_keeps_its_weights(saliency):
    """Outputs of one task are so sure that its gradients are nearly 0; both tasks keep weights all the same."""
    net = model(64, 32, 12)
    with torch.no_grad():
        net[2].bias[0] += 12  # always right, below
    labels = torch.stack([torch.zeros(200, dtype=torch.int64), torch.arange(200) % 6], 1)
    loader = Batches(torch.rand(200, 64), labels, 8)
    prune(net, 4, Darb(saliency=saliency), samples=loader, loss=HeadLoss((6, 6)))
    first, second = (int(half.count_nonzero()) for half in net[2].weight.split(6))
    assert 0.25 < first / second < 4


def darb(net, ratio, method="darb", exclude=(), weight_bits=8, uses=None, **options):
    """Pruning by a method of that name and options, as commands and files give them."""
    return prune(net, ratio, parse(method, options), exclude=exclude, weight_bits=weight_bits, uses=uses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": "8"}, "ratio '8' must be a number from 1 up"),
        ({"ratio": 0.9}, "ratio 0.9 must be a number from 1 up"),
        ({"ratio": float("nan")}, "ratio nan"),
        ({"ratio": float("inf")}, "ratio inf"),
        ({"method": "magic"}, "method 'magic': choose one of darb, mixed"),
        ({"allocation": "luck"}, "allocation 'luck': choose one of budget, density"),
        ({"order": "chaos"}, "order 'chaos'"),
        ({"budget": "euro"}, "budget 'euro': choose one of codes, bits"),
        ({"exclude": ["3"]}, "exclude '3': no such layer; the model has 0, 2"),
        ({"exclude": ["0", "2"]}, "the excluded layers alone are larger"),
        ({"levels": [Level(3, 2)]}, r"level \(3, 2\): method darb keeps one weight a block; use method mixed"),
        ({"ratio": 13, "levels": [Level(1, 1)]}, "sparsest choice costs"),
        ({"uses": {"1": 2}}, "uses '1': no such layer; the model has 0, 2"),
        ({"uses": {"0": 0}}, "uses '0': 0 is no whole number from 1 up"),
        ({"uses": {"0": 1.5}}, "uses '0': 1.5 is no whole number from 1 up"),
        ({"uses": {"0": 2}, "method": "bank"}, "uses: method bank does not weigh layers .* use darb or mixed, with"),
        ({"uses": {"0": 2}, "method": "irregular"}, "uses: method irregular does not weigh layers"),
        ({"uses": {"0": 2}, "allocation": "density"}, "uses: method darb .* with allocation budget"),
    ],
)
def test_mistakes_leave_the_model_alone(options, message):
    net = model(16, 8, 4)
    prune(net, 3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(DarbError, match=message):
        darb(net, **{"ratio": 13} | options)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


def test_nan_weight_is_named():
    net = model(16, 8, 4)
    with torch.no_grad():
        net[2].weight[3, 1] = float("nan")
    with pytest.raises(DarbError, match="layer '2', row 3: weight or bias is NaN"):
        prune(net, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nm", "group": 16, "kept": 2}, "group and kept exclude each other"),
        ({"method": "nm", "kept": 1000}, "kept 1000: the widest rows have segments of 64 columns"),
        ({"method": "bmwm", "kept": 2}, "kept: method bmwm has no such option; methods that have it: bank, nm"),
        ({"method": "bmwm", "group": 6}, "method bmwm: blocks are powers of two with one weight each"),
        ({"method": "nm", "kept": 0}, "kept 0 must be at least 1"),
        (
            {"method": "bank", "budget": "bits"},
            "budget: method bank has no such option; methods that have it: darb, mixed",
        ),
        ({"method": "bank", "keep": 2}, "keep: no such option; choose from saliency, order, group, kept"),
        ({"budget": "cycles"}, "lanes None: a budget of cycles needs the number of lanes"),
        ({"weight_bits": 0}, "weight bits 0 must be at least 1"),
        ({"saliency": "luck"}, "saliency 'luck': choose one of mean"),
        ({"saliency": "taylor"}, "saliency taylor: needs gradients; give samples"),
        ({"method": "block", "scope": "row"}, "scope 'row': choose one of global, layer"),
    ],
)
def test_what_does_not_fit_together_leaves_the_model_alone(options, message):
    net = model(64, 32, 10)
    with pytest.raises(DarbError, match=message):
        darb(net, 4, **options)
    assert not torch_prune.is_pruned(net)


def test_groups_that_are_powers_of_two_have_levels():
    net = model(64, 32, 16)
    prune(net, 8, NM(kept=2))
    assert {tuple(pair) for pair in net[0].weight_level.tolist()} == {(4, 2)}
    prune(net, 6, NM(kept=2))
    assert not hasattr(net[0], "weight_level")
    assert net[0].weight_order.shape == (64,)
    prune(net, 8, BMWM(group=8))
    assert {tuple(pair) for pair in net[0].weight_level.tolist()} == {(3, 1)}


def test_an_order_is_searched_for_groups_of_any_size():
    torch.manual_seed(0)
    net = model(65, 32, 16)

    def energy(order: str) -> float:
        prune(net, 6, NM(kept=2, order=order))
        return float((net[0].weight.detach() ** 2).sum())

    assert energy("search") > 1.02 * energy("none")
    assert not hasattr(net[0], "weight_level")


def test_an_excluded_layer_passes_the_order_on():
    net = model(64, 32, 16)
    prune(net, 1.1, exclude=["0"])
    other = copy.deepcopy(net)
    prune(other, 3, Darb(order="spread"))
    assert torch.equal(net[2].weight_order, other[2].weight_order)
    assert net[2].weight_order.tolist() != list(range(32))


@pytest.mark.parametrize("saliency", ["taylor", "fisher"])
def test_gradients_take_nothing_from_the_loader_and_skip_frozen_layers(saliency):
    net = model(64, 32, 10)
    net[0].weight.requires_grad_(False)
    loader = Batches(torch.rand(40, 64), torch.arange(40) % 10, 8)
    prune(net, 4, Darb(saliency=saliency), samples=loader)
    assert loader.state() == 0
    assert net[2].weight.count_nonzero() > 0


def convolutions():
    """Convolutions and a linear layer, whose rows differ as much as trained ones."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    with torch.no_grad():
        for layer in convolution_layers(net):
            layer.weight.mul_(torch.empty(layer.out_channels, 1, 1, 1).log_normal_(0, 0.4))
            layer.weight.mul_(torch.empty_like(layer.weight).log_normal_(0, 0.5))
    return net


def convolution_layers(net):
    return [layer for layer in net if isinstance(layer, nn.Conv2d) and layer.groups == 1]


@pytest.mark.parametrize("budget", ["codes", "bits", "cycles"])
def test_one_position_and_one_result_are_the_engine_without_them(budget):
    net = convolutions()
    other = copy.deepcopy(net)
    prune(net, 6, Darb(lanes=8, budget=budget))
    prune(other, 6, Darb(lanes=8, budget=budget, positions=1, results=1))
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


@pytest.mark.parametrize("method", ["darb", "mixed"])
@pytest.mark.parametrize(("lanes", "positions", "results"), [(16, 8, 2), (16, 16, 2), (32, 16, 4)])
def test_lanes_over_positions_waste_no_cycles_on_short_rows(method, lanes, positions, results):
    """Against rows that may be short: as many weights are kept, and the engine takes no more cycles."""
    net = convolutions()
    other = copy.deepcopy(net)
    chosen = parse(method, {"lanes": lanes, "positions": positions, "results": results})
    kept = [prune(net, 5, chosen).kept, prune(other, 5, parse(method, {"lanes": chosen.streams})).kept]
    assert abs(kept[0] / kept[1] - 1) < 0.01
    for layer in convolution_layers(net):
        pairs, counts = torch.unique(layer.weight_level, dim=0, return_counts=True)
        assert not (counts % chosen.streams).any()
        widths = (layer.in_channels * layer.kernel_size[1],) * layer.kernel_size[0]
        assert min(level_cost(Level(b, m), widths) for b, m in pairs.tolist()) >= chosen.floor
    assert not torch_prune.is_pruned(net[4])
    config = EngineConfig(lanes=lanes, positions=positions, results=results)
    cycles = [
        Plan.make(encode(quantize(each, torch.rand(4, 3, 16, 16))), config).timing.compute for each in (net, other)
    ]
    assert cycles[0] <= cycles[1]


def test_rows_with_the_codes_of_the_floor_take_as_long_as_empty_ones():
    net = nn.Sequential(nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 8, 1))
    cycles = []
    for levels in (["0,0"], ["6,1"], ["3,1"], ["2,1"]):
        prune(net, 1.5, Darb(levels=levels, order="none"), exclude=["2"])
        network = encode(quantize(net, torch.rand(4, 64, 8, 8)))
        cycles.append(Plan.make(network, EngineConfig(lanes=16, positions=8, results=2)).timing.compute)
    assert max(cycles[:3]) - min(cycles[:3]) < 16
    assert cycles[3] - cycles[2] == (32 // 2) * (64 // 8) * (16 - 8)  # groups, tiles, codes above the floor


def test_a_budget_of_cycles_counts_rows_at_once_and_their_results():
    net = convolutions()
    method = Darb(budget="cycles", lanes=16, positions=8, results=2)
    prune(net, 3, method, example=torch.rand(1, 3, 16, 16))
    tiles = [16 * 16 // 8, 16 * 16 // 8, 16 * 16 // 8, 8 * 8 // 8, 1]
    spent = dense = 0
    for layer, times in zip([*convolution_layers(net), net[-1]], tiles, strict=True):
        conv = isinstance(layer, nn.Conv2d)
        widths = (layer.in_channels * layer.kernel_size[1],) * layer.kernel_size[0] if conv else (layer.in_features,)
        pairs, counts = torch.unique(layer.weight_level, dim=0, return_counts=True)
        dense += times * -(-len(layer.weight) // method.streams) * sum(widths)
        for (b, m), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            codes = level_cost(Level(b, m), widths)
            spent += times * -(-count // method.streams) * max(codes, method.floor)
    assert 0.97 * dense / 3 < spent <= dense / 3
    with pytest.raises(
        DarbError, match=r"^ratio: writing all results takes \d+ cycles, .*, and the budget is \d+; lower the ratio$"
    ):
        prune(net, 40, method)


def lenet():
    """Most of its weights run once, most of its cycles are those of convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "most"),
    [({"lanes": 8}, 8), ({"lanes": 16}, 4), ({"lanes": 32}, 2), ({"lanes": 16, "positions": 8, "results": 2}, 8)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_budget_of_cycles_is_kept_by_the_engine(engine, most):
    """Also by one with more lanes than a convolution has rows, down to what writing the results takes."""
    net, inputs = lenet(), torch.rand(2, 1, 24, 24)

    def cycles():
        return Plan.make(encode(quantize(net, inputs)), EngineConfig(**engine)).timing.compute

    prune(net, 1, "dense")
    dense = cycles()
    assert prune(net, 1, Darb(budget="cycles", **engine), example=inputs).ratio == 1
    for ratio in (1.5, most):
        pruned = prune(net, ratio, Darb(budget="cycles", **engine), example=inputs)
        assert 0.85 < cycles() * ratio / dense < 1.15, ratio
    if most == 8:
        prune(net, pruned.ratio, Darb(**engine), example=inputs)  # as many weights, wherever they are worth most
        assert cycles() > 1.1 * dense / most
    with pytest.raises(
        DarbError, match=r"^ratio: writing all results takes \d+ cycles, .*, and the budget is \d+; lower the ratio$"
    ):
        prune(net, 30, Darb(budget="cycles", **engine), example=inputs)


def test_layers_that_a_budget_of_cycles_leaves_dense_take_theirs():
    net, inputs, method = lenet(), torch.rand(1, 1, 24, 24), Darb(budget="cycles", lanes=8)
    prune(net, 4, method, exclude=["7"], example=inputs)  # more than a quarter of the weights, few of the cycles
    assert not torch_prune.is_pruned(net[7])
    with pytest.raises(DarbError, match="ratio 4 cannot be reached: the excluded layers alone take longer; exclude"):
        prune(net, 4, method, exclude=["3"], example=inputs)


def test_a_budget_of_cycles_and_uses():
    """A layer that is run four times as often keeps less than another of the same weights."""
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    with torch.no_grad():
        net[2].weight.copy_(net[0].weight)
    prune(net, 4, Darb(budget="cycles", lanes=4, order="none"), uses={"0": 4})
    kept = [int(net[number].weight_mask.sum()) for number in (0, 2)]
    assert kept[0] < kept[1]
    assert 4 * kept[0] + kept[1] <= 5 * 64 * 64 / 4


class Shaped(nn.Module):
    """Convolutions with an operator between them and a Linear layer that reads their map."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(2, 8, 3, padding=1)
        self.mixed = nn.Conv2d(8, 8, 8)
        self.fc = nn.Linear({"cat": 1024, "clamp": 512, "pad": 648, "squeeze": 8, "permute": 8}[kind], 4)

    def forward(self, x):
        x, other = self.first(x).relu(), self.second(x).relu()
        if self.kind == "cat":
            x = torch.cat([x, other], dim=1).flatten(1)
        elif self.kind == "clamp":
            x = x.clamp(0, 3).flatten(1)
        elif self.kind == "pad":
            x = nn.functional.pad(x, (1, 0, 0, 1)).flatten(1)
        elif self.kind == "squeeze":
            x = self.mixed(x).squeeze(3).squeeze(2)
        else:
            x = self.mixed(x).permute(0, 2, 3, 1).flatten(1)
        return self.fc(x)


@pytest.mark.parametrize("order", ["none", "spread", "search"])
@pytest.mark.parametrize("kind", ["cat", "clamp", "pad", "squeeze", "permute"])
def test_what_is_pruned_is_encoded(kind, order):
    net, inputs = Shaped(kind), torch.randn(4, 2, 8, 8)
    prune(net, 4, Darb(order=order), example=inputs)
    integer = quantize(net, inputs)
    vectors = integer.vectors(encode(integer), inputs)
    assert vectors.samples == 4


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 16), nn.Linear(1024, 4)

    def forward(self, x):
        x = self.conv(x)
        return self.head((x + self.fc(x.mean((2, 3))).cumsum(1)[:, :, None, None]).flatten(1))


def test_what_cannot_be_captured_is_refused_at_once_and_by_name():
    net = Squeeze()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ModelError, match="model: operator cumsum is not supported"):
        prune(net, 4, example=torch.randn(1, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    prune(net, 4, Irregular())  # has no encoding anyway, and can be compared


def test_inputs_are_taken_from_the_samples():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 3 * 5, 2)

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    loader = Batches(torch.randn(6, 1, 5, 7), torch.zeros(6, dtype=torch.int64), 2)
    with pytest.raises(ModelError, match="Wide: no input that it takes was found; give an example of one"):
        prune(Wide(), 2)
    prune(Wide(), 2, samples=loader)
    assert loader.state() == 0
