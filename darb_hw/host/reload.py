"""Another network for the board: in pieces that are sent until they are there."""

from collections.abc import Callable

from darb_hw.emit import Build
from darb_hw.host.exchange import Exchange
from darb_hw.link.info import BoardInfo
from darb_hw.link.network import network_bytes
from darb_hw.link.protocol import OFFSET_BYTES, PacketKind
from darb_hw.link.shape import LinkShape
from darb_prune.encoded import DarbError

__all__ = ["check_engine", "check_exchange", "send_network"]

_STALLS = 4
"""Replies in a row that tell of no more bytes than before."""


def check_engine(build: Build, info: BoardInfo, name: str) -> None:
    """Raise :class:`DarbError` if a board, which is called ``name``, has another engine than a build."""
    if info.engine != build.engine_digest[:16]:
        raise DarbError(
            f"{name}: the board has another engine ({info.engine}) than {build.folder} ({build.engine_digest[:16]}): "
            f"load its bitstream with darb load {build.folder}"
        )


def check_exchange(build: Build, info: BoardInfo, name: str) -> None:
    """Refuse a network that the board cannot take.

    Parameters
    ----------
    build : Build
        Of the network.
    info : BoardInfo
        What the board has said.
    name : str
        Of the board, for messages.

    Raises
    ------
    DarbError
        If its engine takes no other networks, or is another one.
    """
    if not build.plan.config.loads:
        raise DarbError(f"{build.folder}: its engine takes no other networks: make it with darb verilog --reload")
    check_engine(build, info, name)


def send_network(
    exchange: Exchange, build: Build, shape: LinkShape, name: str, progress: Callable[[int], None] | None = None
) -> None:
    """Send a network. The board uses it as soon as it has all of it; until then it uses the one before, if its engine
    has room for both.

    Parameters
    ----------
    exchange : Exchange
    build : Build
        Of the network, for the engine of the board.
    shape : LinkShape
    name : str
        Of the board, for messages.
    progress : callable, optional
        Called with the number of bytes that the board has more than before.

    Raises
    ------
    DarbError
        If the board does not take it.
    """
    data = network_bytes(build.digest, build.plan)
    there = stalled = 0
    while there != len(data):
        piece = data[there : there + shape.buffer]
        reply = exchange.one(PacketKind.LOAD, there.to_bytes(OFFSET_BYTES, "little") + piece)
        count = int.from_bytes(reply, "little")
        if len(reply) != OFFSET_BYTES or count > len(data):
            raise DarbError(f"{name}: the board tells of {count} bytes of a network of {len(data)}: load its bitstream")
        stalled = 0 if count > there else stalled + 1
        if stalled == _STALLS:
            raise DarbError(f"{name}: the board loses what it is sent: is somebody else using it?")
        if progress:
            progress(count - there)
        there = count
