"""Which privileges a user lacks for a job."""

from __future__ import annotations

import pytest

from pipeline.preflight.privileges import lacking
from transforms.milvus.access_control import Grant

NEEDED = ("Insert", "Query")


def grants(*pairs: tuple[str, str]) -> list[Grant]:
    return [Grant("role", privilege, "Collection", name, "default") for privilege, name in pairs]


CASES = {
    "nothing": ((), ("a",), NEEDED),
    "all of them, on everything": ((("Insert", "*"), ("Query", "*")), ("a",), ()),
    "one of them": ((("Insert", "*"),), ("a",), ("Query",)),
    "on each collection": ((("Insert", "a"), ("Insert", "b"), ("Query", "*")), ("a", "b"), ()),
    "on one of two collections": ((("Insert", "a"), ("Query", "*")), ("a", "b"), ("Insert",)),
    "on no collection, as none is known": ((("Insert", "a"), ("Query", "*")), (), ("Insert",)),
    "every privilege": ((("*", "*"),), ("a",), ()),
}


@pytest.mark.parametrize("case", CASES)
def test_a_privilege_must_cover_every_collection(case: str) -> None:
    held, names, missing = CASES[case]
    assert lacking(NEEDED, grants(*held), names) == missing


def test_a_privilege_must_cover_the_collection_in_each_database() -> None:
    held = [
        Grant("role", privilege, "Collection", name, database)
        for privilege, name, database in (
            ("Insert", "docs", "sales"),
            ("Insert", "docs", "shop"),
            ("Query", "*", "sales"),
            ("Query", "notes", "shop"),
        )
    ]
    assert lacking(NEEDED, held, ["sales.docs"]) == ()
    assert lacking(NEEDED, held, ["sales.docs", "shop.docs"]) == ("Query",)
