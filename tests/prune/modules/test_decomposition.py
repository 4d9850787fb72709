from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darb_prune.modules.decomposition import composed, decompose


def terms_of(random, terms, sizes, ranks):
    cores = torch.randn(terms, *ranks, generator=random).double()
    factors = [
        torch.randn(terms, size, rank, generator=random).double() for size, rank in zip(sizes, ranks, strict=True)
    ]
    return cores, factors


def test_composed_is_the_formula():
    cores, factors = terms_of(torch.Generator().manual_seed(0), 2, (3, 4, 2), (2, 3, 1))
    wanted = torch.einsum("nabc,nxa,nyb,nzc->xyz", cores, *factors)
    assert torch.allclose(composed(cores, factors), wanted)


def test_one_term_of_full_rank_is_exact():
    tensor = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(composed(*decompose(tensor, 1, (3, 4, 2))), tensor.double(), atol=1e-6)


def test_terms_are_found_again():
    terms = terms_of(torch.Generator().manual_seed(2), 2, (6, 7, 8), (2, 2, 2))
    tensor = composed(*terms)
    left = tensor - composed(*decompose(tensor, 2, (2, 2, 2), sweeps=300, tolerance=0))
    assert left.norm() < 1e-3 * tensor.norm()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
def test_no_sweep_makes_it_worse(seed, modes):
    sizes = [max(pair) for pair in modes]
    ranks = [min(pair) for pair in modes]
    tensor = torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).double()
    errors = [
        float((tensor - composed(*decompose(tensor, 2, ranks, sweeps, 0.0))).square().sum()) for sweeps in range(4)
    ]
    slack = 1e-6 * float(tensor.square().sum())
    assert all(after <= before + slack for before, after in pairwise(errors))
