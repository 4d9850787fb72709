"""The encoded network: everything the hardware generator needs from pruning, and nothing else.

What it computes is in ``docs/arithmetic.md``.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from darb_prune.encoded.container import digest, pack_container, read_container
from darb_prune.encoded.fields import pack_parts, unpack_parts
from darb_prune.encoded.parts import Section, TaskOutput
from darb_prune.encoded.unchecked import UncheckedNetwork
from darb_prune.encoded.validation import validate
from darb_prune.errors import DarbError, NetworkError
from darb_prune.files import write_atomic

__all__ = ["EncodedNetwork"]

FORMAT_VERSION = 4
_HEADER = ("name", "input", "output", "emit", "provenance")


@dataclass(frozen=True, eq=False)
class EncodedNetwork(UncheckedNetwork):
    """A pruned, quantised and encoded network; checked in full whenever one is made or loaded.

    Its fields are those of :class:`~darb_prune.encoded.unchecked.UncheckedNetwork`.

    Raises
    ------
    NetworkError
        Naming the layer, the row and the field that is wrong.
    """

    def __post_init__(self) -> None:
        validate(self)

    def _parts(self) -> tuple[dict, dict[str, np.ndarray]]:
        embeddings = (self.embedding,) if self.embedding else ()
        parts, arrays = pack_parts(
            {"tensor": self.tensors, "layer": self.layers, "cell": self.cells, "embedding": embeddings}
        )
        arrays |= {
            f"function.{function_number}": table.astype(np.int16)
            for function_number, table in enumerate(self.functions)
        }
        header = {name: getattr(self, name) for name in _HEADER} | parts | {"functions": len(self.functions)}
        if self.sections:  # a file without any is what it was before there were any
            header["sections"] = [asdict(section) for section in self.sections]
        if self.tasks:
            header["tasks"] = [asdict(task) for task in self.tasks]
        return json.loads(json.dumps(header)), arrays

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents: the identity of this network in manifests and test vectors."""
        return digest(*self._parts())

    def pack(self) -> bytes:
        """The bytes of the ``.darb`` file."""
        return pack_container("encoded network", FORMAT_VERSION, *self._parts())

    def save(self, path: str | Path) -> None:
        """Write the ``.darb`` file (temporary name, then moved into place)."""
        write_atomic(path, self.pack())

    @classmethod
    def load(cls, path: str | Path) -> "EncodedNetwork":
        """Load and check a ``.darb`` file.

        Raises
        ------
        NetworkError
            If the file is truncated or altered, or what it holds is not a legal network.
        """
        header, arrays = read_container(path, "encoded network", FORMAT_VERSION)
        try:
            parts = unpack_parts(header, arrays)
            tables = tuple(arrays.pop(f"function.{function_number}") for function_number in range(header["functions"]))
            for function_number, table in enumerate(tables):
                if table.dtype != np.int16:
                    raise TypeError(f"function.{function_number} of type {table.dtype}")
            if arrays:
                raise KeyError(next(iter(arrays)))
            return cls(
                tensors=parts["tensor"],
                layers=parts["layer"],
                cells=parts["cell"],
                embedding=parts["embedding"][0] if parts["embedding"] else None,
                functions=tables,
                sections=tuple(Section(**section) for section in header.get("sections", ())),
                tasks=tuple(TaskOutput(**task) for task in header.get("tasks", ())),
                **{key: header[key] for key in _HEADER},
            )
        except DarbError as error:
            raise NetworkError(f"{path}: {error}") from None
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise NetworkError(f"{path}: missing or malformed field {error}; make the file again") from error
