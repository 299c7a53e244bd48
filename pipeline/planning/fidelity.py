"""What a collection has beside its rows: source and target side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from transforms.milvus import features, index_types, layout
from transforms.milvus.description import Description
from transforms.milvus.layout import Slot
from transforms.plan import CollectionPlan, Finding

Fate = Literal["kept", "changed", "lost", "new", "dropped"]
"""What became of a feature; `dropped` is what the job file asked for."""

LATER = ("indexes", "aliases", "loaded", "replicas")
"""What of a description is made after the rows: it is not missing before them."""


@dataclass(frozen=True)
class FeatureFate:
    """One thing that a collection has beside its rows.

    Attributes:
        what: the FEATURE of docs/fidelity.md.
        source: what the source has; "" for nothing.
        target: what the target has; "" for nothing.
        fate: what became of it.
    """

    what: str
    source: str
    target: str
    fate: Fate = "kept"

    @property
    def same(self) -> bool:
        """Whether both sides have it alike."""
        return self.source == self.target


def feature_fates(plan: CollectionPlan, found: Mapping[str, str]) -> tuple[FeatureFate, ...]:
    """Lists what a collection has in the source beside what it has in the target.

    Fields that are renamed stand under their new names.
    `found` is what the target was found to have at the end; until then it is what was wanted.
    """
    source, right = plan.source, found or features.listed(plan.wanted)
    if not plan.shape.stages:
        return compare_features(features.listed(source), right)
    kept = dict(plan.shape.kept)
    rest = features.listed(layout.lay_out(source, [Slot(name, name) for name in kept]))
    renamed = layout.lay_out(source, [Slot(new, old) for old, new in kept.items()])
    dropped = (each for each in features.listed(source).items() if each[0] not in rest)
    return (
        *compare_features(features.listed(renamed), right),
        *(FeatureFate(name, value, "", "dropped") for name, value in dropped),
    )


def compare_features(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[FeatureFate, ...]:
    """Lists what there is on the left, the source, beside what there is on the right."""
    right = _by_their_old_names(left, right)
    names = [*left, *(name for name in right if name not in left)]
    return tuple(
        FeatureFate(name, left.get(name, ""), right.get(name, ""), _fate(name, left, right))
        for name in names
    )


def _today(listed: Mapping[str, str]) -> dict[str, str]:
    """Returns a list of features with today's names of the types of indexes."""
    return {
        name: index_types.today(value) if name.startswith("indexes.") else value
        for name, value in listed.items()
    }


def _by_their_old_names(left: Mapping[str, str], right: Mapping[str, str]) -> Mapping[str, str]:
    """Finds indexes that have another name on the right, by the field that they are on."""
    right = dict(right)
    for name, value in left.items():
        on = value.partition(": ")[0]
        if name.startswith("indexes.") and name not in right:
            others = (each for each in right if each.startswith("indexes.") and each not in left)
            other = next((each for each in others if right[each].partition(": ")[0] == on), "")
            if other:
                right[name] = f"{right.pop(other)} (named {other.removeprefix('indexes.')})"
    return right


def _fate(name: str, left: Mapping[str, str], right: Mapping[str, str]) -> Fate:
    if name not in right:
        return "lost"
    if name not in left:
        return "new"
    return "kept" if left[name] == right[name] else "changed"


def creation_findings(plan: CollectionPlan, made: Description) -> Iterator[Finding]:
    """Yields what the target made otherwise than it was told to.

    Servers drop silently what they do not know, so that only asking them again shows it.
    """
    for each in compare_features(
        _today(features.listed(plan.wanted)), _today(features.listed(made))
    ):
        if each.what.partition(".")[0] in LATER or (each.what, each.source) in features.BY_DEFAULT:
            continue
        if each.fate == "lost":
            yield lost_feature(
                plan.name, plan.target, each.what, f"the target does not have it ({each.source})."
            )
        elif each.fate == "changed":
            what = f"it is {each.target} there, not {each.source}."
            yield changed_feature(plan.name, plan.target, each.what, what)


def final_findings(
    plan: CollectionPlan, found: Mapping[str, str], refused: Mapping[str, str]
) -> Iterator[Finding]:
    """Yields what came out otherwise of that which is made after the rows; they are there.

    What the target has not made, for the reasons in `refused`, is asked of the user.
    """
    wanted = _today(features.listed(plan.wanted))
    for each in compare_features(wanted, _today(found)) if found else ():
        if each.what.partition(".")[0] in LATER and each.fate in ("lost", "changed"):
            if each.fate == "lost" and each.what in refused:
                yield missing_feature(plan, each.what, refused[each.what])
                continue
            there = f"it is {each.target} there" if each.target else "the target does not have it"
            what = f"{there}, not {each.source}." if each.target else f"{there} ({each.source})."
            made = changed_feature(plan.name, plan.target, each.what, what)
            yield replace(made, code=f"{each.fate}:{plan.name}.{each.what}")


def missing_feature(plan: CollectionPlan, name: str, why: str) -> Finding:
    """Says that the target has not made an index or an alias, when the rows were there."""
    vectors = {index.feature for index in plan.wanted.indexes if index.field in plan.wanted.vectors}
    what = f"{why.rstrip('.')}."
    if name in vectors:
        what += " Without it the collection cannot be loaded, nor its rows be compared."
    found = lost_feature(plan.name, plan.target, name, what)
    remedy = (
        "Mend that, or make it by hand, and run the same command again: it copies no row twice. "
        f"Or go on without it by --accept={found.code}."
    )
    return replace(found, remedy=remedy)


def lost_feature(collection: str, target: str, name: str, what: str) -> Finding:
    """Says that the target cannot hold a feature; what rows need cannot be done without."""
    kind = features.kind_of(name)
    where, what = f"target collection {target}", f"{kind.words} {_short(name)}: {what}"
    if kind.needed:
        return Finding("target-type", where, what, f"Use a newer target, or {_instead(name)}.")
    code = f"lost:{collection}.{name}"
    remedy = f"Use another target, or go on without it by --accept={code}."
    return Finding(code, where, what, remedy, acceptable=True)


def _instead(name: str) -> str:
    """Says how to do without what rows need."""
    if name == "several_vectors":
        return "drop all vectors but one by transform.Filter"
    if name == "dynamic_field":
        return "drop $meta by transform.Filter"
    if name.startswith("functions."):
        return "drop what it makes by transform.Filter, where there is another vector"
    return "leave the collection out"


def lost_database_property(database: str, lost: tuple[str, str]) -> Finding:
    """Says that a database made just now has not taken a property."""
    key, value = lost
    code = f"lost:database.{key}"
    what = f"property {key}: the target does not have it ({value})."
    remedy = f"Use another target, or go on without it by --accept={code}."
    return Finding(code, f"target database {database}", what, remedy, acceptable=True)


def changed_feature(collection: str, target: str, name: str, what: str) -> Finding:
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
