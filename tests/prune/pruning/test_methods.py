"""Options as classes: what they take, what they say to mistakes, and that nothing declares an option again."""

import pickle

import pytest
from typer.main import get_command

from darb_hw.plan.latency import RUN_CYCLES_MIN
from darb_prune import tasks
from darb_prune.cli import app
from darb_prune.encoded import EMPTY, Level
from darb_prune.errors import DarbError
from darb_prune.patterns import storage
from darb_prune.pruning.methods import (
    METHODS,
    BankBalanced,
    Block,
    Darb,
    Method,
    Mixed,
    as_method,
    encodable,
    methods_with,
    parse,
)
from darb_prune.pruning.schedule import PruningSchedule
from darb_prune.studies.experiment import spec

OPTIONS = {name: field for method in METHODS.values() for name, field in method.model_fields.items()}


def test_names_are_those_of_the_encodings():
    assert set(METHODS) == {*storage.METHODS, "neurons", "channels"}  # what these leave is dense
    assert encodable() == ["darb", "mixed", "bmwm", "bank", "nm", "neurons", "channels", "dense"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_knows_its_name_and_survives_a_round_trip(name):
    method = as_method(name)
    assert type(method) is METHODS[name]
    assert method.name == name
    assert method == parse(name, method.explicit()) == pickle.loads(pickle.dumps(method))
    assert hash(method) == hash(parse(name))
    assert as_method(method) is method
    field, *_ = [*type(method).model_fields, "name"]
    with pytest.raises((ValueError, AttributeError)):
        setattr(method, field, "x")


def test_text_and_values_are_the_same():
    assert Darb(levels="0,0 3,1") == Darb(levels=["0,0", "3,1"]) == Darb(levels=[EMPTY, Level(3, 1)])
    assert Darb(levels="0,0 3,1").explicit() == {"levels": ["0,0", "3,1"]}
    assert Block(shape="2x8") == Block(shape=[2, 8]) == Block(shape=(2, 8))


def test_what_is_given_is_kept_apart_from_defaults():
    assert Darb(order="spread").explicit() == {"order": "spread"}
    assert Darb().explicit() == {}
    assert Darb(order="spread") == Darb()
    assert Mixed(levels="3,2").updated({"order": "keep"}) == Mixed(levels="3,2", order="keep")
    assert PruningSchedule(steps=3).updated({"rate": 1}) == PruningSchedule(steps=3, rate=1.0)


def test_defaults_of_a_task_are_used_where_a_method_has_them():
    defaults = {"saliency": "magnitude", "order": "none"}
    assert parse("darb", {"order": "search"}, defaults) == Darb(order="search", saliency="magnitude")
    assert parse("bank", {}, defaults) == BankBalanced(order="none", saliency="magnitude")
    assert parse("rows", {}, defaults).explicit() == {"saliency": "magnitude"}
    assert parse("dense", {}, defaults).explicit() == {}


@pytest.mark.parametrize(
    ("options", "streams", "floor"),
    [
        ({}, None, 0),
        ({"lanes": 3}, 3, 3),
        ({"lanes": 16}, 16, 16),
        ({"lanes": 16, "positions": 1, "results": 1}, 16, 16),
        ({"lanes": 16, "positions": 8}, 2, 16),
        ({"lanes": 16, "positions": 16, "results": 2}, 1, 8),
        ({"lanes": 24, "positions": 8, "results": 4}, 3, 6),
        ({"lanes": 16, "positions": 4, "results": 4}, 4, RUN_CYCLES_MIN),
    ],
)
def test_rows_at_once_and_the_codes_in_which_their_results_are_written(options, streams, floor):
    method = Mixed(**options)
    assert (method.streams, method.floor) == (streams, floor)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_tasks_have_schedules_and_options_of_methods(name):
    task = tasks.get(name)
    assert isinstance(task.pruning, PruningSchedule)
    assert task.pruning.explicit().keys() >= {"steps", "epochs", "final_epochs", "rate", "final_rate"}
    assert parse("darb", task.method_options).explicit() == task.method_options


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_an_option_that_a_method_does_not_have_names_those_that_have_it(name, option):
    if option in METHODS[name].model_fields:
        return
    with pytest.raises(DarbError) as error:
        parse(name, {option: OPTIONS[option].default})
    line = f"{option}: method {name} has no such option; methods that have it: {', '.join(methods_with(option))}"
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": "eight"}, "lanes 'eight': input should be a valid integer"),
        ({"lanes": 0}, "lanes 0 must be at least 1"),
        ({"positions": 0, "lanes": 8}, "positions 0 must be at least 1"),
        ({"positions": 2}, "positions 2: give the lanes of the engine too"),
        ({"positions": 3, "lanes": 12}, "positions 3: choose a power of two that divides the lanes, 12"),
        ({"positions": 8, "lanes": 12}, "positions 8: choose a power of two that divides the lanes, 12"),
        ({"results": 2, "lanes": 8}, "results 2: choose a power of two that divides the positions, 1"),
        ({"results": 8, "positions": 4, "lanes": 8}, "results 8: choose a power of two that divides the positions, 4"),
        ({"levels": [3]}, r"levels\.0 3: input should be an instance of Level"),
        ({"levels": ["3"]}, "level '3': write \"b,m\", for example"),
        ({"levels": "3,9"}, r"level \(3, 9\): a block of 8 keeps 1 to 8"),
        ({"ordr": "none"}, "ordr: no such option; choose from saliency, order, allocation"),
    ],
)
def test_mistakes_are_one_line(options, message):
    with pytest.raises(DarbError, match=f"^{message}") as error:
        Darb(**options)
    assert "\n" not in str(error.value)


def test_one_declaration_gives_flags_and_keys():
    commands = get_command(app).commands
    for name, classes in (("prune", [*METHODS.values(), PruningSchedule]), ("evaluate", METHODS.values())):
        flags = {parameter.name: parameter for parameter in commands[name].params}
        for field, declared in {key: value for one in classes for key, value in one.model_fields.items()}.items():
            assert declared.description
            assert declared.description in flags[field].help
            assert flags[field].default is None
    table = spec.MethodTable(method="bank", kept=4, label="banks", admm=0.5, exclude=["fc3"])
    assert table.method == BankBalanced(kept=4)
    assert table.schedule == PruningSchedule(admm=0.5)
    assert table.options() == {"method": "bank", "kept": 4, "exclude": ["fc3"], "admm": 0.5}
    assert issubclass(METHODS["bank"], Method)
