"""Models of images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from benchmarks.models.brought import BroughtModel, Residual, images, normed

__all__ = ["IMAGES"]


def _head(channels: int, classes: int = 10) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def _vgg() -> nn.Module:
    first, second = (normed(3, 8), normed(8, 8)), (normed(8, 16), normed(16, 16))
    head = nn.Flatten(), nn.Dropout(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)
    return nn.Sequential(*first, nn.MaxPool2d(2), *second, nn.MaxPool2d(2), *head)


def _all_convolutional() -> nn.Module:
    layers = normed(3, 12), normed(12, 12, stride=2), normed(12, 16), nn.Conv2d(16, 10, 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _resnet(activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        body = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), activation()
        body = *body, nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        return [Residual(*body, skip=None if inputs == outputs else skip), activation()]

    return nn.Sequential(normed(3, 8), *block(8, 8, 1), *block(8, 16, 2), *_head(16))


class _PreActivation(nn.Module):
    """The norm and the activation stand in front of the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            y = convolution(F.relu(norm(y)))
        return self.head(F.relu(self.norms[-1](x + y)).mean((2, 3)))


def _inverted(activation: type[nn.Module] = nn.ReLU6) -> list[nn.Module]:
    """Blocks of MobileNetV2 and V3: wider inside than outside."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        wide = 3 * inputs
        body = (
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        return Residual(*body) if (inputs, stride) == (outputs, 1) else nn.Sequential(*body)

    return [block(8, 8, 1), block(8, 12, 2), block(12, 12, 1)]


def _mobilenet_v1() -> nn.Module:
    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(normed(inputs, inputs, stride=stride, groups=inputs), normed(inputs, outputs, 1))

    return nn.Sequential(normed(3, 8, stride=2), block(8, 16, 1), block(16, 24, 2), *_head(24))


class _SqueezeExcitation(nn.Module):
    """Each channel times a gate of what all channels average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))


class _Fire(nn.Module):
    """SqueezeNet's module."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = nn.Conv2d(inputs, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class _Dense(nn.Module):
    """A block of DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(normed(8 + 4 * n, 4) for n in range(3))
        self.head = nn.Sequential(*_head(20))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(x)


