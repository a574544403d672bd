"""The command that counts what makes prose hard to read counts what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import prose


def faults(tmp_path: Path, name: str, text: str) -> dict[str, int]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return dict(prose.count_of(path).faults)


@pytest.mark.parametrize(
    "sentence",
    [
        "Where the config is wrong, the worker ends with an error.",
        "It is needed where Redis does not answer.",
    ],
)
def test_a_where_that_means_if_is_counted(tmp_path: Path, sentence: str) -> None:
    assert faults(tmp_path, "page.md", sentence) == {"where": 1}


@pytest.mark.parametrize(
    "sentence",
    [
        "The log says where the file was found by the worker.",
        "It counts on from where it stopped reading the topic.",
        "```text\nwhere Redis is wrong\n```",
    ],
)
def test_a_where_that_means_a_place_or_is_code_is_not(tmp_path: Path, sentence: str) -> None:
    assert faults(tmp_path, "page.md", sentence) == {}


def test_docstrings_comments_and_messages_of_code_are_read_but_not_names(tmp_path: Path) -> None:
    code = '''
"""A worker is no fool, whoever asks it."""

whoever = {"whoever": 1}
# Of the records that come none is lost, not even
# one that is late.
raise ValueError(f"the receivers were told {whoever} times already")
'''
    assert faults(tmp_path, "code.py", code) == {"is no": 1, "word whoever": 1, "inverted": 1, "word told": 1}


def test_long_and_short_sentences_are_counted_in_paragraphs_but_not_in_tables(tmp_path: Path) -> None:
    page = f"{'word ' * 36}end.\n\nIt does.\n\n| a | b |\n|---|---|\n| {'word ' * 40} | It does. |\n"
    assert faults(tmp_path, "page.md", page) == {"long": 1, "short": 1}


def test_each_entry_of_a_list_of_arguments_is_a_sentence_of_its_own(tmp_path: Path) -> None:
    entries = "".join(f"        name_{n}: the first of the two words here.\n" for n in range(9))
    code = f'def f():\n    """Does it well and fast.\n\n    Args:\n{entries.replace(".", "")}    """\n'
    assert faults(tmp_path, "code.py", code) == {}
    assert faults(tmp_path, "other.py", code.replace("    Args:\n", "    It takes\n")) == {"long": 1}


def test_comments_behind_code_on_lines_that_follow_each_other_are_read_apart(tmp_path: Path) -> None:
    behind = "".join(f"a{n} = 1  # here are some words about this number\n" for n in range(9))
    assert faults(tmp_path, "code.py", behind) == {}
    assert faults(tmp_path, "other.py", "# here are some words about this number\n" * 9) == {"long": 1}


def test_there_is_no_is_plain_english(tmp_path: Path) -> None:
    text = "There is no topic of that name here. A topic is no queue, however long."
    assert faults(tmp_path, "page.md", text) == {"is no": 1}


def test_every_word_to_avoid_comes_from_the_glossary() -> None:
    assert {"told", "whoever"} <= set(prose.avoided())


def test_the_pages_stay_readable() -> None:
    """A little room above 2026-11-29: 1, 1 and 15.5. Before that revision it was 25, 148 and 16.4."""
    total = prose.Count()
    for place in ("README.md", "CONTRIBUTING.md", "docs"):
        for path in prose.pages(prose.ROOT / place):
            prose.count(path, prose.avoided(), total)
    avoided = sum(number for kind, number in total.faults.items() if kind.startswith("word "))
    assert total.faults["where"] <= 6, "python -m tests.prose README.md docs --list where"
    assert avoided <= 15, "python -m tests.prose README.md docs"
    assert total.mean <= 16.5
