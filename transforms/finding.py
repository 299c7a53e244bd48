"""A finding: one thing that preflight noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One result of preflight.

    Attributes:
        code: the stable code that ``accept`` names.
        where: the server, the collection or the field.
        what: the fact, as a sentence.
        remedy: what to do; "" if nothing.
        severity: "error" stops the job.
        acceptable: whether ``accept`` may override an error.
        accepted: whether ``accept`` overrides it.
    """

    code: str
    where: str
    what: str
    remedy: str = ""
    severity: Literal["error", "warning", "info"] = "error"
    acceptable: bool = False
    accepted: bool = False

    @property
    def stops(self) -> bool:
        """Whether the finding stops the job."""
        return self.severity == "error" and not self.accepted

    def __str__(self) -> str:
        words = f"{self.where}: {self.what}"
        return f"{words} {self.remedy}" if self.remedy else words
