"""The prompt's history."""

from __future__ import annotations

from edge_app.tui.composer.prompt import History


def test_it_walks_back_and_returns_to_the_draft() -> None:
    history = History(["one", "two"])
    assert [history.older("draft"), history.older("two"), history.older("one")] == ["two", "one", None]
    assert [history.newer(), history.newer(), history.newer()] == ["two", "draft", None]


def test_repetitions_and_empty_inputs_are_not_kept() -> None:
    history = History(["same", "same", "  "])
    assert [history.older(""), history.older("same")] == ["same", None]


def test_entries_of_earlier_chats_come_before_those_of_this_one() -> None:
    history = History(["now"])
    history.put_first(["long ago", "yesterday"])
    assert [history.older(""), history.older(""), history.older("")] == ["now", "yesterday", "long ago"]


def test_adding_goes_back_to_the_end() -> None:
    history = History(["one", "two"])
    history.older("")
    history.older("")
    history.add("three")
    assert history.older("") == "three"
