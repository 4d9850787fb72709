import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darb_prune.errors import ModelError
from darb_prune.modules.block_term import BlockTermConv2d, BlockTermGRU, BlockTermLinear, BlockTermLSTM, Modes

sides = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))


@st.composite
def linear(draw):
    """Any small block-term Linear, float64."""
    modes = draw(st.lists(sides, min_size=2, max_size=4))
    inputs, outputs = [i for i, _, _ in modes], [j for _, j, _ in modes]
    ranks = [min(r, i * j) for i, j, r in modes]
    torch.manual_seed(draw(st.integers(0, 2**16)))
    return BlockTermLinear(inputs, outputs, ranks, draw(st.integers(1, 3)), draw(st.booleans())).double()


def formula(layer):
    """The matrix, element by element of the formula in the docstring of the module."""
    modes, letters = layer.modes, "abcd"[: len(layer.modes.inputs)]
    factors = ",".join(f"n{r}{r.upper()}{i}" for r, i in zip(letters, "wxyz", strict=False))
    result = letters.upper() + "wxyz"[: len(letters)]
    tensor = torch.einsum(f"n{letters},{factors}->{result}", layer.cores, *layer.factors)
    return tensor.reshape(layer.out_features, layer.in_features), modes


@settings(max_examples=60, deadline=None)
@given(linear())
def test_a_linear_layer_multiplies_with_the_matrix_of_the_formula(layer):
    matrix, modes = formula(layer)
    assert torch.allclose(layer.weight, matrix)
    assert modes.weights == matrix.numel()
    assert modes.parameters == sum(p.numel() for p in (layer.cores, *layer.factors))
    x = torch.randn(2, 3, layer.in_features, dtype=torch.float64)
    assert torch.allclose(layer(x), F.linear(x, matrix, layer.bias))


@settings(max_examples=60, deadline=None)
@given(linear())
def test_products_one_behind_the_other_are_the_layer(layer):
    """Each is a convolution over what was written before, rows outermost."""
    x = torch.randn(3, layer.in_features, dtype=torch.float64)
    stored, multiplications = x, 0
    for step in layer.products():
        made = []
        for product in step:
            height, width = product.image
            image = stored.reshape(3, height, width, -1).movedim(-1, 1)[:, :, product.start :]
            assert product.first == sum(part.shape[1] for part in made)
            lines, columns = product.positions
            made.append(F.conv2d(image, product.weight, dilation=product.dilation)[:, :, :lines, :columns])
            assert made[-1].shape[2:] == product.positions
            multiplications += product.weight.numel() * lines * columns
        stored = torch.cat(made, 1).reshape(3, -1)
    assert torch.allclose(stored, layer(x) - (0 if layer.bias is None else layer.bias))
    assert multiplications == layer.modes.multiplications


def test_the_published_example():
    """Input to hidden of an LSTM of 256 units over frames of 160 x 120 x 3 (arXiv 1712.05134)."""
    modes = Modes((8, 20, 20, 18), (16, 4, 4, 4), (4, 4, 4, 4), terms=2)
    assert modes.parameters == 3392
    assert modes.weights // modes.parameters == 17388


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_convolution_is_that_of_its_whole_weight(count):
    inputs, outputs, ranks = (2, 3, 2, 2)[:count], (3, 1, 2, 2)[:count], (2, 3, 1, 2)[:count]
    options = {"stride": (1, 2), "padding": (1, 2), "dilation": (2, 1)}
    layer = BlockTermConv2d(inputs, outputs, (3, 2), (*ranks, 2, 1), **options).double()
    x = torch.randn(2, layer.in_channels, 7, 6, dtype=torch.float64)
    assert torch.allclose(layer(x), F.conv2d(x, layer.weight, layer.bias, **options))


