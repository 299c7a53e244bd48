"""The collections that a job file names: names, patterns with *, exclusions that begin with !."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pipeline.jobfile.values import matching

EXCLUDES = "!"


def is_pattern(text: str) -> bool:
    """Whether it is no collection's name: Milvus takes neither sign in one.

    >>> is_pattern("doc_*"), is_pattern("!tmp"), is_pattern("docs")
    (True, True, False)
    """
    return "*" in text or text.startswith(EXCLUDES)


def exact_names(wanted: Collection[str]) -> list[str]:
    """Returns the items that are names of collections or aliases."""
    return [each for each in wanted if not is_pattern(each)]


def unmatched(wanted: Collection[str], names: Collection[str]) -> list[str]:
    """Returns the patterns that match no collection; one that excludes may match none.

    >>> unmatched(["log_*", "doc_*", "!tmp_*", "docs"], ["doc_a"])
    ['log_*']
    """
    found = (each for each in wanted if is_pattern(each) and not each.startswith(EXCLUDES))
    return [each for each in found if not _matched(each, names)]


def only_excludes(wanted: Collection[str] | None) -> bool:
    """Whether every loaded collection is meant, but for those that are excluded."""
    return wanted is not None and all(each.startswith(EXCLUDES) for each in wanted)


def select(wanted: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """Returns the collections that are meant, each once, in the order of the job file.

    Args:
        wanted: names, patterns and exclusions; a name is returned even if `names` lacks it.
        names: the collections that exist.

    >>> select(["doc_*", "log", "!*_tmp"], ["doc_a", "doc_tmp", "papers"])
    ('doc_a', 'log')
    >>> select(["!doc_*"], ["doc_a", "papers"])
    ('papers',)
    """
    out = [each.removeprefix(EXCLUDES) for each in wanted if each.startswith(EXCLUDES)]
    given = [each for each in wanted if not each.startswith(EXCLUDES)] or ["*"]
    found = [name for each in given for name in _matched(each, names)]
    return tuple(dict.fromkeys(name for name in found if not any(matching(x, name) for x in out)))


def _matched(text: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if matching(text, name)] if is_pattern(text) else [text]
