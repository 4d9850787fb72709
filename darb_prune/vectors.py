"""Test vectors: what the oracle computes, handed over beside the encoded network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darb_prune.container import DarbError, pack_container, read_container, write_atomic

__all__ = ["TestVectors"]

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class TestVectors:
    """What the oracle computes for some inputs: every tensor, so that a mismatch can be located.

    Parameters
    ----------
    network : str
        Digest of the network the values belong to.
    tensors : dict of str to numpy.ndarray of int32, shape (samples, size)
        Integer values of every tensor, in logical order.
    labels : numpy.ndarray of int32, shape (samples,), optional
    """

    __test__ = False  # not a pytest class

    network: str
    tensors: dict[str, np.ndarray]
    labels: np.ndarray | None = None

    @property
    def samples(self) -> int:
        return len(next(iter(self.tensors.values())))

    def pack(self) -> bytes:
        """The bytes of the file."""
        arrays = {f"tensor.{name}": values.astype(np.int32) for name, values in self.tensors.items()}
        if self.labels is not None:
            arrays["labels"] = self.labels.astype(np.int32)
        return pack_container("test vectors", FORMAT_VERSION, {"network": self.network}, arrays)

    def save(self, path: str | Path) -> None:
        write_atomic(path, self.pack())

    @classmethod
    def load(cls, path: str | Path) -> "TestVectors":
        header, arrays = read_container(path, "test vectors", FORMAT_VERSION)
        labels = arrays.pop("labels", None)
        tensors = {name.removeprefix("tensor."): values for name, values in arrays.items()}
        return cls(header["network"], tensors, labels)

    def check(self, network) -> None:
        """Raise :class:`DarbError` unless these are vectors of ``network``, complete and of the right shapes."""
        if self.network != network.digest:
            raise DarbError("the test vectors belong to another network; run darb compile again")
        for tensor in network.tensors:
            values = self.tensors.get(tensor.name)
            if values is None or values.shape != (self.samples, tensor.size):
                raise DarbError(f"test vectors: tensor {tensor.name!r} is missing or of the wrong shape")
            if values.size and not (tensor.qmin <= values.min() and values.max() <= tensor.qmax):
                raise DarbError(f"test vectors: tensor {tensor.name!r} leaves its range {tensor.qmin}..{tensor.qmax}")
