"""The list of questions: each is a function of an `Asker`, in a group, asked in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.answers.asking import Asker
from tests.fakes.answers.shown import shown

Question = Callable[[Asker], Any]

OLD = "is before 2.5"
"""A note: the server does not know nullable fields, and newer types."""


@dataclass(frozen=True)
class Step:
    """One question; `newer` ones are asked of 2.5 and later only.

    A 2.3.5 takes nullable fields without a word, and its process ends at an insert that leaves such
    a column out.
    """

    group: str
    name: str
    ask: Question
    newer: bool = False

    def answer(self, asker: Asker) -> dict[str, Any]:
        """Asks, and returns the answer as JSON can have it."""
        if self.newer and asker.notes.get(OLD):
            return {"skipped": "before 2.5"}
        return shown(self.ask(asker))


class Steps:
    """The questions of one group, in order."""

    def __init__(self, group: str, *, newer: bool = False) -> None:
        self._group, self._newer = group, newer
        self._steps: list[Step] = []

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def __call__(self, ask: Question) -> Question:
        """Adds a function as a question of its own name."""
        self.add(ask.__name__, ask)
        return ask

    def add(self, name: str, ask: Question) -> None:
        """Adds a question."""
        self._steps.append(Step(self._group, name, ask, self._newer))
