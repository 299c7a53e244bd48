"""The collections of a job file: names, patterns with *, and exclusions that begin with !."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pipeline.jobfile.value_types import matching

EXCLUDES = "!"


def is_pattern(text: str) -> bool:
    """Whether an item is a pattern or an exclusion: a Milvus name contains neither * nor !.

    >>> is_pattern("doc_*"), is_pattern("!tmp"), is_pattern("docs")
    (True, True, False)
    """
    return "*" in text or text.startswith(EXCLUDES)


def exact_names(wanted: Collection[str]) -> list[str]:
    """Returns the items that are names of collections or aliases."""
    return [item for item in wanted if not is_pattern(item)]


def unmatched(wanted: Collection[str], names: Collection[str]) -> list[str]:
    """Returns the patterns that match no collection; an exclusion may match none.

    >>> unmatched(["log_*", "doc_*", "!tmp_*", "docs"], ["doc_a"])
    ['log_*']
    """
    patterns = (item for item in wanted if is_pattern(item) and not item.startswith(EXCLUDES))
    return [pattern for pattern in patterns if not _matched(pattern, names)]


def only_excludes(wanted: Collection[str] | None) -> bool:
    """Whether a list has only exclusions: it selects every other loaded collection."""
    return wanted is not None and all(item.startswith(EXCLUDES) for item in wanted)


def select(wanted: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """Returns the selected collections in the order of the job file, without duplicates.

    Args:
        wanted: names, patterns and exclusions; a name is returned even if `names` lacks it.
        names: the existing collections.

    >>> select(["doc_*", "log", "!*_tmp"], ["doc_a", "doc_tmp", "papers"])
    ('doc_a', 'log')
    >>> select(["!doc_*"], ["doc_a", "papers"])
    ('papers',)
    """
    excluded = [item.removeprefix(EXCLUDES) for item in wanted if item.startswith(EXCLUDES)]
    included = [item for item in wanted if not item.startswith(EXCLUDES)] or ["*"]
    matched = [name for item in included for name in _matched(item, names)]
    return tuple(
        dict.fromkeys(
            name for name in matched if not any(matching(pattern, name) for pattern in excluded)
        )
    )


def _matched(text: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if matching(text, name)] if is_pattern(text) else [text]
