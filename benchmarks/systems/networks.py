"""Networks of the comparisons that are no model of a task."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from darb_prune.tasks.fsdd import BANDS
from darb_prune.tasks.resnet import ResidualBlock
from darb_prune.training.batches import Split

__all__ = ["SpokenLstm", "head", "padded", "residual"]


def residual() -> nn.Sequential:
    """Five residual blocks of 8, 16 and 32 channels behind a convolution of step 2, for (samples, 1, 28, 28)."""
    blocks = (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        *(ResidualBlock(*sizes) for sizes in blocks),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def head() -> nn.Sequential:
    """1024-1024-1024-10: 2,107,392 weights."""
    return nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


def padded(load: Callable[[], dict[str, Split]]) -> dict[str, Split]:
    """Images of 28x28 pixels with an edge of two, as vectors of 1024."""
    return {
        name: Split(functional.pad(split.inputs, (2, 2, 2, 2)).flatten(1), split.labels)
        for name, split in load().items()
    }


class SpokenLstm(nn.Module):
    """An LSTM of 128 units over frames, and a Linear layer on its state after the last frame."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 128, batch_first=True)
        self.output = nn.Linear(128, 10)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of shape (clips, 10) for float frames of shape (clips, frames, bands)."""
        values, _ = self.lstm(frames)
        return self.output(values[:, -1])
