"""Where a range of the topics ends: a late answer of Kafka is asked for again, and a refusal is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from monitor.errors import BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.service import reading_topic


class Questions:
    """Kafka's answers in turn: an error is raised, anything else are the ends. Each set of questions is closed."""

    def __init__(self, answers: list) -> None:
        self.answers, self.opened, self.closed = answers, 0, 0

    def __call__(self, config: object) -> Questions:
        self.opened += 1
        return self

    def describe(self) -> dict:
        self.answer = self.answers.pop(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"t": SimpleNamespace(partitions=[1, 0])}

    def real_ends(self, partitions: list) -> dict:
        return dict(zip(partitions, self.answer, strict=True))

    def close(self) -> None:
        self.closed += 1


def ends(monkeypatch: pytest.MonkeyPatch, questions: Questions) -> dict:
    monkeypatch.setattr(reading_topic, "TopicQuestions", questions)
    return reading_topic._ends(SimpleNamespace())


def test_one_late_answer_is_asked_for_again_by_a_client_of_its_own(monkeypatch):
    questions = Questions([BrokerUnavailableError("late"), [7, 9]])
    assert ends(monkeypatch, questions) == {Partition("t", 0): 7, Partition("t", 1): 9}
    assert (questions.opened, questions.closed) == (2, 2)


def test_two_late_answers_are_the_error(monkeypatch):
    questions = Questions([BrokerUnavailableError("late"), BrokerUnavailableError("late again"), [7, 9]])
    with pytest.raises(BrokerUnavailableError, match="late again"):
        ends(monkeypatch, questions)
    assert (questions.opened, questions.closed) == (2, 2)


def test_a_topic_that_is_missing_is_not_asked_for_twice(monkeypatch):
    questions = Questions([TopicMissingError("no topic"), [7, 9]])
    with pytest.raises(TopicMissingError):
        ends(monkeypatch, questions)
    assert questions.opened == 1
