"""Choices of training: each changes one thing of a recipe."""

import json

import pytest

from benchmarks.recipes import CHOICES, FILE, RECIPE, TASKS, Recipe, page
from darb_prune.studies.experiment.spec import Experiment

_MORE = "three times the epochs (`--effort thorough`)"


def _epochs(fields):
    schedule = Experiment.model_validate(fields).pruning
    return schedule.epochs * (schedule.steps - 1) + schedule.final_epochs


@pytest.mark.parametrize("name", TASKS)
def test_all_choices_have_the_epochs_of_the_recipe(name):
    recipe = Recipe(name, 2)
    made = {words: fields for words, choice in CHOICES.items() if (fields := choice(recipe)) is not None}
    dense = recipe.task.training["epochs"]
    for words, fields in made.items():
        trained = Experiment.model_validate(fields).training.explicit().get("epochs", dense)
        if words == _MORE:
            assert _epochs(fields) >= 3 * recipe.epochs
        else:
            assert trained + _epochs(fields) == pytest.approx(dense + recipe.epochs, rel=0.02), words


@pytest.mark.parametrize("name", TASKS)
def test_each_choice_changes_one_thing(name):
    recipe = Recipe(name, 2)
    made = [fields for choice in CHOICES.values() if (fields := choice(recipe)) is not None]
    assert len({json.dumps(fields, sort_keys=True) for fields in made}) == len(made)
    assert made[0] == recipe.fields
    for fields in made[1:]:
        changed = {key for key in fields if fields[key] != recipe.fields.get(key)}
        assert len(changed) == 1 or changed in ({"training", "pruning", "distillation"}, {"sizes", "ratios", "teacher"})


def test_the_page_has_the_best_choice_first():
    text = page({"digits": {RECIPE: [0.9, 0.91], "half the rate": [0.92, 0.92], "one step": []}})
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| half the rate | 92.00 ± 0.00 | +1.50 ± 0.71 |", f"| {RECIPE} | 90.50 ± 0.71 |  |"]


def test_the_page_is_that_of_the_results():
    assert FILE.with_suffix(".md").read_text() == page(json.loads(FILE.read_text()))
