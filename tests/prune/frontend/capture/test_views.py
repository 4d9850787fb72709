"""Reshaping, permuting, padding and indexing."""

import pytest
import torch
import torch.nn.functional as F

from tests.prune.frontend.capture.nets import check, lines, maps, refuse_maps, refuse_vectors, vectors

VECTORS = {
    "shapes": lambda m, x: m.c(m.a(x).view(x.size(0), -1, 1).reshape(len(x), 8)) if x.dim() == 2 else None,
    "squeezed": lambda m, x: m.c(m.a(x).unsqueeze(1).transpose(1, 2).squeeze(2)[:, None].flatten(1)),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name):
    check(vectors(VECTORS[name]), torch.randn(4, 6))


MAPS = {
    "flattened": lambda m, x: m.fc(m.a(x).flatten(1)),
    "flattened and padded": lambda m, x: (lambda h: m.fc(h.view(h.shape[0], -1)) + m.fc4(m.a2(h).mean((2, 3))))(m.a(x)),
    "input flattened and padded": lambda m, x: m.fc4(m.a(x).mean((2, 3))) + m.fcx(x.reshape(len(x), -1)),
    "strided": lambda m, x: m.b(m.a(x)[:, :, ::2, 0:6:3]),
    "strided to one": lambda m, x: m.fc4(m.a(x)[:, :, ::9, ::9].flatten(1)),
    "padded in front": lambda m, x: m.b(F.pad(m.a(x), (1, 2, 0, 1))),
    "padded before a stride": lambda m, x: m.uneven(F.pad(m.a(x), (0, 1, 0, 1))),
    "read twice, padded": lambda m, x: (lambda h: m.uneven(h) + m.uneven2(h))(m.zero(m.a(x))),
    "padded unlike": lambda m, x: (lambda h: m.uneven(F.pad(h, (2, 0) * 2)) + m.uneven2(F.pad(h, (0, 2) * 2)))(m.a(x)),
    "padded twice": lambda m, x: m.uneven(F.pad(F.pad(m.a(x), (0, 1)), (0, 0, 2, 1))),
    "padded input": lambda m, x: m.tall_kernel(F.pad(x, (1, 1, 4, 5))).relu(),
    "ZeroPad2d": lambda m, x: m.b(m.zero(m.a(x)).relu()),
    "no pixels": lambda m, x: m.point(m.a(x).mean((2, 3), keepdim=True)).flatten(1),
    "vector as map": lambda m, x: m.point(m.fc(m.a(x).flatten(1))[:, :, None, None]),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name):
    check(maps(MAPS[name]), torch.randn(2, 2, 9, 6))


LINES = {
    "strided": lambda m, x: m.down(x) + m.a(x)[:, :, ::2],
    "padded": lambda m, x: m.depth(F.pad(m.a(x), (2, 0))),
}


@pytest.mark.parametrize("name", LINES)
def test_sequences_of_convolutions(name):
    check(lines(LINES[name]), torch.randn(2, 3, 10))


ILLEGAL = {
    "view to .3, 2, 4. cuts": lambda m, x: m.four(m.a(x).view(-1, 2, 4)),
    "reshape to .2, 12. cuts": lambda m, x: m.twelve(m.a(x).reshape(2, 12)),
    "indexing other than the last step": lambda m, x: m.four(m.a(x)[:, :4]),
    "indexing with a tensor": lambda m, x: m.a(x)[:, torch.arange(8)],
    r"padding other than with zeros \(1.0\); train the model with zeros": lambda m, x: m.c(
        F.pad(m.a(x)[:, :, None], (1, 0), value=1.0).flatten(1)[:, :8]
    ),
}


@pytest.mark.parametrize("message", ILLEGAL)
def test_illegal(message):
    refuse_vectors(message, ILLEGAL[message])


ILLEGAL_MAPS = {
    r"padding other than with zeros \(mode 'reflect'\)": lambda m, x: F.pad(m.a(x), (1, 1, 1, 1), "reflect"),
    r"padding that cuts lines or columns off \(\(0, -1\)\)": lambda m, x: F.pad(m.a(x), (0, -1)),
    "padding with -inf is supported in front of a max": lambda m, x: m.a2(F.pad(x, (1, 0), value=-torch.inf)).sigmoid(),
    "padding of a max pooling needs": lambda m, x: F.max_pool2d(F.pad(m.a(x), (1, 0), value=-torch.inf), 2),
    "padding of channels and of the image": lambda m, x: F.pad(m.a(x), (1, 1, 0, 0, 1, 1)),
}


@pytest.mark.parametrize("message", ILLEGAL_MAPS)
def test_illegal_maps(message):
    refuse_maps(message, ILLEGAL_MAPS[message])