class _Inception(nn.Module):
    """Branches of several kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                normed(3, 4, 1),
                nn.Sequential(normed(3, 4, 1), normed(4, 6)),
                nn.Sequential(normed(3, 4, 1), normed(4, 6, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), normed(3, 4, 1)),
            ]
        )
        self.head = nn.Sequential(*_head(20))

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return self.head(torch.cat([branch(x) for branch in self.branches], 1))


class _Shuffle(nn.Module):
    """ShuffleNet's unit: grouped convolutions, and channels that change their groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one = nn.Conv2d(3, 8, 3, 2, 1), normed(8, 8, 1, groups=2)
        self.two = normed(8, 8, groups=8)
        self.three, self.head = nn.Conv2d(8, 8, 1, groups=2), nn.Sequential(*_head(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.one(x)
        y = y.reshape(-1, 2, 4, *y.shape[2:]).transpose(1, 2).reshape(y.shape)
        return self.head(F.relu(x + self.three(self.two(y))))


class _UNet(nn.Module):
    """Down, up, and a skip between them."""

    def __init__(self, *up: nn.Module) -> None:
        super().__init__()
        self.down, self.middle, self.up = normed(1, 4), normed(4, 8), nn.Sequential(*up)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        y = self.up(self.middle(F.max_pool2d(x, 2)))
        return self.last(torch.cat([x, F.relu(y)], 1))


class _Detector(nn.Module):
    """Boxes and classes of each position: two outputs."""

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self.body, self.boxes, self.classes = normed(3, 8, stride=2), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.body(x)
        both = self.boxes(x), self.classes(x)
        return torch.cat(both, 1) if self.joined else both


class _Normed(nn.Module):
    """A convolution whose norm is ``norm``, and softmax behind all if ``softmax``."""

    def __init__(self, norm: nn.Module, softmax: bool = False) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 8, 3, 2, 1), norm, nn.Linear(8, 5)
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(F.relu(self.norm(self.first(x))).mean((2, 3)))
        return F.log_softmax(x, 1) if self.softmax else x


class _ConvNext(nn.Module):
    """A large depthwise kernel, a norm over channels, GELU."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm = nn.LayerNorm(8) if norm == "layer" else nn.BatchNorm2d(8)
        self.wide, self.narrow, self.head = nn.Conv2d(8, 32, 1), nn.Conv2d(32, 8, 1), nn.Sequential(*_head(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(x)
        last = isinstance(self.norm, nn.LayerNorm)
        y = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if last else self.norm(y)
        return self.head(x + self.narrow(F.gelu(self.wide(y))))


def _squeeze_excitation(gated: bool) -> nn.Module:
    gate = [_SqueezeExcitation(8)] if gated else []
    return nn.Sequential(normed(3, 8, stride=2), *gate, *_head(8))


def _weight_normed(parametrised: bool) -> nn.Module:
    layer = weight_norm(nn.Conv2d(3, 8, 3, 2, 1))
    layer = layer if parametrised else remove_parametrizations(layer, "weight")
    return nn.Sequential(layer, nn.ReLU(), *_head(8))


def _cropped(crops: bool) -> nn.Module:
    class Cropped(nn.Module):
        """The border of a map is cut off, as networks for segmentation do."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3, padding=1 if crops else 0), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.first(x))
            return self.second(x[:, :, 1:-1, 1:-1] if crops else x)

    return Cropped()


_SMALL = images(3, 16, 16)

IMAGES = {
    "lenet": BroughtModel("LeNet-5 with tanh", _lenet, images(1, 28, 28)),
    "vgg": BroughtModel("VGG, batch norm, dropout", _vgg, _SMALL),
    "all convolutional": BroughtModel("convolutions only, 10 classes averaged", _all_convolutional, _SMALL),
    "resnet": BroughtModel("ResNet, two blocks", _resnet, _SMALL),
    "resnet prelu": BroughtModel("ResNet with PReLU", lambda: _resnet(nn.PReLU), _SMALL),
    "resnet silu": BroughtModel("ResNet with SiLU", lambda: _resnet(nn.SiLU), _SMALL),
    "pre-activation": BroughtModel("ResNet, norm and ReLU in front", _PreActivation, _SMALL),
    "mobilenet v1": BroughtModel("MobileNetV1, depthwise", _mobilenet_v1, images(3, 24, 24)),
    "mobilenet v2": BroughtModel(
        "MobileNetV2, inverted residuals",
        lambda: nn.Sequential(normed(3, 8, stride=2), *_inverted(), *_head(12)),
        _SMALL,
    ),
    "mobilenet v3": BroughtModel(
        "MobileNetV3's hardswish",
        lambda: nn.Sequential(normed(3, 8, stride=2), *_inverted(nn.Hardswish), *_head(12)),
        _SMALL,
    ),
    "squeeze-excitation": BroughtModel(
        "channels times gates", lambda: _squeeze_excitation(True), _SMALL, lambda: _squeeze_excitation(False)
    ),
    "squeezenet": BroughtModel(
        "fire module, concatenation", lambda: nn.Sequential(normed(3, 8, stride=2), _Fire(8), *_head(16)), _SMALL
    ),
    "densenet": BroughtModel("DenseNet's block", _Dense, images(3, 8, 8)),
    "inception": BroughtModel("branches of several kernels", _Inception, images(3, 8, 8)),
    "shufflenet": BroughtModel("grouped convolutions, shuffle", _Shuffle, _SMALL),
    "super resolution": BroughtModel(
        "pixel shuffle",
        lambda: nn.Sequential(normed(1, 8), nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2)),
        images(1, 8, 8),
    ),
    "space to depth": BroughtModel(
        "pixels become channels, YOLO's focus",
        lambda: nn.Sequential(nn.PixelUnshuffle(2), normed(12, 8), *_head(8)),
        _SMALL,
    ),
    "grouped": BroughtModel(
        "ResNeXt's grouped convolution",
        lambda: nn.Sequential(normed(3, 8), normed(8, 16, groups=4, stride=2), *_head(16)),
        _SMALL,
        lambda: nn.Sequential(normed(3, 8), normed(8, 16, stride=2), *_head(16)),
    ),
    "depth multiplier": BroughtModel(
        "two outputs for each channel",
        lambda: nn.Sequential(normed(3, 6, groups=3), normed(6, 8, 1), *_head(8)),
        _SMALL,
        lambda: nn.Sequential(normed(3, 6), normed(6, 8, 1), *_head(8)),
    ),
    "dilated": BroughtModel(
        "dilated convolutions",
        lambda: nn.Sequential(normed(3, 8), normed(8, 8, padding=2, dilation=2), *_head(8)),
        images(3, 12, 12),
    ),
    "tensorflow same": BroughtModel(
        "padding on two sides, stride 2",
        lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), normed(3, 8, stride=2, padding=0), *_head(8)),
        _SMALL,
    ),
    "wide kernels": BroughtModel(
        "kernels 1x7 and 7x1",
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, (1, 7), padding=(0, 3)), nn.ReLU(), nn.Conv2d(6, 8, (7, 1), padding=(3, 0)), nn.ReLU(),
            *_head(8),
        ),
        images(3, 12, 12),
    ),
    "overlapping pools": BroughtModel(
        "AlexNet's pooling",
        lambda: nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(3, 2), *_head(8)),
        _SMALL,
    ),
    "u-net transposed": BroughtModel(
        "U-Net, transposed convolution", lambda: _UNet(nn.ConvTranspose2d(8, 4, 2, 2)), images(1, 8, 8)
    ),
    "u-net nearest": BroughtModel(
        "U-Net, nearest neighbours",
        lambda: _UNet(nn.Upsample(scale_factor=2), nn.Conv2d(8, 4, 3, padding=1)),
        images(1, 8, 8),
    ),
    "detector": BroughtModel(
        "boxes and classes, two outputs", _Detector, _SMALL, lambda: _Detector(joined=True)
    ),
    "group norm": BroughtModel(
        "GroupNorm", lambda: _Normed(nn.GroupNorm(2, 8)), _SMALL, lambda: _Normed(nn.BatchNorm2d(8))
    ),
    "instance norm": BroughtModel(
        "InstanceNorm", lambda: _Normed(nn.InstanceNorm2d(8)), _SMALL, lambda: _Normed(nn.BatchNorm2d(8))
    ),
    "log-softmax": BroughtModel(
        "log-softmax at the end", lambda: _Normed(nn.BatchNorm2d(8), True), _SMALL, lambda: _Normed(nn.BatchNorm2d(8))
    ),
    "convnext": BroughtModel("ConvNeXt's block", lambda: _ConvNext("layer"), _SMALL, lambda: _ConvNext("batch")),
    "weight norm": BroughtModel(
        "weight norm", lambda: _weight_normed(True), _SMALL, lambda: _weight_normed(False)
    ),
    "cropped": BroughtModel("a border is cut off", lambda: _cropped(True), images(1, 10, 10), lambda: _cropped(False)),
}  # fmt: skip
