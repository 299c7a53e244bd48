"""The collections and databases of a job file: names, patterns with *, exclusions with !.

In a job that copies several databases, an item without a database is for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from transforms.milvus.qualified_names import spellings

EXCLUDES = "!"
"""The first character of an exclusion."""


def matching(pattern: str, name: str) -> re.Match[str] | None:
    """Matches a name against a pattern, in which a * matches any text without a dot.

    >>> matching("old_*", "old_docs")[1], matching("docs", "documents"), matching("*", "sales.docs")
    ('docs', None, None)
    """
    return re.fullmatch("([^.]*)".join(map(re.escape, pattern.split("*"))), name)


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


def takes_all(wanted: Collection[str] | None) -> bool:
    """Whether a job copies every loaded collection, or all but those that are excluded."""
    return wanted is None or all(item.startswith(EXCLUDES) for item in wanted)


def select(wanted: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """Returns the selected collections in the order of the job file, without duplicates.

    Args:
        wanted: names, patterns and exclusions; a name is returned even if `names` lacks it, since
            it may be an alias.
        names: the existing collections.

    >>> select(["doc_*", "log", "!*_tmp"], ["doc_a", "doc_tmp", "papers"])
    ('doc_a', 'log')
    >>> select(["!doc_*"], ["doc_a", "papers"])
    ('papers',)
    >>> select(["docs", "a.log_*", "!b.docs"], ["a.docs", "a.log_1", "b.docs", "b.log_1", "c.docs"])
    ('a.docs', 'c.docs', 'a.log_1')
    """
    included = [item for item in wanted if not item.startswith(EXCLUDES)] or ["*"]
    return without_excluded(wanted, [name for item in included for name in _matched(item, names)])


def without_excluded(wanted: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names that no exclusion of the job file matches, without duplicates.

    >>> without_excluded(["docs", "!shop.*"], ["sales.docs", "shop.docs", "sales.docs"])
    ('sales.docs',)
    """
    excluded = [item.removeprefix(EXCLUDES) for item in wanted if item.startswith(EXCLUDES)]
    kept = (name for name in names if not any(fits(pattern, name) for pattern in excluded))
    return tuple(dict.fromkeys(kept))


def fits(text: str, name: str) -> bool:
    """Whether an item selects a collection.

    >>> fits("doc_*", "a.doc_1"), fits("a.*", "a.doc_1"), fits("a.*", "b.doc_1")
    (True, True, False)
    """
    return any(matching(text, spelling) for spelling in spellings(name))


def _matched(text: str, names: Iterable[str]) -> list[str]:
    matched = [name for name in names if fits(text, name)]
    return matched if matched or is_pattern(text) else [text]
