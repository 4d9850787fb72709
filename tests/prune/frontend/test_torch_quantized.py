"""Models that torch has quantised: what its own integer kernels give, layer by layer."""

import warnings

import pytest
import torch
import torch.ao.nn.quantized as quantized
from torch import nn
from torch.ao.quantization import (
    DeQuantStub,
    QuantStub,
    convert,
    fuse_modules,
    fuse_modules_qat,
    get_default_qat_qconfig,
    get_default_qconfig,
    prepare,
    prepare_qat,
)

from darb_prune import DarbError, ModelError, check, encode, import_quantized, prune, quantize

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao is deprecated in favour of another package


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.a, self.norm, self.relu = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.d, self.plus = nn.Conv2d(6, 6, 3, padding=1, groups=6), quantized.FloatFunctional()
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(6, 4)

    def forward(self, x):
        h = self.relu(self.norm(self.a(self.quant(x))))
        h = self.pool(self.plus.add(h, self.d(h)))
        return self.dequant(self.fc(h.mean((2, 3))))


def prepared(trains):
    torch.manual_seed(0)
    model, x = Net(), torch.randn(64, 2, 8, 8)
    model.train(trains)
    fuse = fuse_modules_qat if trains else fuse_modules
    model = fuse(model, [["a", "norm", "relu"]])
    model.qconfig = (get_default_qat_qconfig if trains else get_default_qconfig)("x86")
    (prepare_qat if trains else prepare)(model, inplace=True)
    model(x)
    return model.eval(), x


def integers(model, x):
    """Integers of all quantised modules, less their zero points, and what the model gives."""
    seen = {}

    def keep(name):
        def hook(module, inputs, output):
            if output.is_quantized:
                seen[name] = output.int_repr().long().flatten(1) - output.q_zero_point()

        return hook

    for name, module in model.named_modules():
        if name and not name.startswith("plus"):
            module.register_forward_hook(keep(name))
    return seen, model(x)


@pytest.mark.parametrize("trains", [True, False])
def test_it_gives_the_integers_of_torch(trains):
    model, x = prepared(trains)
    wanted, result = integers(convert(model), x)
    for given in (model, convert(model)):
        made = import_quantized(given)
        assert check(made, x[:2]).problems == ()
        integer = quantize(made, x)
        traced = integer.trace(integer.quantize_input(x))
        assert torch.equal(traced["input"], wanted["quant"])
        for name, source in (("a.0.out", "a"), ("d.0.out", "d")):
            difference = (traced[name] - wanted[source]).abs()
            assert difference.max() <= 1
            assert (difference > 0).float().mean() < 0.005
        assert (traced[integer.output] - wanted["fc"]).abs().max() <= 2
        scale = integer.tensors[integer.output].scale
        assert (traced[integer.output] * scale - result).abs().max() <= 2.01 * scale
        weight = convert(model).a.weight()
        assert torch.equal(integer.matrices[0].weights[0], weight.int_repr().long())
        encode(integer)


def test_an_imported_model_is_pruned():
    model, x = prepared(True)
    made = import_quantized(model)
    before = quantize(made, x)
    prune(made, 2, example=x)
    after = quantize(made, x)
    for old, new in zip(before.matrices, after.matrices, strict=True):
        for a, b in zip(old.weights, new.weights, strict=True):
            assert torch.equal(b, torch.where(b != 0, a, 0))
    encode(after)


def test_a_bare_module():
    model = nn.Sequential(QuantStub(), nn.Linear(3, 2), nn.ReLU(), nn.Sigmoid(), DeQuantStub())
    model.qconfig = get_default_qconfig("x86")
    model = prepare(fuse_modules(model.eval(), [["1", "2"]]))
    x = torch.randn(40, 3)
    model(x)
    integer = quantize(import_quantized(model), x)
    wanted, _ = integers(convert(model), x)
    traced = integer.trace(integer.quantize_input(x))
    assert (traced[integer.output] - wanted["3"]).abs().max() <= 1


def test_what_cannot_be_imported_is_refused():
    with pytest.raises(ModelError, match=r"Linear: nothing in it is quantised; prepare it with torch.ao.quantization"):
        import_quantized(nn.Linear(2, 2))
    model = Net().eval()
    model.qconfig = get_default_qconfig("x86")
    model = prepare(model)
    with pytest.raises(ModelError, match=r"Net: an observer has seen no data; run calibration data through the prep"):
        import_quantized(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(torch.randn(4, 2, 8, 8))
    with pytest.raises(ModelError, match=r"norm: BatchNorm2d is not supported; .*fuse norms") as caught:
        import_quantized(model)
    assert "\n" not in str(caught.value)
    converted = convert(prepared(True)[0])
    converted.a.scale = 0.0
    with pytest.raises(DarbError, match=r"a: scale 0 must be a positive, finite number"):
        import_quantized(converted)
