import hashlib
from pathlib import Path

import pytest
from filelock import FileLock

import darb_prune
from darb_prune.encoded import EncodedNetwork, TestVectors

RATIO = 8


@pytest.fixture(scope="session")
def digits(cache) -> tuple[EncodedNetwork, TestVectors]:
    """The digits task, trained, pruned and compiled; kept between runs while the code that makes it is the same."""
    sources = sorted(Path(darb_prune.__file__).parent.rglob("*.py"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    path = cache / f"digits-{key}.darb"
    with FileLock(cache / "digits.lock"):
        if not path.is_file():
            _compile(path)
    return EncodedNetwork.load(path), TestVectors.load(path.with_suffix(".vectors"))


def _compile(path: Path) -> None:
    import torch

    from darb_prune import tasks
    from darb_prune.runs import pipeline

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        task = tasks.get("digits")
        model, _ = pipeline.train_model(task, 0, progress=False)
        pipeline.prune_model(task, model, RATIO, 0, progress=False)
        made = pipeline.compile_model(task, model, 0, progress=False)
    finally:
        torch.set_num_threads(threads)
    made.vectors.save(path.with_suffix(".vectors"))
    made.encoded.save(path)
