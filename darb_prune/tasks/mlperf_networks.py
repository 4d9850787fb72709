"""The four reference networks of MLPerf Tiny (github.com/mlcommons/tiny, Banbury et al., 2021).

Parameter names are those of the files of published weights (:mod:`darb_prune.tasks.mlperf`). Where a stride of 2 needs
one more row and column, TensorFlow pads an image on the right and at the bottom. So padding is a module of its own.
"""

from torch import Tensor, nn

__all__ = ["Autoencoder", "DsCnn", "MobileNetV1", "ResNet8"]

EPSILON = 1e-3
"""Of every batch normalisation."""
_AROUND, _BEHIND = (1, 1, 1, 1), (0, 1, 0, 1)
"""Zeros left, right, above and below an image that a 3x3 convolution reads: with stride 1, with stride 2."""


def _padding(stride: int) -> nn.ZeroPad2d:
    return nn.ZeroPad2d(_AROUND if stride == 1 else _BEHIND)


def _neutral_norm(channels: int) -> nn.BatchNorm2d:
    """A normalisation that changes nothing in ``eval`` mode."""
    norm = nn.BatchNorm2d(channels, eps=EPSILON)
    nn.init.constant_(norm.get_buffer("running_var"), 1 - EPSILON)
    return norm


class DsCnn(nn.Module):
    """Keyword spotting: a convolution of 10x4, four pairs of depthwise and pointwise convolutions, 22,016 weights.

    The published weights have the normalisations folded into the convolutions. So these are neutral at first.
    """

    def __init__(self, classes: int = 12, width: int = 64, pairs: int = 4) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 1, 4, 5))
        self.first = nn.Conv2d(1, width, (10, 4), stride=2)
        self.norm = _neutral_norm(width)
        self.relu = nn.ReLU()
        self.dw = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(pairs))
        self.dw_norm = nn.ModuleList(_neutral_norm(width) for _ in range(pairs))
        self.dw_relu = nn.ModuleList(nn.ReLU() for _ in range(pairs))
        self.pw = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(pairs))
        self.pw_norm = nn.ModuleList(_neutral_norm(width) for _ in range(pairs))
        self.pw_relu = nn.ModuleList(nn.ReLU() for _ in range(pairs))
        self.pool = nn.AvgPool2d((25, 5))
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of shape (clips, classes) for MFCC of shape (clips, 1, 49, 10): frames x coefficients."""
        values = self.relu(self.norm(self.first(self.pad(features))))
        depthwise = zip(self.dw, self.dw_norm, self.dw_relu, strict=True)
        pointwise = zip(self.pw, self.pw_norm, self.pw_relu, strict=True)
        for parts in zip(depthwise, pointwise, strict=True):
            for convolution, norm, relu in parts:
                values = relu(norm(convolution(values)))
        return self.fc(self.flatten(self.pool(values)))


class _Stage(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.pad = _padding(stride)
        self.c1 = nn.Conv2d(channels, width, 3, stride)
        self.b1 = nn.BatchNorm2d(width, eps=EPSILON)
        self.relu1 = nn.ReLU()
        self.c2 = nn.Conv2d(width, width, 3, padding=1)
        self.b2 = nn.BatchNorm2d(width, eps=EPSILON)
        self.skip = nn.Conv2d(channels, width, 1, stride) if stride > 1 else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, height, width) -> (samples, width, height / stride, width / stride)."""
        values = self.b2(self.c2(self.relu1(self.b1(self.c1(self.pad(x))))))
        return self.relu2(values + self.skip(x))


class ResNet8(nn.Module):
    """Image classification: a convolution and three stages of 16, 32 and 64 channels, 77,360 weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.c0 = nn.Conv2d(3, 16, 3, padding=1)
        self.b0 = nn.BatchNorm2d(16, eps=EPSILON)
        self.relu = nn.ReLU()
        self.s1 = _Stage(16, 16, 1)
        self.s2 = _Stage(16, 32, 2)
        self.s3 = _Stage(32, 64, 2)
        self.pool = nn.AvgPool2d(8)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (samples, classes) for images of shape (samples, 3, 32, 32), pixels in 0 to 255."""
        values = self.s3(self.s2(self.s1(self.relu(self.b0(self.c0(images))))))
        return self.fc(self.flatten(self.pool(values)))


class MobileNetV1(nn.Module):
    """Visual wake words: MobileNetV1 (Howard et al., 2017), a quarter of its width, 96x96 pixels, 208,112 weights."""

    WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.pad = _padding(2)
        self.c0 = nn.Conv2d(3, self.WIDTHS[0], 3, 2)
        self.b0 = nn.BatchNorm2d(self.WIDTHS[0], eps=EPSILON)
        self.relu = nn.ReLU()
        self.blocks = nn.Sequential(
            *(self._block(*sizes) for sizes in zip(self.WIDTHS, self.WIDTHS[1:], self.STRIDES, strict=False))
        )
        self.pool = nn.AvgPool2d(3)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(self.WIDTHS[-1], classes)

    @staticmethod
    def _block(channels: int, width: int, stride: int) -> nn.Sequential:
        """A depthwise convolution of 3x3 and a pointwise one, each with its normalisation."""
        return nn.Sequential(
            _padding(stride),
            nn.Conv2d(channels, channels, 3, stride, groups=channels),
            nn.BatchNorm2d(channels, eps=EPSILON),
            nn.ReLU(),
            nn.Conv2d(channels, width, 1),
            nn.BatchNorm2d(width, eps=EPSILON),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (samples, classes) for images of shape (samples, 3, 96, 96), pixels in 0 to 1."""
        values = self.blocks(self.relu(self.b0(self.c0(self.pad(images)))))
        return self.fc(self.flatten(self.pool(values)))


class Autoencoder(nn.Module):
    """Anomaly detection: 640-128-128-128-128-8-128-128-128-128-640, 264,192 weights.

    The anomaly of a sound is the mean square of the difference of output and input.
    """

    WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip(self.WIDTHS, self.WIDTHS[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, eps=EPSILON), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(self.WIDTHS[-1], self.WIDTHS[0]))

    def forward(self, spectra: Tensor) -> Tensor:
        """Five frames of 128 log-mel bands in decibels, (samples, 640), given back."""
        return self.net(spectra)
