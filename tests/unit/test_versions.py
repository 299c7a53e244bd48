"""All known forms of version strings of servers."""

from __future__ import annotations

import pytest

from transforms.milvus.pages import loses_rows
from transforms.milvus.versions import HEAD, parse, release

# The answers to GetVersion and Connect, the parsed version, and its text.
SAID = [
    ("v2.3.5-lite", "v2.3.5-lite", (2, 3, 5), "2.3.5"),
    ("milvus_lite-3.2.2", "milvus_lite", (3, 2, 2), "3.2.2 (milvus-lite)"),
    ("", "", None, "unknown"),
    ("2.6.5", "2.6.5", (2, 6, 5), "2.6.5"),
    ("v2.2.16", "v2.2.16", (2, 2, 16), "2.2.16"),
    ("v2.3.22.6", "", (2, 3, 22), "2.3.22"),
    ("v2.4.0.1-gpu-beta", "", (2, 4, 0), "2.4.0"),
    ("2.6-20260404-31fb3fc", "", (2, 6, HEAD), "2.6"),
    ("master-20260226-abcdef", "", None, "unknown ('master-20260226-abcdef')"),
    (
        "unknown-20260608-7ea6e3526",
        "Zilliz Cloud Vector Database(Compatible with Milvus 2.6)",
        (2, 6, HEAD),
        "2.6",
    ),
    ("", "Milvus-v2.5.11", (2, 5, 11), "2.5.11"),
]


@pytest.mark.parametrize(("released", "tags", "number", "words"), SAID, ids=[s[0] for s in SAID])
def test_the_version_strings_of_servers_are_parsed(
    released: str, tags: str, number: tuple[int, int, int] | None, words: str
) -> None:
    version = parse(released, tags)
    assert version.number == number
    assert version.known is (number is not None)
    assert str(version) == words


def test_an_exact_release_wins_over_the_name_of_a_line() -> None:
    assert parse("2.6-20260404-31fb3fc", "v2.6.5").number == (2, 6, 5)


@pytest.mark.parametrize(
    ("text", "lite"),
    [("milvus_lite-3.2.2", True), ("v2.3.5-lite", False), ("2.6.5", False), ("", False)],
)
def test_milvus_lite_is_distinguished_from_milvus(text: str, lite: bool) -> None:
    assert parse(text).lite is lite


def test_versions_are_ordered_by_number_and_an_unknown_one_comes_first() -> None:
    texts = ["2.6-20260404", "v2.10.0", "", "2.3.7", "v2.3.22.6", "2.6.14"]
    in_order = ["", "2.3.7", "v2.3.22.6", "2.6.14", "2.6-20260404", "v2.10.0"]
    assert [version.text for version in sorted(map(parse, texts))] == in_order


@pytest.mark.parametrize("text", ["2.3.7", "v2.3.7", "Milvus 2.3.7", "2.3.7-gpu"])
def test_the_spelling_of_a_version_does_not_matter_in_comparisons(text: str) -> None:
    assert not parse(text) < release("2.3.7")
    assert not release("2.3.7") < parse(text)


def test_only_a_release_can_be_named_in_the_code() -> None:
    with pytest.raises(ValueError, match="not a release: 'master'"):
        release("master")


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("v2.3.5-lite", False),
        ("2.3.13", False),
        ("2.3.14", True),
        ("v2.3.14", True),
        ("v2.3.16", True),
        ("v2.3.17", False),
        ("v2.4.0", True),
        ("v2.4.4", True),
        ("v2.4.5", False),
        ("2.5.0", False),
        ("2.6-20260404-31fb3fc", False),
        ("", True),
        ("unknown-20260608-7ea6e3526", True),
    ],
)
def test_pages_are_checked_if_a_version_loses_rows_or_is_unknown(text: str, checked: bool) -> None:
    assert loses_rows(parse(text)) is checked