@pytest.mark.parametrize(("kind", "wanted", "gates"), [(BlockTermLSTM, nn.LSTM, 4), (BlockTermGRU, nn.GRU, 3)])
def test_a_recurrent_layer_is_that_of_torch_with_its_whole_matrix(kind, wanted, gates):
    layer, other = kind((2, 3), (2 * gates, 2), (2, 3)), wanted(6, 4, batch_first=True)
    with torch.no_grad():
        other.weight_ih_l0.copy_(layer.input.weight)
        other.bias_ih_l0.copy_(layer.input.bias)
        other.weight_hh_l0.copy_(layer.hidden.weight)
        other.bias_hh_l0.copy_(layer.hidden.bias)
    x = torch.randn(3, 5, 6)
    for state in (None, layer(x)[1]):
        (outputs, states), (of_torch, states_of_torch) = layer(x, state), other(x, state)
        assert torch.allclose(outputs, of_torch, atol=1e-6)
        for mine, own in zip(states, states_of_torch, strict=True):
            assert torch.allclose(mine, own, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        BlockTermLinear((10, 12, 8), (6, 8, 5), (3, 2, 4)),
        BlockTermConv2d((4, 8), (8, 4), (3, 3), (3, 4, 2, 3)),
    ],
    ids=["linear", "convolution"],
)
def test_initial_weights_have_the_variance_of_torch(layer):
    variances = []
    for seed in range(20):
        torch.manual_seed(seed)
        layer.reset_terms()
        variances.append(float(layer.weight.detach().square().mean()))
    assert sum(variances) / 20 == pytest.approx(1 / (3 * layer.modes.fan_in), rel=0.3)


def test_fitted_to_a_matrix_of_terms():
    torch.manual_seed(3)
    wanted, layer = BlockTermLinear((4, 5, 3), (3, 4, 4), (2, 2, 2)), BlockTermLinear((4, 5, 3), (3, 4, 4), (2, 2, 2))
    assert layer.fit(wanted.weight, sweeps=300) < 0.01
    assert float((layer.weight - wanted.weight).detach().norm()) < 0.1 * float(wanted.weight.detach().norm())


def test_a_fit_says_what_is_left():
    torch.manual_seed(4)
    layer, matrix = BlockTermLinear((4, 5), (3, 4), (2, 2)), torch.randn(12, 20)
    left, whole = layer.fit(matrix), layer.weight.detach()
    assert left == pytest.approx(float((whole - matrix).square().sum() / matrix.square().sum()), rel=1e-3)
    sizes = [float(parameter.detach().norm()) for parameter in (layer.cores, *layer.factors)]
    assert max(sizes) == pytest.approx(min(sizes), rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlockTermLinear((4,), (3,), (2,)), "equally many modes, 2 to 4"),
        (lambda: BlockTermLinear((4, 2), (3,), (2, 2)), "equally many modes, 2 to 4"),
        (lambda: BlockTermLinear((4, 2), (3, 1), (2,)), "1 ranks; 2 are needed"),
        (lambda: BlockTermLinear((4, 2), (3, 1), (2, 3)), "rank 3 of a mode of 2 elements; it can be 2 at most"),
        (lambda: BlockTermLinear((4, 0), (3, 1), (2, 1)), "must be integers from 1 on"),
        (lambda: BlockTermLinear((4, 2), (3, 1), (2, 1), terms=0), "must be integers from 1 on"),
        (lambda: BlockTermLinear((4, 2), (3, 1), (2, 1), terms=65), "65 terms; 64 is the most"),
        (
            lambda: BlockTermLinear((8, 8, 8), (8, 8, 8), (16, 16, 16)).fit(torch.zeros(512, 512)),
            "its cores have 8,192 elements, and 4,096 can be fitted; take lower ranks",
        ),
        (lambda: BlockTermLSTM((4, 2), (6, 2), (2, 1)), "the first mode holds 4 gates"),
        (lambda: BlockTermLinear((4, 2), (3, 1), (2, 1))(torch.zeros(1, 7)), "reads 8 features, not the 7"),
        (lambda: BlockTermConv2d((2, 2), (3, 1), (3, 3), (1, 1, 4, 1)), "rank 4 of a mode of 3 elements"),
        (lambda: BlockTermConv2d((2, 2), (3, 1), (1, 1), (1, 1, 1, 1))(torch.zeros(1, 3, 2, 2)), r"not \(1, 3, 2, 2\)"),
    ],
)
def test_what_modes_must_be(make, message):
    with pytest.raises(ModelError, match=message):
        make()
