"""ResNet-20 for images of 32x32 pixels (He et al., 2015, section 4.2), shortcuts without weights (option A).

Module names are those of the published weights (github.com/akamaster/pytorch_resnet_cifar10).
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResNet", "ResidualBlock", "resnet20"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a change of shape halves the image and adds channels of zeros."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.stride, self.extra = stride, (width - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, height, width) -> (samples, width, height / stride, width / stride)."""
        values = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return self.relu2(values + x)


class ResNet(nn.Module):
    """Three stages of ``blocks`` blocks with 16, 32 and 64 channels, the mean over the image, a Linear layer."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(blocks, 16, 16, 1)
        self.layer2 = self._stage(blocks, 16, 32, 2)
        self.layer3 = self._stage(blocks, 32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(blocks: int, channels: int, width: int, stride: int) -> nn.Sequential:
        first = ResidualBlock(channels, width, stride)
        return nn.Sequential(first, *(ResidualBlock(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (samples, classes) for float images of shape (samples, 3, 32, 32)."""
        values = self.relu(self.bn1(self.conv1(images)))
        values = self.layer3(self.layer2(self.layer1(values)))
        return self.linear(self.flatten(self.pool(values)))


def resnet20() -> ResNet:
    """The ResNet of 20 layers: 268,336 weights."""
    return ResNet(3)
