"""Errors: one tree, which is the one that is drawn, and all of them cross from workers."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from pipeline import cli
from transforms import errors
from transforms.errors import MigrationError

EXAMPLES = [
    errors.ConfigError(["source.Milvus.tokn: unknown key", "sink.Milvus.url: missing"]),
    errors.PreflightError(["2 findings stop the job; nothing was written."]),
    errors.JobLocked(["another run of this job is active"]),
    errors.JobChanged(["its schema has changed"]),
    errors.Interrupted("Run the same command again."),
    errors.ServerError("http://a:19530", "Query", "no"),
    errors.Unreachable("http://a:19530", "Query", "no answer in time"),
    errors.AccessDenied("http://a:19530", "Query", "the server rejects the credentials", 1400),
    errors.PrivilegeMissing("http://a:19530", "Query", "this user lacks a privilege"),
    errors.Stalled("http://a:19530", "Flush", "docs not flushed in 600 s"),
    errors.Refused("http://a:19530", "Query", "collection not found", 100),
    errors.CallDenied("http://a:19530", "GetReplicas", "the server denies this call"),
    errors.Unexplained("http://a:19530", "Insert", "panic", 65535),
    errors.NotUtf8("http://a:19530", "Query", "string field contains invalid UTF-8"),
    errors.Busy("http://a:19530", "Insert", "rate limit", 8),
    errors.TooLarge("http://a:19530", "Insert", "larger than max"),
    errors.Ambiguous("http://a:19530", "Insert", "INTERNAL: RST"),
    errors.LedgerError("/state/job/plan.json", "No space left on device"),
    errors.EngineError("Flink http://a:8081", "does not answer: timed out"),
    errors.DataError("docs.title: 2 nulls"),
    errors.UnsupportedField("docs", "when", "Date"),
    errors.FunctionFailed("mine.clean", "KeyError: 'title'"),
    errors.RowsHidden("docs(1..2]", counted=5, keys=3, hidden=2),
    errors.TextNotUtf8("docs(1..2]", ((2, ("title",)),), more=True),
    errors.RowsRejected("docs(1..2]", ("key 2: no",), 3, remedies=("widen the field",)),
    errors.RangeFailed("docs(1..2]", "the target acknowledged 1 of 2 rows"),
]


def named(error: object) -> str:
    return type(error).__name__


def kinds(base: type[MigrationError] = MigrationError, depth: int = 0) -> Iterator[tuple[int, str]]:
    """The classes of the module, each with its depth in the tree."""
    yield depth, base.__name__
    for each in base.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from kinds(each, depth + 1)


def drawn() -> Iterator[tuple[int, str]]:
    """The same, as the module's docstring draws it: a level is four characters wide."""
    for line in (errors.__doc__ or "").splitlines():
        if found := re.fullmatch(r" {4}([│ ├└─]*)(\w+)(  .*)?", line):
            yield len(found[1]) // 4, found[2]


def test_the_tree_that_is_drawn_is_the_real_one() -> None:
    assert list(drawn()) == list(kinds())


def test_every_kind_of_error_has_an_example_here() -> None:
    assert {"MigrationError", *map(named, EXAMPLES)} == {name for _, name in kinds()}


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_error_survives_pickling_with_its_words_and_its_exit_code(error: MigrationError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.exit_code == error.exit_code


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_error_can_be_raised_through_a_block(error: MigrationError) -> None:
    with pytest.raises(type(error)) as caught, memoryview(b""):
        raise error
    assert caught.value is error


def test_the_exit_codes_that_are_drawn_are_the_real_ones() -> None:
    exits = re.findall(r"(\w+)  .*exit (\d)", errors.__doc__ or "")
    assert len(exits) == 7
    for name, code in exits:
        kind = getattr(errors, name)
        assert {each.exit_code for each in (kind, *kind.__subclasses__())} == {int(code)}


def test_help_explains_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    explained = {int(code) for code in re.findall(r"(?m)^  (\d)  ", capsys.readouterr().out)}
    assert explained == {0, 1, *(error.exit_code for error in EXAMPLES)}


WORDS = [
    (errors.ConfigError(["a: unknown key", "b: missing"]), "a: unknown key\nb: missing"),
    (
        errors.Refused("http://a:19530", "Query", "collection not found", 100),
        "http://a:19530: Query: collection not found (code 100)",
    ),
    (
        errors.Unreachable("http://a:19530", "Query", "no answer in time"),
        "http://a:19530: Query: no answer in time",
    ),
    (
        errors.LedgerError("/state/plan.json", "No space left on device"),
        (
            "ledger: cannot write /state/plan.json: No space left on device. Nothing is lost: "
            "free disk space, or fix `env.state` or the access to it, then run the same command "
            "again."
        ),
    ),
    (errors.UnsupportedField("docs", "when", "Date"), "docs.when: type Date cannot be copied"),
    (errors.RangeFailed("docs(1..2]", "no"), "docs(1..2]: no"),
    (errors.Interrupted("Run it again."), "interrupted. Run it again."),
]


@pytest.mark.parametrize(("error", "words"), WORDS, ids=[named(error) for error, _ in WORDS])
def test_a_message_says_where_and_what(error: MigrationError, words: str) -> None:
    assert str(error) == words
