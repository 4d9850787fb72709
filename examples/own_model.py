"""Your own model, from training to an encoded network.

Run it with ``python examples/own_model.py``; it takes a few seconds and writes ``own_model.darb``.
"""

from torch import Tensor, nn

from darb_prune import encode, evaluate, finetune, prune, quantize, train
from darb_prune.tasks.digits import load
from darb_prune.training.batches import Batches
from darb_prune.training.loop import seeded


class Net(nn.Module):
    """Any layers of docs/models.md."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 96)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.hidden(x.flatten(1)).relu()))


def main(path: str = "own_model.darb") -> None:
    data = load()
    test, loader = data["test"], Batches(data["train"].inputs, data["train"].labels)
    with seeded(0):
        model = Net()
    train(model, loader, epochs=30)
    print(f"dense    {evaluate(model, test.inputs, test.labels):.4f}")

    pruned = prune(model, ratio=8)  # in place, torch.nn.utils.prune masks
    finetune(model, loader, epochs=40, rate=5e-3)
    finetune(model, loader, epochs=10, weight_bits=8)  # with the rounding of the integer model
    print(f"pruned   {evaluate(model, test.inputs, test.labels):.4f} at {pruned.ratio:.1f}x")

    integer = quantize(model, data["train"].inputs)  # torch module, integer inference: the oracle
    answers = integer(integer.quantize_input(test.inputs)).argmax(dim=1)
    print(f"integer  {(answers == test.labels).double().mean():.4f}")
    encode(integer).save(path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
