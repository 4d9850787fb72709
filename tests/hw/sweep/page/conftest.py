"""What tests of the page have in common."""

import pytest

from darb_hw.config import EngineConfig
from darb_hw.emit import generate
from tests.hw.sweep.page.sample_sweep import sample_json
from tests.networks import random_network


@pytest.fixture(scope="session")
def manifest(tmp_path_factory) -> dict:
    """That of a small engine."""
    network = random_network(5, sizes=(9, 11, 4)).network
    return generate(network, EngineConfig(lanes=2), tmp_path_factory.mktemp("build")).manifest


@pytest.fixture(scope="session")
def folder(manifest, tmp_path_factory):
    """The folder of a sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.json").write_bytes(sample_json(manifest))
    return folder
