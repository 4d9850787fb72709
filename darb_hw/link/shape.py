"""What a link must know of the streams of an engine."""

from dataclasses import dataclass

from darb_hw.link.protocol import IDENTITY_BYTES
from darb_hw.plan.plan import Plan
from darb_hw.plan.reload import reload_size

__all__ = ["LinkShape"]

_LOADED = 512
"""Bytes of another network in a packet: more would hardly be faster."""


@dataclass(frozen=True)
class LinkShape:
    """Inputs and outputs of an engine, as bytes.

    Parameters
    ----------
    input_bits, output_bits : int
        Of an element. On the line it has as few whole bytes as hold it, sign-extended, the lowest first.
    inputs : int
        Elements of an input: of a frame, or of a time step of a recurrent network.
    recurrent : bool
        Whether a frame has any number of inputs.
    symbols : int
        Symbols of the embedding: elements are 0 up to one less. 0 without embedding.
    tasks : int
        Tasks of which a request asks for some: a bit each, in as few whole bytes as hold them, before the elements.
        0 if a request asks for no tasks.
    buffer : int
        Elements of requests that can wait for the engine, a power of two.
    load_bytes : int
        Of another network with its digest; 0 if the engine has no port for one.
    overwrites : bool
        Whether a network that comes takes the place of the one that is there. At power-up there is none.
    """

    input_bits: int
    output_bits: int
    inputs: int
    recurrent: bool
    symbols: int
    tasks: int
    buffer: int
    load_bytes: int = 0
    overwrites: bool = False

    @classmethod
    def of(cls, plan: Plan, buffer: int | None = None) -> "LinkShape":
        """The link of a plan.

        Parameters
        ----------
        plan : Plan
        buffer : int, optional
            Elements that must have room; by default two inputs, and of a recurrent network 64; 512 bytes if another
            network can come. More of them are free up to the next power of two.
        """
        network = plan.network
        reload = reload_size(plan)
        wanted = buffer or max(plan.input_size * (64 if network.recurrent else 2), _LOADED * bool(reload))
        return cls(
            plan.widths.input,
            plan.widths.output,
            plan.input_size,
            network.recurrent,
            len(network.embedding.table) if network.embedding else 0,
            plan.tasks,
            1 << max(4, (max(wanted, plan.input_size) - 1).bit_length()),
            IDENTITY_BYTES + reload if reload else 0,
            plan.config.overwrites,
        )

    @property
    def word_bits(self) -> int:
        """Bits of a word of the buffer: an element, or a byte of another network."""
        return max(self.input_bits, 8) if self.load_bytes else self.input_bits

    @property
    def input_bytes(self) -> int:
        return -(-self.input_bits // 8)

    @property
    def output_bytes(self) -> int:
        return -(-self.output_bits // 8)

    @property
    def task_bytes(self) -> int:
        return -(-self.tasks // 8)
