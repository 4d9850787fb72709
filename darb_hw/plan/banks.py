"""How a feature map is laid out where lanes compute neighbouring positions: a bank in each lane, no stored zeros."""

from dataclasses import dataclass
from typing import overload

import numpy as np

from darb_hw.errors import PlanError
from darb_prune.encoded import EncodedNetwork, Tensor

__all__ = ["BankedLayout", "banked_layouts"]


@dataclass(frozen=True)
class BankedLayout:
    """Addresses of a tensor in a memory of several banks, relative to its first one. They are the same in all banks.

    Where readers have a stride, the map is cut into *phases*: the pixels that are a whole number of strides apart. Each
    phase is a small map. Its pixels stand one behind the other, line by line, dealt to the banks in turn. Pixels with
    the same turn are a *tile*. So pixels at a fixed distance from neighbouring output positions stand in neighbouring
    banks, whatever the distance is.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width, channels.
    banks : int
        A power of two.
    phases : (int, int)
        Stride of the readers, pooling included: down, across.
    pitch : int
        Pixels from a line of a phase to the next.
    skew : int
        By how many banks the phases of neighbouring columns are shifted against each other. So results at neighbouring
        columns go to different banks.
    """

    shape: tuple[int, int, int]
    banks: int
    phases: tuple[int, int] = (1, 1)
    pitch: int = 1
    skew: int = 0

    @property
    def channels(self) -> int:
        return self.shape[2]

    @property
    def padding(self) -> tuple[int, int]:
        """No zeros are stored."""
        return 0, 0

    @property
    def has_zeros(self) -> bool:
        """Whether zeros are stored beside the elements: never."""
        return False

    @property
    def tiles(self) -> int:
        """Tiles of a phase."""
        height, width, _ = self.shape
        down, across = self.phases
        last = (height - 1) // down * self.pitch + (width - 1) // across + self.skew * (across - 1)
        return last // self.banks + 1

    @property
    def size(self) -> int:
        """Number of addresses in each bank."""
        return self.phases[0] * self.phases[1] * self.tiles * self.channels

    @overload
    def turn(self, y: int, x: int) -> tuple[int, int]: ...

    @overload
    def turn(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def turn(self, y: np.ndarray | int, x: np.ndarray | int) -> tuple[np.ndarray | int, np.ndarray | int]:
        """Phase of a pixel, and its turn there. Of a pixel ``(y, x)`` away from an output position: how far its turn is
        from that of the position, whatever the position is."""
        down, across = self.phases
        return y % down * across + x % across, y // down * self.pitch + x // across + self.skew * (x % across)

    def pixel(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bank of pixels, and the address of their first channel."""
        phase, turn = self.turn(y, x)
        return turn % self.banks, (phase * self.tiles + turn // self.banks) * self.channels

    def elements(self, tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Bank and address of each element of ``tensor`` in logical order, int64, shape (size,)."""
        height, width, channels = self.shape
        y, x = np.divmod(np.arange(height * width), width)
        bank, address = self.pixel(y, x)
        return np.tile(bank, channels), (tensor.channel_position[:, None] + address).reshape(-1)


def banked_layouts(
    network: EncodedNetwork, banks: int, written: int, remedy: str = "choose positions 1"
) -> dict[str, BankedLayout]:
    """The layout of every tensor, made for the layers that walk over it; none with one bank.

    Parameters
    ----------
    network : EncodedNetwork
    banks : int
        Positions computed at once.
    written : int
        Results written at once.
    remedy : str
        What helps a network that has no such layouts.

    Raises
    ------
    PlanError
        If layers walk over a tensor with different strides, a layer is transposed, or the network keeps something from
        time step to time step or from column to column.
    """
    if banks == 1:
        return {}
    if network.recurrent or network.sections or network.embedding:
        raise PlanError(f"positions of a map are not computed at once in a network with LSTM, GRU or RNN: {remedy}")
    for layer in network.layers:
        if layer.transposed:
            raise PlanError(
                f"layer {layer.name!r} is transposed: lanes of neighbouring positions would write to one bank; {remedy}"
            )
    layouts = {}
    for tensor in network.tensors:
        readers = [layer for layer in network.layers if any(s.tensor == tensor.name for s in layer.segments)]
        phases = [1, 1]
        for axis in range(2):
            strides = {
                layer.stride[axis] * layer.pool[axis] for layer in readers if layer.positions[axis] > layer.pool[axis]
            }
            if len(strides) > 1:
                raise PlanError(
                    f"tensor {tensor.name!r} is read with the strides {sorted(strides)}: banks serve one of them; "
                    f"{remedy}"
                )
            phases[axis] = strides.pop() if strides else 1
        pitch = -(-tensor.shape[1] // phases[1])
        pitch = max([pitch, *(layer.positions[1] // layer.pool[1] for layer in readers)])
        skew = max(1, written // phases[1]) if written > 1 and phases[1] > 1 else 0
        layouts[tensor.name] = BankedLayout(tensor.shape, banks, (phases[0], phases[1]), pitch, skew)
    return layouts
