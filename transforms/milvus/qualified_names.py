"""Names in a job that copies several databases: `database.collection`.

Milvus allows no dot in the names of databases, collections and aliases. A job that copies one
database uses plain names; then the functions here return them unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable

ALL = "*"
"""In place of a database: an endpoint of all of them, whose names are qualified."""


def join(database: str, name: str) -> str:
    """Returns the qualified name; the plain one without a database.

    >>> join("sales", "docs"), join("", "docs")
    ('sales.docs', 'docs')
    """
    return f"{database}.{name}" if database else name


def split(name: str) -> tuple[str, str]:
    """Returns the database of a qualified name, "" for a plain one, and the name in it.

    >>> split("sales.docs"), split("docs")
    (('sales', 'docs'), ('', 'docs'))
    """
    database, _, local = name.rpartition(".")
    return database, local


def beside(collection: str, name: str) -> str:
    """Returns the name of a collection, or an alias, in the database of another collection.

    >>> beside("sales.docs", "papers"), beside("docs", "papers")
    ('sales.papers', 'papers')
    """
    return join(split(collection)[0], split(name)[1])


def databases_of(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the databases of qualified names, in order, without duplicates.

    >>> databases_of(["sales.docs", "sales.papers", "default.docs"]), databases_of(["docs"])
    (('sales', 'default'), ())
    """
    return tuple(filter(None, dict.fromkeys(split(name)[0] for name in names)))


def spellings(name: str) -> tuple[str, ...]:
    """Returns the names by which a job file may name a collection, the most exact first.

    >>> spellings("sales.docs"), spellings("docs")
    (('sales.docs', 'docs'), ('docs',))
    """
    return tuple(dict.fromkeys((name, split(name)[1])))
