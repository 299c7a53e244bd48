"""What a collection has beside its rows: source and target side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from transforms.finding import Finding
from transforms.milvus import features, field_layout, index_types
from transforms.milvus.description import Description
from transforms.milvus.field_layout import Slot
from transforms.plan import CollectionPlan

Fate = Literal["kept", "changed", "lost", "new", "dropped"]
"""The outcome of a feature; `dropped` is what the job file left out."""

LATER = ("indexes", "aliases", "loaded", "replicas")
"""The parts of a description that the job creates after the rows: before that, not missing."""


@dataclass(frozen=True)
class FeatureFate:
    """One thing that a collection has beside its rows.

    Attributes:
        what: the FEATURE of docs/fidelity.md.
        source: what the source has; "" for nothing.
        target: what the target has; "" for nothing.
        fate: the outcome.
    """

    what: str
    source: str
    target: str
    fate: Fate = "kept"

    @property
    def same(self) -> bool:
        """Whether both sides have the same value."""
        return self.source == self.target


def feature_fates(plan: CollectionPlan, actual: Mapping[str, str]) -> tuple[FeatureFate, ...]:
    """Compares the features of a collection in the source and in the target.

    Renamed fields have their new names. `actual` are the target's features at the end of the job;
    before that it is empty, and the plan's are used.
    """
    source, right = plan.source, actual or features.listed(plan.wanted)
    if not plan.shape.stages:
        return compare_features(features.listed(source), right)
    kept = dict(plan.shape.kept)
    rest = features.listed(field_layout.lay_out(source, [Slot(name, name) for name in kept]))
    renamed = field_layout.lay_out(source, [Slot(new, old) for old, new in kept.items()])
    dropped = (
        FeatureFate(name, value, "", "dropped")
        for name, value in features.listed(source).items()
        if name not in rest
    )
    return (*compare_features(features.listed(renamed), right), *dropped)


def compare_features(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[FeatureFate, ...]:
    """Compares the features on the left (the source) with those on the right (the target)."""
    right = _match_index_names(left, right)
    names = [*left, *(name for name in right if name not in left)]
    return tuple(
        FeatureFate(name, left.get(name, ""), right.get(name, ""), _fate(name, left, right))
        for name in names
    )


def _today(listed: Mapping[str, str]) -> dict[str, str]:
    """Returns the features with the current names of index types."""
    return {
        name: index_types.with_current_name(value) if name.startswith("indexes.") else value
        for name, value in listed.items()
    }


def _match_index_names(left: Mapping[str, str], right: Mapping[str, str]) -> Mapping[str, str]:
    """Gives indexes on the right the name of the index on the same field on the left."""
    right = dict(right)
    for name, value in left.items():
        field = value.partition(": ")[0]
        if name.startswith("indexes.") and name not in right:
            new = (key for key in right if key.startswith("indexes.") and key not in left)
            other = next((key for key in new if right[key].partition(": ")[0] == field), "")
            if other:
                right[name] = f"{right.pop(other)} (named {other.removeprefix('indexes.')})"
    return right


def _fate(name: str, left: Mapping[str, str], right: Mapping[str, str]) -> Fate:
    if name not in right:
        return "lost"
    if name not in left:
        return "new"
    return "kept" if left[name] == right[name] else "changed"


def creation_findings(plan: CollectionPlan, created: Description) -> Iterator[Finding]:
    """Yields the features that a created collection lacks or has with another value.

    Servers silently drop what they do not know; only the new description shows it.
    """
    for feature in compare_features(
        _today(features.listed(plan.wanted)), _today(features.listed(created))
    ):
        if (
            feature.what.partition(".")[0] in LATER
            or (feature.what, feature.source) in features.BY_DEFAULT
        ):
            continue
        if feature.fate == "lost":
            what = f"the target did not store it ({feature.source})."
            yield lost_feature(plan.name, plan.target, feature.what, what)
        elif feature.fate == "changed":
            what = f"it is {feature.target} in the target, not {feature.source}."
            yield changed_feature(plan.name, plan.target, feature.what, what)


def final_findings(
    plan: CollectionPlan, actual: Mapping[str, str], refused: Mapping[str, str]
) -> Iterator[Finding]:
    """Yields what is lost or changed of indexes, aliases and the load state, after all rows.

    `refused` are the reasons of the target by feature; those findings have a remedy.
    """
    wanted = _today(features.listed(plan.wanted))
    for feature in compare_features(wanted, _today(actual)) if actual else ():
        if feature.what.partition(".")[0] in LATER and feature.fate in ("lost", "changed"):
            if feature.fate == "lost" and feature.what in refused:
                yield missing_feature(plan, feature.what, refused[feature.what])
                continue
            what = f"the target does not have it ({feature.source})."
            if feature.target:
                what = f"it is {feature.target} in the target, not {feature.source}."
            finding = changed_feature(plan.name, plan.target, feature.what, what)
            yield replace(finding, code=f"{feature.fate}:{plan.name}.{feature.what}")


def missing_feature(plan: CollectionPlan, name: str, why: str) -> Finding:
    """Returns the finding about an index or alias that the target rejected after the rows."""
    vectors = {index.feature for index in plan.wanted.indexes if index.field in plan.wanted.vectors}
    what = f"{why.rstrip('.')}."
    if name in vectors:
        what += " Without it, the collection cannot be loaded and its rows cannot be compared."
    finding = lost_feature(plan.name, plan.target, name, what)
    remedy = (
        "Fix why the target rejected it, or create it manually. Then rerun the same command; no "
        f"row is copied twice. To proceed without it, add `--accept={finding.code}`."
    )
    return replace(finding, remedy=remedy)


def lost_feature(collection: str, target: str, name: str, what: str) -> Finding:
    """Returns the finding about a feature that the target lacks.

    If the rows need the feature, the finding cannot be accepted.
    """
    kind = features.kind_of(name)
    where, what = f"target collection {target}", f"{kind.words} {_short(name)}: {what}"
    if kind.needed:
        return Finding("target-type", where, what, f"Use a newer target, or {_instead(name)}.")
    code = f"lost:{collection}.{name}"
    return Finding(code, where, what, _without(code), acceptable=True)


def _without(code: str) -> str:
    return f"Use another target, or rerun with `--accept={code}` to copy without it."


def _instead(name: str) -> str:
    """Returns how to copy the rows without a feature that they need."""
    if name == "several_vectors":
        return "drop all vector fields but one with `transform.Filter`"
    if name == "dynamic_field":
        return "drop `$meta` with `transform.Filter`"
    if name.startswith("functions."):
        return "drop its output with `transform.Filter`, if there is another vector field"
    return "leave the collection out of `source.Milvus.collections`"


def lost_database_property(database: str, lost: tuple[str, str], *, named: bool) -> Finding:
    """Returns the finding about a property that a created database did not store.

    Its code names the database if the job copies several (`named`).
    """
    key, value = lost
    code = f"lost:{'database.' * named}{database if named else 'database'}.{key}"
    what = f"property {key}: the target did not store it ({value})."
    return Finding(code, f"target database {database}", what, _without(code), acceptable=True)


def changed_feature(collection: str, target: str, name: str, what: str) -> Finding:
    """Returns the finding about a feature that the target has with another value."""
    return Finding(
        f"changed:{collection}.{name}",
        f"target collection {target}",
        f"{features.kind_of(name).words} {_short(name)}: {what}",
        severity="warning",
    )


def _short(name: str) -> str:
    """Returns what a feature belongs to, in words that follow its kind.

    >>> _short("fields.title.max_length"), _short("ttl")
    ('of title', '(ttl)')
    """
    of, _, rest = name.partition(".")
    return f"of {rest.partition('.')[0]}" if of == "fields" else f"({name})"
