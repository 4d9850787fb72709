"""The two LeNets of the pruning literature, with ReLU."""

from collections import OrderedDict

from torch import nn

__all__ = ["lenet5", "lenet_300_100"]


def lenet_300_100() -> nn.Sequential:
    """784-300-100-10 for inputs of shape (samples, 784): 266,200 weights."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(784, 300), relu1=nn.ReLU(), fc2=nn.Linear(300, 100), relu2=nn.ReLU(), fc3=nn.Linear(100, 10)
        )
    )


def lenet5() -> nn.Sequential:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max pooling, for inputs (samples, 1, 28, 28): 61,470 weights."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        )
    )
