"""What the peers are given: the layers of an encoded network as dense integer matrices, and what they compute.

Peers see no codes and no storage order: matrices come decoded, in logical order, zeros included. The arithmetic is that
of docs/arithmetic.md, written with NumPy integers.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from darb_hw.plan.image import signed_bits
from darb_prune.encoded import DarbError, EncodedNetwork
from darb_prune.encoded.decoder import decode

__all__ = ["Dense", "accumulator_bits", "digest", "evaluate", "layers_of", "one_shift", "random_inputs"]

INPUT_BITS = 8


@dataclass(frozen=True, eq=False)
class Dense:
    """A Linear layer of integers.

    Parameters
    ----------
    name : str
    weight : numpy.ndarray of int64, shape (rows, columns)
    bias, mult, shift : numpy.ndarray of int64, shape (rows,)
    qmin, qmax : int
        Range of the results.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    qmin: int
    qmax: int


def layers_of(network: EncodedNetwork) -> list[Dense]:
    """The layers of a chain of Linear layers on 8-bit activations.

    Raises
    ------
    DarbError
        If the network is anything else.
    """
    layers, matrices, source = [], decode(network), network.input
    for layer in network.layers:
        target = network.tensor(layer.output)
        extras = (layer.operand, layer.clamp, layer.function, network.embedding, network.cells or None)
        whole = [(segment.tensor, segment.start, segment.length) for segment in layer.segments]
        chained = whole == [(source, 0, network.tensor(source).size)] and layer.position_count == 1 and layer.first == 0
        if not chained or layer.maximum or any(extra is not None for extra in extras) or layer.rows != target.size:
            raise DarbError(f"layer {layer.name!r}: the peers are compared on chains of Linear layers only")
        if {network.tensor(source).bits, target.bits} != {INPUT_BITS}:
            raise DarbError(f"layer {layer.name!r}: the peers are compared with {INPUT_BITS}-bit activations only")
        bias, mult, shift = (values.astype(np.int64) for values in (layer.bias, layer.mult, layer.shift))
        layers.append(Dense(layer.name, matrices[layer.name], bias, mult, shift, target.qmin, target.qmax))
        source = layer.output
    if source != network.output:
        raise DarbError(f"network {network.name!r}: the output is not that of the last layer")
    return layers


def evaluate(layers: list[Dense], inputs: np.ndarray, requantise: bool = True) -> np.ndarray:
    """Results for ``inputs`` (samples, columns), int64, shape (samples, rows of the last layer).

    Parameters
    ----------
    requantise : bool
        If not, the layers are one, and its result is the matrix product alone.
    """
    values = np.asarray(inputs, np.int64)
    if not requantise:
        return values @ layers[0].weight.T
    for layer in layers:
        scaled = (values @ layer.weight.T + layer.bias) * layer.mult
        values = np.clip((scaled + (1 << (layer.shift - 1))) >> layer.shift, layer.qmin, layer.qmax)
    return values


def random_inputs(layers: list[Dense], samples: int, seed: int = 1) -> np.ndarray:
    """Random 8-bit inputs, int64, shape (samples, columns); the first two stand at the ends of the range."""
    low, high = -(1 << (INPUT_BITS - 1)), (1 << (INPUT_BITS - 1)) - 1
    inputs = np.random.default_rng(seed).integers(low, high + 1, (samples, layers[0].weight.shape[1]))
    inputs[0] = high
    inputs[1:2] = low
    return inputs


def accumulator_bits(layer: Dense) -> int:
    """Bits of ``acc + bias`` of the worst row, for 8-bit inputs."""
    worst = np.abs(layer.weight).sum(axis=1) * (1 << (INPUT_BITS - 1)) + np.abs(layer.bias)
    return signed_bits(-worst.max(), worst.max())


def one_shift(layer: Dense) -> Dense:
    """The same layer with one shift for all rows, the greatest: multipliers grow, and no result changes.

    ``(s * mult + 2**(shift - 1)) >> shift`` is the same with ``2**k * mult`` and ``shift + k``.
    """
    shift = np.full_like(layer.shift, layer.shift.max())
    return replace(layer, mult=layer.mult << (shift - layer.shift), shift=shift)


def digest(layers: list[Dense]) -> str:
    """Identity of what the layers compute: SHA-256 of all their numbers."""
    sha = hashlib.sha256()
    for layer in layers:
        sha.update(repr((layer.weight.shape, layer.qmin, layer.qmax)).encode())
        for values in (layer.weight, layer.bias, layer.mult, layer.shift):
            sha.update(np.ascontiguousarray(values, np.int64).astype("<i8").tobytes())
    return sha.hexdigest()
