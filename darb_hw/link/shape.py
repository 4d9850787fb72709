"""What a link must know of the streams of an engine."""

from dataclasses import dataclass

from darb_hw.plan.plan import Plan

__all__ = ["LinkShape"]


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
    """

    input_bits: int
    output_bits: int
    inputs: int
    recurrent: bool
    symbols: int
    tasks: int
    buffer: int

    @classmethod
    def of(cls, plan: Plan, buffer: int | None = None) -> "LinkShape":
        """The link of a plan.

        Parameters
        ----------
        plan : Plan
        buffer : int, optional
            Elements that must have room; by default two inputs, and of a recurrent network 64. More of them are free
            up to the next power of two.
        """
        network = plan.network
        wanted = buffer or plan.input_size * (64 if network.recurrent else 2)
        return cls(
            plan.widths.input,
            plan.widths.output,
            plan.input_size,
            network.recurrent,
            len(network.embedding.table) if network.embedding else 0,
            plan.tasks,
            1 << max(4, (max(wanted, plan.input_size) - 1).bit_length()),
        )

    @property
    def input_bytes(self) -> int:
        return -(-self.input_bits // 8)

    @property
    def output_bytes(self) -> int:
        return -(-self.output_bits // 8)

    @property
    def task_bytes(self) -> int:
        return -(-self.tasks // 8)
