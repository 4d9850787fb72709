"""Networks of the comparisons that are no model of a task."""

from torch import Tensor, nn

from darb_prune.tasks.fsdd import BANDS
from darb_prune.tasks.resnet import ResidualBlock

__all__ = ["SpokenLstm", "head", "residual"]


def residual() -> nn.Sequential:
    """Five residual blocks of 8, 16 and 32 channels behind a convolution of step 2, for (samples, 1, 28, 28)."""
    blocks = (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        *(ResidualBlock(*sizes) for sizes in blocks),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def head() -> nn.Sequential:
    """1024-1024-1024-10, for images of 28x28 pixels with an edge of two: 2,107,392 weights."""
    return nn.Sequential(
        nn.ZeroPad2d(2), nn.Flatten(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 10),
    )  # fmt: skip


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
