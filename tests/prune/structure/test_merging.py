"""Networks of one task each, merged: which neurons are shared, what weights begin with, what each task needs."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from darb_prune import encode, merge, prune, quantize
from darb_prune.encoded import layers_of
from darb_prune.errors import DarbError, ModelError
from darb_prune.frontend.capture import capture
from darb_prune.modules.block_term import Modes
from darb_prune.modules.layers import layers as prunable
from darb_prune.structure.block_term import block_term
from darb_prune.structure.merged import Merged, MergedSpeech, again, record_of
from darb_prune.structure.merging import relevance
from darb_prune.structure.record import rebuild
from darb_prune.structure.removal import remove
from darb_prune.structure.units import units_of
from darb_prune.tasks.fsdd import Speech
from darb_prune.training.heads import IGNORED


def mlp(seed, classes=2, widths=(7, 5)):
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            a=nn.Linear(6, widths[0]),
            relu=nn.ReLU(),
            b=nn.Linear(*widths),
            act=nn.ReLU(),
            c=nn.Linear(widths[1], classes),
        )
    )


def lenet(seed, classes=2):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 4, 5), nn.ReLU(), nn.Linear(5, classes),
    )  # fmt: skip


def speech(seed, classes=2):
    torch.manual_seed(seed)
    return Speech(bands=4, units=6, classes=classes)


MAKERS = {"mlp": (mlp, (40, 6)), "lenet": (lenet, (40, 1, 8, 8)), "speech": (speech, (40, 5, 4))}


def merged_of(kind, share, tasks=2):
    make, shape = MAKERS[kind]
    torch.manual_seed(9)
    inputs, names = torch.randn(shape), "pqrs"[:tasks]
    models = {name: make(number, number + 2) for number, name in enumerate(names)}
    labels = torch.stack([torch.arange(shape[0]) % (number + 2) for number in range(tasks)], 1)
    return models, inputs, merge(models, inputs, labels, share)


def test_relevance_is_what_classes_explain():
    labels = torch.tensor([0, 0, 1, 1, IGNORED])
    told, silent, constant = [1.0, 1.1, -1.0, -1.1, 7.0], [1.0, -1.0, 1.0, -1.0, 7.0], [3.0] * 5
    values = torch.tensor([told, silent, constant]).T[:, :, None]
    found = relevance(values, labels)
    ratio = 1 - 0.05**2 / (1.05**2 + 0.05**2)  # of the variance lies between the classes
    torch.testing.assert_close(
        found, torch.tensor([-torch.tensor(1 - ratio).log() / 2, 0.0, 0.0]), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("kind", MAKERS)
def test_without_shared_neurons_each_task_is_its_network(kind):
    models, inputs, merged = merged_of(kind, 0.0)
    wanted = torch.cat([model(inputs) for model in models.values()], 1)
    torch.testing.assert_close(merged(inputs), wanted)


@pytest.mark.parametrize("tasks", [2, 3, 4])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_task_has_as_many_neurons_as_its_network(kind, tasks):
    _, inputs, merged = merged_of(kind, 0.5, tasks)
    for widths, width in zip(merged.widths, {"mlp": (7, 5), "lenet": (4, 6, 5), "speech": (6,)}[kind], strict=True):
        assert widths["shared"] == round(width / 2)
        assert [widths["shared"] + widths[head] for head in merged.heads] == [width] * tasks
    assert merged(inputs).shape == (40, sum(range(2, 2 + tasks)))


@pytest.mark.parametrize("kind", MAKERS)
def test_all_neurons_may_be_shared(kind):
    _, inputs, merged = merged_of(kind, 1.0)
    assert {*merged.widths[0]} == {"shared"}
    assert merged(inputs).shape == (40, 5)


def test_cross_weights_begin_at_zero():
    """Of each neuron all weights come from its own network: those of a shared layer are blocks."""
    models, _, merged = merged_of("mlp", 1.0)
    weight = merged.b["shared"].weight
    assert weight.shape == (5, 7)
    originals = {name: {*model.b.weight.flatten().tolist()} for name, model in models.items()}
    for row in weight.tolist():
        owners = [{name for name, values in originals.items() if value in values} for value in row if value]
        assert len({frozenset(owner) for owner in owners}) == 1
        assert 0 in row


@pytest.mark.parametrize("kind", MAKERS)
def test_what_another_task_needs_is_left_out(kind):
    models, inputs, merged = merged_of(kind, 0.5)
    integer = quantize(merged, inputs)
    network = encode(integer, tasks=merged.heads)
    names = [layer.name for layer in network.layers]
    for number, (mine, other) in enumerate((("p", "q"), ("q", "p"))):
        ran = {names[layer] for layer in layers_of(network, 1 << number)}
        assert any(mine in name.split(".") for name in ran)
        assert any("shared" in name for name in ran)
        assert not any(other in name.split(".") for name in ran)
    assert len(models) == 2


@pytest.mark.parametrize("tasks", [2, 3, 4])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_part_is_used_in_the_subsets_that_run_it(kind, tasks):
    _, inputs, merged = merged_of(kind, 0.5, tasks)
    network = encode(quantize(merged, inputs), tasks=merged.heads)
    ran = [layer for subset in range(1, 1 << tasks) for layer in layers_of(network, subset)]
    counts = {layer.name: ran.count(number) for number, layer in enumerate(network.layers)}
    assert {*merged.uses()} == {layer.name for layer in prunable(merged)}
    for part, use in merged.uses().items():
        own = [count for name, count in counts.items() if f"{name}.".startswith(f"{part}.") and "copy" not in name]
        assert own == [use] * (3 if part.startswith("gru") else 1)


def test_the_shared_part_is_pruned_harder_if_subsets_count():
    merged = merged_of("mlp", 0.5)[2]
    parts = {"shared": 3, "p": 2, "q": 2}
    kept = {}
    for uses in (None, merged.uses()):
        prune(merged, 2, uses=uses)
        kept[uses is None] = {
            part: sum(int(layer.mask().sum()) for layer in prunable(merged) if layer.name.endswith(part))
            for part in parts
        }
    assert kept[False]["shared"] < kept[True]["shared"]
    dense = sum(parts[layer.name.split(".")[-1]] * layer.weights for layer in prunable(merged))
    assert sum(use * kept[False][part] for part, use in parts.items()) <= dense / 2


def normed(seed, classes=2, **options):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4, **options), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5, **options), nn.ReLU(),
        nn.Linear(5, classes),
    )  # fmt: skip
    for _ in range(3):
        net(torch.randn(20, 1, 8, 8) * 2 + 1)
    return net.eval()


@pytest.mark.parametrize("options", [{}, {"affine": False}])
def test_normalisation_becomes_part_of_the_layer_before(options):
    models = {name: normed(number, number + 2, **options) for number, name in enumerate("pq")}
    before = {name: value.clone() for name, value in models["p"].state_dict().items()}
    inputs, labels = torch.randn(40, 1, 8, 8), torch.stack([torch.arange(40) % 2, torch.arange(40) % 3], 1)
    merged = merge(models, inputs, labels, 0.0)
    torch.testing.assert_close(merged(inputs), torch.cat([model(inputs) for model in models.values()], 1))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    merged = merge(models, inputs, labels, 0.5)
    state = merged.state_dict()
    made = again(normed(7, 5, **options), record_of(merged), state)
    made.load_state_dict(state)
    torch.testing.assert_close(made.eval()(inputs), merged(inputs))
    assert all(torch.equal(value, before[name]) for name, value in models["p"].state_dict().items())
    assert (merged.training, models["p"].training) == (False, False)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_record_makes_the_same_network(kind):
    _, inputs, merged = merged_of(kind, 0.5)
    prune(merged, 2, example=inputs[:1])
    state = merged.state_dict()
    made = again(MAKERS[kind][0](3, 5), record_of(merged), state)
    plain = {name.removesuffix("_orig") for name in state if "mask" not in name and "level" not in name}
    assert {*made.state_dict()} == {name for name in plain if "order" not in name}


RECORDS = [
    ({"heads": None}, "has no heads or widths"),
    ({"widths": [{}]}, "has no heads or widths"),
    ({"widths": [3, 4]}, "has no heads or widths"),
    ({"widths": [{"shared": 1 << 40}, {"shared": 5}]}, "layer 'a' has no part 'shared' of 1099511627776 neurons"),
    ({"widths": [{"other": 4}, {"shared": 5}]}, "layer 'a' has no part 'other' of 4 neurons"),
    ({"heads": {"p": 2, "q": 3.0}}, "layer 'c' has no part 'q' of 3.0 neurons"),
    ({"heads": {"p": 2}}, "layer 'a' has no part 'q' of"),
    ({"heads": {"p": 2}, "widths": [{"p": 4}, {"p": 4}]}, "1 tasks; merge takes 2 to 4 networks"),
    ({"heads": {"p": 2, "q": 6}}, "layer 'c' has no part 'q' of 6 neurons"),
]


@pytest.mark.parametrize(("changes", "message"), RECORDS)
def test_records_are_checked(changes, message):
    _, _, merged = merged_of("mlp", 0.5)
    with pytest.raises(ModelError, match=message):
        again(mlp(0, 5), record_of(merged) | changes, merged.state_dict())


@pytest.mark.parametrize("kind", MAKERS)
def test_other_passes_follow(kind):
    """Units are taken out of a merged network, and records make the same network again."""
    _, inputs, merged = merged_of(kind, 0.5)
    records = [record_of(merged)]
    units = units_of(capture(merged, inputs[:1]))
    records.append(remove(merged, units, torch.arange(units.size) % 2 == 0))
    made = rebuild(MAKERS[kind][0](3, 5), records, merged.state_dict()).eval()
    made.load_state_dict(merged.state_dict())
    assert torch.equal(made(inputs), merged.eval()(inputs))


def test_block_terms_follow():
    _, inputs, merged = merged_of("mlp", 0.0)
    named = {"a.p": Modes((2, 3), (7, 1), (1, 1), 1)}
    records = [record_of(merged), block_term(merged, named=named, example=inputs[:1]).record]
    made = rebuild(mlp(3, 5), records, merged.state_dict()).eval()
    made.load_state_dict(merged.state_dict())
    assert torch.equal(made(inputs), merged.eval()(inputs))
    prune(made, 2, uses=made.uses(), example=inputs[:1])
    assert {*made.uses()} == {"a.q", "b.p", "b.q", "c.p", "c.q"}


def test_modules_that_stand_in_a_network_twice():
    """A function does what it does both times, the networks stay as they are; a layer is refused."""

    def made(seed):
        torch.manual_seed(seed)
        relu = nn.ReLU()
        return nn.Sequential(nn.Linear(6, 8), relu, nn.Linear(8, 8), relu, nn.Dropout(), nn.Linear(8, 3)).eval()

    models, inputs = {"p": made(0), "q": made(1)}, torch.randn(40, 6)
    labels = torch.stack([torch.arange(40) % 3] * 2, 1)
    merged = merge(models, inputs, labels, 0.0).eval()
    torch.testing.assert_close(merged(inputs), torch.cat([model(inputs) for model in models.values()], 1))
    merged.train()
    assert not any(module.training for model in models.values() for module in model.modules())
    twice = {name: model[:3].extend([nn.ReLU(), model[2], nn.ReLU(), model[5]]) for name, model in models.items()}
    refused(twice, "layer '4' stands in the network twice; merge takes layers of their own")


def refused(models, message, labels=None, share=None):
    inputs = torch.randn(8, 6)
    labels = torch.zeros(8, len(models), dtype=torch.int64) if labels is None else labels
    with pytest.raises(DarbError, match=message) as caught:
        merge(models, inputs, labels, share)
    assert "\n" not in str(caught.value)


def test_mistakes_are_named():
    strided = {
        name: nn.Sequential(nn.Conv2d(1, 2, 3, stride, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))
        for name, stride in (("p", 1), ("q", 2))
    }
    refused({"p": mlp(0)}, "1 tasks; merge takes 2 to 4 networks")
    refused({"p": mlp(0), "shared": mlp(1)}, "task 'shared' of 2 outputs: a name is a word other than 'shared'")
    refused({"p": mlp(0), "values": mlp(1)}, "task 'values' of 2 outputs")
    refused({"p": mlp(0), "q": mlp(1, widths=(7, 6))}, "networks 'p' and 'q' are not alike")
    refused(strided, "networks 'p' and 'q' are not alike")
    refused({"p": mlp(0), "q": mlp(1)}, "labels: 2 is no class of task 'p', which has 2", torch.full((8, 2), 2))
    refused({"p": nn.Linear(6, 2), "q": mlp(0)}, "torch.nn.Sequential of layers, not Linear")
    refused({"p": nn.Sequential(nn.Linear(6, 2)), "q": mlp(0)}, "2 layers or more, not 1")
    alone = "layer '2': merge does not know BatchNorm1d there; .* batch normalisation right behind them"
    refused({"p": nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2)), "q": mlp(0)}, alone)
    silent = nn.BatchNorm1d(4, track_running_stats=False)
    refused({"p": nn.Sequential(nn.Linear(6, 4), silent, nn.Linear(4, 2)), "q": mlp(0)}, "layer '1': .* BatchNorm1d")
    two = {"p": mlp(0), "q": mlp(1)}
    refused(two, "share 1.5 must be 0 to 1", share=1.5)
    refused(two, "share '0.5' must be 0 to 1", share="0.5")
    refused(two, r"labels of shape \(8,\); give integers of shape \(8, 2\)", torch.zeros(8, dtype=torch.int64))
    refused(two, "a task has no samples", torch.tensor([[0, IGNORED]] * 8))
    for model in two.values():
        prune(model, 2)
    refused(two, "merge takes networks that are not pruned; merge first")
    refused({"p": nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 4)), nn.Linear(4, 2)), "q": mlp(0)}, "not pruned")


def test_networks_that_are_merged_do_not_change():
    models, inputs, _ = merged_of("mlp", 0.5)
    again = mlp(0)
    assert all(torch.equal(a, b) for a, b in zip(models["p"].parameters(), again.parameters(), strict=True))
    assert isinstance(merged_of("speech", None)[2], MergedSpeech)
    assert isinstance(merged_of("mlp", None)[2], Merged)
    assert not any(parameter.grad is not None for parameter in models["p"].parameters())
    assert models["p"](inputs).shape == (40, 2)
