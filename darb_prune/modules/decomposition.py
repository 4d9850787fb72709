"""A tensor as a sum of Tucker terms, by alternating least squares (L. De Lathauwer, 2008, "Decompositions of a
Higher-Order Tensor in Block Terms")."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["composed", "decompose"]

_RIDGE = 1e-10
"""Of the normal equations, relative to their diagonal: terms that grow alike leave them without a solution."""


def composed(cores: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """The sum of Tucker terms.

    Parameters
    ----------
    cores : tensor of shape (terms, R_1, ..., R_m)
    factors : sequence of m tensors of shape (terms, D_k, R_k)

    Returns
    -------
    tensor of shape (D_1, ..., D_m)
    """
    return _times(cores, factors, skip=None).sum(0)


def decompose(
    tensor: Tensor, terms: int, ranks: Sequence[int], sweeps: int = 50, tolerance: float = 1e-5
) -> tuple[Tensor, list[Tensor]]:
    """Cores and factors of the terms whose sum is near ``tensor``, in the sense of least squares.

    Each term begins as the truncated higher-order SVD of what the terms before it leave. A sweep then solves for one
    factor of all terms after the other, and for all cores together, each exactly; so no sweep makes it worse.

    Parameters
    ----------
    tensor : tensor of shape (D_1, ..., D_m)
    terms : int
    ranks : sequence of m int
        At most ``D_k`` each.
    sweeps : int
        At most.
    tolerance : float
        A sweep that lowers the squared error by less than this share of the squared norm of ``tensor`` is the last.

    Returns
    -------
    cores : float64 tensor of shape (terms, R_1, ..., R_m)
    factors : list of m float64 tensors of shape (terms, D_k, R_k)
    """
    tensor = tensor.detach().double()
    cores, factors = _start(tensor, terms, ranks)
    before = _error(tensor, cores, factors)
    for _ in range(sweeps):
        for mode in range(tensor.dim()):
            cores, factors[mode] = _factor(tensor, cores, factors, mode)
        cores = _cores(tensor, factors)
        error = _error(tensor, cores, factors)
        if before - error <= tolerance * float(tensor.square().sum()):
            break
        before = error
    return cores, factors


def _error(tensor: Tensor, cores: Tensor, factors: Sequence[Tensor]) -> float:
    return float((tensor - composed(cores, factors)).square().sum())


def _times(cores: Tensor, factors: Sequence[Tensor], skip: int | None) -> Tensor:
    """Cores with each mode multiplied by its factor, but for the mode ``skip``: (terms, D_1, ..., D_m)."""
    made = cores
    for mode, factor in enumerate(factors):
        if mode != skip:
            others = made.movedim(mode + 1, -1)
            flat = others.flatten(1, -2) if others.dim() > 2 else others[:, None]
            made = (flat @ factor.mT).reshape(*others.shape[:-1], factor.shape[1]).movedim(-1, mode + 1)
    return made


def _start(tensor: Tensor, terms: int, ranks: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    left, cores, factors = tensor, [], []
    for _ in range(terms):
        own = [
            torch.linalg.svd(left.movedim(mode, 0).reshape(left.shape[mode], -1), full_matrices=False).U[:, :rank]
            for mode, rank in enumerate(ranks)
        ]
        # A mode may have more directions than the others together leave it; those beyond are empty.
        own = [
            torch.nn.functional.pad(basis, (0, rank - basis.shape[1])) for basis, rank in zip(own, ranks, strict=True)
        ]
        core = _times(left[None], [basis.mT[None] for basis in own], skip=None)
        left = left - composed(core, [basis[None] for basis in own])
        cores.append(core[0])
        factors.append(own)
    return torch.stack(cores), [torch.stack(of_mode) for of_mode in zip(*factors, strict=True)]


def _solved(gram: Tensor, right: Tensor) -> Tensor:
    """``x`` of ``gram @ x = right``, ``gram`` symmetric and positive, perhaps singular."""
    ridge = _RIDGE * max(float(gram.diagonal().mean()), torch.finfo(torch.float64).tiny)
    return torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), right)


def _factor(tensor: Tensor, cores: Tensor, factors: Sequence[Tensor], mode: int) -> tuple[Tensor, Tensor]:
    """The factors of all terms in one mode, given all others; they are orthonormal, and the cores take the rest."""
    terms, rank = factors[mode].shape[0], factors[mode].shape[2]
    others = _times(cores, factors, skip=mode).movedim(mode + 1, 1).reshape(terms * rank, -1)
    solved = _solved(others @ others.T, others @ tensor.movedim(mode, 0).reshape(tensor.shape[mode], -1).T)
    factor, rest = torch.linalg.qr(solved.reshape(terms, rank, -1).mT)
    units = [torch.eye(size, dtype=cores.dtype).expand(terms, size, size) for size in cores.shape[1:]]
    units[mode] = rest
    cores = _times(cores, units, skip=None)
    return cores, factor


def _cores(tensor: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """The cores of all terms, given all factors."""
    terms, ranks = len(factors[0]), [factor.shape[2] for factor in factors]
    gram = torch.ones(terms, terms, 1, 1, dtype=tensor.dtype)
    for factor in factors:
        own = torch.einsum("mdr,ndq->mnrq", factor, factor)
        gram = torch.einsum("mnab,mnrq->mnarbq", gram, own).flatten(4, 5).flatten(2, 3)
    size = gram.shape[2]
    right = _times(tensor.expand(terms, *tensor.shape), [factor.mT for factor in factors], skip=None)
    gram = gram.movedim(2, 1).reshape(terms * size, terms * size)
    return _solved(gram, right.reshape(-1, 1)).reshape(terms, *ranks)
