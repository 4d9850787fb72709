"""Models of vectors."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models.brought import BroughtModel, Residual, vectors
from darb_prune import JoinedInputs

__all__ = ["VECTORS"]


def _mlp(activation: nn.Module, *behind: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), activation, nn.Linear(32, 32), activation, nn.Linear(32, 5), *behind)


class _Highway(nn.Module):
    """A gate chooses between a layer and its input; ``mended``, their sum."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.layer, self.gate, self.head = nn.Linear(16, 16), nn.Linear(16, 16) if gated else None, nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.layer(x))
        if self.gate is None:
            return self.head(x + y)
        gate = torch.sigmoid(self.gate(x))
        return self.head(gate * y + (1 - gate) * x)


class _GatedUnit(nn.Module):
    """nn.GLU; ``mended``, a ReLU."""

    def __init__(self, gated: bool = True) -> None:
        super().__init__()
        self.layer, self.head, self.gated = nn.Linear(16, 32 if gated else 16), nn.Linear(16, 4), gated

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return self.head(F.glu(x, 1) if self.gated else F.relu(x))


class _ActorCritic(nn.Module):
    """Two outputs; ``mended``, one behind the other."""

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self.body, self.actor, self.critic = nn.Linear(8, 24), nn.Linear(24, 4), nn.Linear(24, 1)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = torch.tanh(self.body(x))
        both = self.actor(x), self.critic(x)
        return torch.cat(both, 1) if self.joined else both


class _Two(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(12, 12), nn.Linear(4, 12), nn.Linear(24, 4)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return self.head(torch.cat([F.relu(self.one(one)), F.relu(self.two(two))], 1))


class _Branches(nn.Module):
    """Parts of the input go through layers of their own; ``mended``, each layer reads all."""

    def __init__(self, split: bool = True) -> None:
        super().__init__()
        size = 8 if split else 16
        self.one, self.two, self.head = nn.Linear(size, 12), nn.Linear(size, 12), nn.Linear(24, 4)
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.chunk(x, 2, 1) if self.split else (x, x)
        return self.head(torch.cat([F.relu(self.one(one)), F.relu(self.two(two))], 1))


class _Standardised(nn.Module):
    """Constants of the inputs' statistics in front; ``norm``, a BatchNorm1d with them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        mean, deviation = torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.norm = nn.BatchNorm1d(12, affine=False, eps=0) if norm else None
        if self.norm is not None:
            self.norm.running_mean, self.norm.running_var = mean, deviation**2  # buffers
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers((x - self.mean) / self.deviation if self.norm is None else self.norm(x))


class _Classifier(nn.Module):
    """The number of the class; ``mended``, its outputs."""

    def __init__(self, mended: bool = False) -> None:
        super().__init__()
        self.layers, self.mended = _mlp(nn.ReLU()), mended

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if self.mended else self.layers(x).argmax(1)


class _Autoencoder(nn.Module):
    """Anomalies: as MLPerf Tiny's."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((40, 16, 16, 4, 16, 16)):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(16, 40))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


_SIXTEEN = vectors(16)

VECTORS = {
    "mlp": BroughtModel("MLP, ReLU", lambda: _mlp(nn.ReLU()), _SIXTEEN),
    "mlp leaky": BroughtModel("MLP, LeakyReLU", lambda: _mlp(nn.LeakyReLU(0.1)), _SIXTEEN),
    "mlp elu": BroughtModel("MLP, ELU", lambda: _mlp(nn.ELU()), _SIXTEEN),
    "mlp gelu": BroughtModel("MLP, GELU", lambda: _mlp(nn.GELU()), _SIXTEEN),
    "mlp mish": BroughtModel("MLP, Mish", lambda: _mlp(nn.Mish()), _SIXTEEN),
    "mlp softmax": BroughtModel(
        "softmax at the end", lambda: _mlp(nn.ReLU(), nn.Softmax(1)), _SIXTEEN, lambda: _mlp(nn.ReLU())
    ),
    "classifier": BroughtModel("argmax at the end", _Classifier, _SIXTEEN, lambda: _Classifier(True)),
    "residual mlp": BroughtModel(
        "residual blocks",
        lambda: nn.Sequential(Residual(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)), nn.Linear(16, 4)),
        _SIXTEEN,
    ),
    "autoencoder": BroughtModel("autoencoder, batch norm", _Autoencoder, vectors(40)),
    "highway": BroughtModel("highway layer", _Highway, _SIXTEEN, lambda: _Highway(False)),
    "glu": BroughtModel("gated linear unit", _GatedUnit, _SIXTEEN, lambda: _GatedUnit(False)),
    "actor-critic": BroughtModel("two outputs", _ActorCritic, vectors(8), lambda: _ActorCritic(True)),
    "branches": BroughtModel("chunks of the input", _Branches, _SIXTEEN, lambda: _Branches(False)),
    "two inputs": BroughtModel("two inputs", _Two, _SIXTEEN, lambda: JoinedInputs(_Two(), (12, 4))),
    "standardised": BroughtModel(
        "constants of the data in front", _Standardised, vectors(12), lambda: _Standardised(True)
    ),
    "layer norm": BroughtModel(
        "LayerNorm",
        lambda: nn.Sequential(nn.Linear(16, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 4)),
        _SIXTEEN,
        lambda: nn.Sequential(nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4)),
    ),
}  # fmt: skip
