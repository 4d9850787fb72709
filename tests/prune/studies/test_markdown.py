"""Tables for pages."""

from darb_prune.studies.markdown import table


def test_columns_of_numbers_are_to_the_right():
    text = "| name | n |\n| --- | ---: |\n| a \\| b | 3 |\n"
    assert table(["name", "n"], [["a | b", 3]], left=1) == text
    assert table(["name", "n"], []) == "| name | n |\n| --- | --- |\n"
