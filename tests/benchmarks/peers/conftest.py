"""What tests of rows and of results start from."""

import pytest

from benchmarks.peers import measure
from tests.benchmarks.peers.chains import chain


@pytest.fixture
def subject(tmp_path):
    path = tmp_path / "tiny.darb"
    chain(2, 12, 16).network.save(path)
    return measure.Subject.of(path)
