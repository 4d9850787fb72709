"""The two LeNets of the pruning literature, with ReLU."""

from collections import OrderedDict

from torch import nn

from darb_prune.tasks import scaled

__all__ = ["lenet5", "lenet_300_100"]


def lenet_300_100(size: float = 1.0) -> nn.Sequential:
    """784-300-100-10 for inputs of shape (samples, 784): 266,200 weights."""
    first, second = scaled(300, size), scaled(100, size)
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(784, first), relu1=nn.ReLU(),
            fc2=nn.Linear(first, second), relu2=nn.ReLU(),
            fc3=nn.Linear(second, 10),
        )
    )  # fmt: skip


def lenet5(size: float = 1.0) -> nn.Sequential:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max pooling, for inputs (samples, 1, 28, 28): 61,470 weights."""
    maps = scaled(6, size), scaled(16, size)
    units = scaled(120, size), scaled(84, size)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, maps[0], 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(*maps, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(25 * maps[1], units[0]),
            relu3=nn.ReLU(),
            fc2=nn.Linear(*units),
            relu4=nn.ReLU(),
            fc3=nn.Linear(units[1], 10),
        )
    )
