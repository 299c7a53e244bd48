"""What stands under docs is what the code says: tables, codes, commands, links."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator

import pytest

from pipeline.commands.shared import arguments
from pipeline.jobfile import seatunnel, settings
from pipeline.jobfile.value_types import ACCEPTABLE
from pipeline.preflight import privileges
from tests import docs
from transforms import counters, errors

PAGES = [docs.README, docs.README_ZH, *sorted((docs.ROOT / "docs").glob("*.md"))]
ERRORS = (docs.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
OPERATIONS = docs.ROOT / "docs" / "operations.md"

VARIED = {"role": ("source", "target")}
"""The names in the codes of findings that stand for words, and which words."""


# -- made from the code ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "parts"),
    [(docs.COMING_FROM, docs.coming_from), (docs.REPORT, docs.report)],
    ids=["coming-from", "report"],
)
def test_tables_are_made_from_the_code(page, parts) -> None:
    text = page.read_text(encoding="utf-8")
    assert docs.refreshed(text, parts()) == text, "run make docs"


def test_every_key_that_is_spelt_otherwise_or_refused_is_in_the_table_of_keys() -> None:
    told = {f"{block}.{key}" for block, keys in docs.THEIRS.items() for _, key in keys}
    for path in [*seatunnel.SPELLINGS, *seatunnel.NOTED, *seatunnel.NOT_HERE]:
        if path not in ALSO_REFUSED and not path.endswith("collection_name"):
            assert any(f"{each}.".startswith(f"{path}.") for each in told), path


def test_every_key_of_another_tool_has_a_meaning() -> None:
    table = docs.coming_from()["keys"]
    assert [line for line in table.splitlines() if line.rstrip(" |").endswith("refused:")] == []


ALSO_REFUSED = {
    *("env.min-pause", "env.custom_parameters", "env.pipeline_concurrency", "env.tag_filter"),
    *("env.execution", "env.flink", "env.spark"),
}
"""Of the engines, not of the connectors: docs/configuration.md has them."""


# -- errors.md ------------------------------------------------------------------------------------


def codes() -> Iterator[str]:
    """The codes of all findings that the code makes."""
    for path in (docs.ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                yield from _spelt([*node.args, *named][0])


def _spelt(code: ast.expr) -> Iterator[str]:
    if isinstance(code, ast.Constant):
        yield str(code.value)
    if isinstance(code, ast.JoinedStr):
        text = ast.unparse(code)[2:-1]
        for name, each in re.findall(r"(\{(\w+)\})", text):
            for word in VARIED.get(each, ()):
                yield text.replace(name, word)


def told_codes() -> set[str]:
    findings = ERRORS.partition("## Findings before")[2].partition("## Errors")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", findings, re.MULTILINE)
    return {code for cell in cells for code in re.findall(r"`([^`]+)`", cell)}


def test_every_finding_is_explained_and_none_that_there_is_not() -> None:
    found = set(codes())
    general = {code for code in told_codes() if code.split(":")[0] in ("lost", "changed")}
    assert told_codes() - general == found
    assert general


@pytest.mark.parametrize("code", ACCEPTABLE)
def test_findings_that_may_be_accepted_are_marked(code: str) -> None:
    stem = code.partition(":")[0]
    assert re.search(rf"^\| `{stem}[^|]*` \* \|", ERRORS, re.MULTILINE), code


def test_every_error_is_explained_with_its_exit_code() -> None:
    kinds = [
        var
        for var in vars(errors).values()
        if isinstance(var, type) and issubclass(var, errors.MigrationError)
    ]
    table = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", ERRORS, re.MULTILINE))
    wanted = {kind.__name__: str(kind.exit_code) for kind in kinds}
    assert table == {name: code for name, code in wanted.items() if name != "MigrationError"}


def test_every_privilege_that_a_job_needs_is_named() -> None:
    told = ERRORS.partition("## Privileges")[2]
    wanted = {*privileges.SOURCE, *privileges.LOADING, *privileges.TARGET}
    assert {each for each in wanted if f"`{each}`" not in told} == set()


# -- everywhere -----------------------------------------------------------------------------------


def _fenced(text: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """The commands that pages show, with the page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fenced = "\n".join(_fenced(text))
        inline = re.findall(r"`((?:nohup )?kitelift [a-z-]+[^`\n]*)`", text)
        for line in [*fenced.replace("\\\n", " ").splitlines(), *inline]:
            found = re.match(r"(?:nohup )?(?:kitelift|python -m pipeline)(?= |$)(.*)", line)
            if found:
                yield page.name, re.split(r"\s#|\s>|\s\|", found[1])[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_on_a_page_is_one(page: str, line: str) -> None:
    if "…" not in line:
        arguments.parse(shlex.split(line))


def test_every_counter_is_explained() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in counters.Name.__args__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page) -> None:
    for place in re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = place.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), place
        if anchor:
            assert anchor in _anchors(there.read_text(encoding="utf-8")), place


def test_what_is_typed_is_the_same_in_both_languages() -> None:
    chinese = OPERATIONS.with_name("operations.zh.md").read_text(encoding="utf-8")
    assert _fenced(chinese) == _fenced(OPERATIONS.read_text(encoding="utf-8"))
    theirs = _fenced(docs.README_ZH.read_text(encoding="utf-8"))
    assert [their for their in theirs if their not in _fenced(docs.README.read_text("utf-8"))] == []


@pytest.mark.parametrize("command", arguments.COMMANDS)
def test_every_command_is_explained_in_chinese_too(command: str) -> None:
    text = docs.README_ZH.read_text(encoding="utf-8")
    assert re.search(rf"^\| `{command}`", text, re.MULTILINE)


def _anchors(text: str) -> set[str]:
    """The anchors that the headings of a page have on the usual hosts."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("block", settings.BLOCKS)
def test_every_key_of_the_table_of_keys_is_one_of_a_block(block: str) -> None:
    assert block in docs.THEIRS
