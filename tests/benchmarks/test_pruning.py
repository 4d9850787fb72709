"""The page of the pruning results."""

from benchmarks.pruning import FOLDER, page


def test_the_page_is_that_of_the_results_beside_it():
    assert page() == (FOLDER / "pruning.md").read_text()
