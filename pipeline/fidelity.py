"""What a collection has beside its rows: source and target side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from transforms.milvus import features
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Finding

Fate = Literal["kept", "changed", "lost", "new"]

_LATER = ("indexes.", "aliases.")
"""What is made after the rows: it is not missing before them."""


@dataclass(frozen=True)
class Feature:
    """One thing that a collection has; "" where that side has none."""

    what: str
    source: str
    target: str
    fate: Fate = "kept"

    @property
    def same(self) -> bool:
        """Whether both sides have it alike."""
        return self.source == self.target


def compare(source: Description, wanted: Description) -> tuple[Feature, ...]:
    """Lists what a collection has in the source beside what it was given in the target."""
    left, right = features.listed(source), features.listed(wanted)
    names = [*left, *(name for name in right if name not in left)]
    return tuple(
        Feature(name, left.get(name, ""), right.get(name, ""), _fate(name, left, right))
        for name in names
    )


def _fate(name: str, left: dict[str, str], right: dict[str, str]) -> Fate:
    if name not in right:
        return "lost"
    if name not in left:
        return "new"
    return "kept" if left[name] == right[name] else "changed"


def findings(plan: CollectionPlan, made: Description) -> Iterator[Finding]:
    """Yields what the target made otherwise than it was told to.

    Servers drop silently what they do not know, so that only asking them again shows it.
    """
    for each in compare(plan.wanted, made):
        if each.what.startswith(_LATER):
            continue
        if each.fate == "lost":
            yield lost(
                plan.name, plan.target, each.what, f"the target does not have it ({each.source})."
            )
        elif each.fate == "changed":
            what = f"it is {each.target} there, not {each.source}."
            yield changed(plan.name, plan.target, each.what, what)


def lost(collection: str, target: str, name: str, what: str) -> Finding:
    """Says that the target cannot hold a feature; what rows need cannot be done without."""
    kind = features.kind_of(name)
    where, what = f"target collection {target}", f"{kind.words} {_short(name)}: {what}"
    if kind.needed:
        return Finding("target-type", where, what, "Use a newer target, or leave it out.")
    code = f"lost:{collection}.{name}"
    remedy = f"Use another target, or go on without it by --accept={code}."
    return Finding(code, where, what, remedy, acceptable=True)


def changed(collection: str, target: str, name: str, what: str) -> Finding:
    """Says that the target holds a feature in another way."""
    return Finding(
        f"changed:{collection}.{name}",
        f"target collection {target}",
        f"{features.kind_of(name).words} {_short(name)}: {what}",
        severity="warning",
    )


def _short(name: str) -> str:
    """Returns what a feature belongs to, where its kind does not say it.

    >>> _short("fields.title.max_length"), _short("ttl")
    ('of title', '(ttl)')
    """
    of, _, rest = name.partition(".")
    return f"of {rest.partition('.')[0]}" if of == "fields" else f"({name})"
