"""The small experiment, read and run."""

import pytest

from darb_prune.studies.experiment import run
from darb_prune.studies.experiment import spec as spec_file
from tests.prune.studies.experiment.quick import QUICK


@pytest.fixture
def spec(tmp_path):
    def make(text: str = QUICK, **replaced) -> spec_file.Experiment:
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "quick.toml"
        path.write_text(text)
        return spec_file.load(path)

    return make


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """The quick experiment with a method that cannot reach its ratio: experiment, work folder, records."""
    folder = tmp_path_factory.mktemp("experiment")
    path = folder / "quick.toml"
    path.write_text(QUICK + '[methods.none]\nmethod = "darb"\nexclude = ["fc1", "fc2", "fc3"]\nratios = [8]\n')
    experiment = spec_file.load(path)
    return experiment, folder / "work", run.run(experiment, folder / "work", progress=False)
