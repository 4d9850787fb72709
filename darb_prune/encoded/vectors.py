"""Test vectors: what the oracle computes, handed over beside the encoded network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darb_prune.encoded.container import pack_container, read_container
from darb_prune.encoded.network import EncodedNetwork
from darb_prune.encoded.rows import require, require_array
from darb_prune.errors import NetworkError
from darb_prune.files import write_atomic

__all__ = ["TestVectors"]

FORMAT_VERSION = 2


@dataclass(frozen=True, eq=False)
class TestVectors:
    """What the oracle computes for some inputs: every tensor, so that a mismatch can be located.

    Parameters
    ----------
    network : str
        Digest of the network the values belong to.
    tensors : dict of str to numpy.ndarray of int32, shape (frames, size)
        Integer values of every tensor, in logical order. A frame is a sample, or a time step of a sequence; frames of
        a sequence follow each other.
    labels : numpy.ndarray of int32, shape (samples,) or (frames,), optional
        Of a network that emits at every time step: one a frame.
    lengths : numpy.ndarray of int32, shape (samples,), optional
        Time steps of each sequence; every frame is a sequence of its own if absent.
    """

    __test__ = False  # not a pytest class

    network: str
    tensors: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @property
    def frames(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def samples(self) -> int:
        """Number of sequences."""
        return self.frames if self.lengths is None else len(self.lengths)

    @property
    def starts(self) -> np.ndarray:
        """First frame of each sequence, int64, shape (samples + 1,); the last entry is the number of frames."""
        lengths = np.ones(self.frames, np.int64) if self.lengths is None else self.lengths
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def pack(self) -> bytes:
        """The bytes of the file."""
        arrays = {f"tensor.{name}": values.astype(np.int32) for name, values in self.tensors.items()}
        for name in ("labels", "lengths"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name).astype(np.int32)
        return pack_container("test vectors", FORMAT_VERSION, {"network": self.network}, arrays)

    def save(self, path: str | Path) -> None:
        write_atomic(path, self.pack())

    @classmethod
    def load(cls, path: str | Path) -> "TestVectors":
        """Load test vectors.

        Raises
        ------
        NetworkError
            If the file is truncated or altered, or what it holds are no test vectors of any network.
        """
        header, arrays = read_container(path, "test vectors", FORMAT_VERSION)
        network: Any = header.get("network")
        labels, lengths = arrays.pop("labels", None), arrays.pop("lengths", None)
        tensors = {name.removeprefix("tensor."): values for name, values in arrays.items()}
        try:
            _check_arrays(network, tensors, labels, lengths)
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}; run darb compile again") from None
        return cls(network, tensors, labels, lengths)

    def check(self, network: EncodedNetwork) -> None:
        """Raise :class:`NetworkError` unless these are vectors of ``network``, complete and of the right shapes."""
        if self.network != network.digest:
            raise NetworkError("the test vectors belong to another network; run darb compile again")
        if self.lengths is not None and not network.recurrent and (self.lengths != 1).any():
            raise NetworkError("test vectors: sequences of several steps, but the network is not recurrent")
        for tensor in network.tensors:
            values = self.tensors.get(tensor.name)
            if values is None or values.shape != (self.frames, tensor.size):
                raise NetworkError(f"test vectors: tensor {tensor.name!r} is missing or of the wrong shape")
            if values.size and not (tensor.qmin <= values.min() and values.max() <= tensor.qmax):
                raise NetworkError(
                    f"test vectors: tensor {tensor.name!r} leaves its range {tensor.qmin}..{tensor.qmax}"
                )
        if network.recurrent and self.lengths is None:
            raise NetworkError("test vectors: a recurrent network needs the lengths of its sequences")
        if self.lengths is not None and not (self.lengths.min(initial=1) >= 1 and self.starts[-1] == self.frames):
            raise NetworkError(f"test vectors: lengths of sequences must be 1 or more, {self.frames} in all")


def _check_arrays(
    network: object, tensors: dict[str, np.ndarray], labels: np.ndarray | None, lengths: np.ndarray | None
) -> None:
    """Raise :class:`NetworkError` unless these are frames of something."""
    require(isinstance(network, str), "the digest of their network is missing")
    require(bool(tensors), "test vectors without tensors")
    require(all(len(values) for values in tensors.values() if values.ndim), "test vectors without samples")
    frames = None
    for name, values in tensors.items():
        require_array("test vectors", f"tensor {name!r}", values, (frames, None))
        frames = len(values)
    for name, values in (("labels", labels), ("lengths", lengths)):
        if values is not None:
            require_array("test vectors", name, values, (None,))
