"""`kitelift init --from`: job files of other tools become job files of Kitelift; no server runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from tests import docs

FOLDER = Path(__file__).parent.parent / "jobfiles"
SECRET = "n0t-t0-be-seen"

SIDES = """
    source {{ Milvus {{ url = "http://s:19530"\n {source} }} }}
    sink {{ Milvus {{ url = "http://t:19530"\n {sink} }} }}
    transform {{ {transform} }}
"""


def conf(sink: str = "", source: str = "", transform: str = "", more: str = "") -> str:
    return more + SIDES.format(source=source, sink=sink, transform=transform)


class Converted:
    """The result of a conversion: its text, the job in it, and what was printed."""

    def __init__(self, path: Path, printed: str) -> None:
        self.path, self.text = path, path.read_text()
        self.printed = " ".join(printed.split())

    def job(self, **variables: str) -> JobConfig:
        return parse(self.text, **variables)

    @property
    def lines(self) -> list[str]:
        """The lines of the blocks, without indentation."""
        return [line.strip() for line in self.text.splitlines()]


def parse(text: str, **variables: str) -> JobConfig:
    job = config.parse(text, base=FOLDER, variables=variables, ledger_only=True)
    return job.model_copy(update={"notes": ()})


@pytest.fixture
def convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Converts a text, or a file of `tests/jobfiles` by its name."""

    def run(text: str, *options: str, name: str = "old.conf") -> Converted:
        original = tmp_path / name
        if not original.exists():
            original.write_text(text)
        new = tmp_path / "new" / "migration.conf"
        assert cli.main(["init", f"--from={original}", f"--config={new}", *options]) == 0
        printed = capsys.readouterr()
        return Converted(new, printed.out + printed.err)

    return run


# The files of other tools

POSSIBLE = [
    "01_vts_readme",
    "02_vts_all_collections",
    "04_vts_https_without_port",
    "06_vts_rest_submit_json",
    "07_vts_tls",
    "09_seatunnel_index_preservation",
    "10_seatunnel_partitions",
    "11_seatunnel_partition_key",
    "13_seatunnel_9678_json",
    "15_source_database_only",
    "17_seatunnel_streaming_template",
]


@pytest.mark.parametrize("name", POSSIBLE)
def test_the_new_file_is_the_same_job_and_has_no_notes(convert, name: str) -> None:
    text = (FOLDER / f"{name}.conf").read_text()
    converted = convert(text)
    assert converted.job() == parse(text)
    assert config.parse(converted.text, base=FOLDER, ledger_only=True).notes == ()
    assert "not possible" not in converted.printed


def test_functions_and_keys_of_the_dynamic_field_are_converted(convert) -> None:
    text = (FOLDER / "05_vts_functions_and_field_schema.conf").read_text()
    converted = convert(text)
    assert converted.job() == parse(text)
    assert "# was functionList" in converted.lines
    assert "not possible" not in converted.printed


def test_a_json_file_of_a_rest_call_becomes_hocon(convert) -> None:
    converted = convert((FOLDER / "06_vts_rest_submit_json.conf").read_text(), name="job.json")
    assert converted.lines[8:11] == ["env {", "# was env.execution.parallelism", "parallelism = 2"]
    assert 'table_mapper = { book = "book_2" }' in converted.lines
    assert "# left out plugin_input: plugins run in the order of the file" in converted.lines


def test_the_first_sink_of_seatunnel_becomes_possible(convert) -> None:
    converted = convert((FOLDER / "20_negative_seatunnel_2_3_2_sink.conf").read_text())
    sink = converted.job().sink
    assert (sink.url, sink.token.get_secret_value()) == (
        "http://127.0.0.1:19531",
        "root:TargetPass1",
    )
    left_out = (
        "# left out partition_field: Kitelift copies partitions and their key from the source"
    )
    assert left_out in converted.lines


def test_the_yaml_of_the_older_tool_is_converted(convert) -> None:
    text = (FOLDER / "21_alibaba_older_tool.yaml").read_text()
    converted = convert(text, name="migration.yaml")
    job = converted.job()
    assert (job.source.url, job.sink.url) == ("http://127.0.0.1:19530", "http://127.0.0.1:19531")
    assert job.source.token.get_secret_value() == "root:SourcePass1"
    assert (job.source.collections, job.source.batch_size) == (("articles",), 500)
    assert "# left out meta.version: no effect; Kitelift asks the source for its version" in (
        converted.lines
    )
    assert (
        '# data_save_mode = "APPEND_DATA" # Kitelift stops if the target\'s collection has rows'
        in (converted.lines)
    )


def test_every_key_of_the_older_tool_is_converted(convert) -> None:
    text = f"""
Dumper: {{worker: {{limit: 3, workMode: milvus2x, writer: {{bufferSize: 9}}}}}}
loader: {{worker: {{limit: 5}}}}
meta:
  mode: config
  collection: docs
  fields: [{{name: id}}, {{name: vector}}]
  milvus: {{collection: docs_v2, shardNum: 2, closeDynamicField: true, autoId: "true",
    consistencyLevel: Strong}}
  surprise: 1
source: {{milvus2x: {{endpoint: "s:1", database: shop, username: u, password: {SECRET}-${{PW}}}}}}
target: {{milvus2x: {{endpoint: "https://t", database: shop_2, writeMode: upsert}}}}
"""
    converted = convert(text, name="migration.yaml")
    job = converted.job(PW="end")
    assert (job.source.url, job.sink.url) == ("http://s:1", "https://t")
    assert (job.source.database, job.sink.database, job.sink.create_database) == (
        "shop",
        "shop_2",
        True,
    )
    assert job.source.token.get_secret_value() == f"u:{SECRET}-end"
    assert (job.env.parallelism, job.name_of("docs")) == (3, "docs_v2")
    assert [plugin.to_setting() for plugin in job.transform] == [
        {"Filter": {"include_fields": ["id", "vector"]}}
    ]
    sink = job.sink
    assert (sink.shard_num, sink.consistency_level, sink.enable_auto_id) == (2, "Strong", True)
    assert (sink.data_save_mode, sink.enable_dynamic_field) == ("APPEND_DATA", False)
    assert "# left out meta.surprise: Kitelift does not know this key" in converted.lines
    assert "Set before a run, in the environment or with -i NAME=VALUE: PW." in converted.printed


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "on",
        "true",
        "012345",
        "12:30:45",
        "1_000",
        "0x1F",
        "1e5",
        "1.50",
        "2026-01-02",
        "+5",
        "7",
    ],
)
def test_a_plain_word_of_the_older_tool_is_a_text(convert, text: str) -> None:
    converted = convert(
        f"""
meta: {{collection: {text}, milvus: {{shardNum: 2, closeDynamicField: true, autoId: ~}}}}
source: {{milvus2x: {{endpoint: "s:1", username: u, password: {text}}}}}
target: {{milvus2x: {{endpoint: "t:1"}}}}
""",
        name="migration.yaml",
    )
    job = converted.job()
    assert job.source.token.get_secret_value() == f"u:{text}"
    assert job.source.collections == (text,)
    assert (job.sink.shard_num, job.sink.enable_dynamic_field) == (2, False)


# Differences


@pytest.mark.parametrize(
    ("sink", "source", "lines"),
    [
        ("", "collection = docs", ["# was collection", 'collections = ["docs"]']),
        ("collection = b", "collection = a", ["# was collection", 'collection_rename = { a = "b" }']),
        ("collection_name = a", "collection = a", ["# left out collection: the name is that of the source's collection"]),
        ("", "rate_limit = -1", ["# left out rate_limit: -1 is no limit, which is the default"]),
        ("rate_limit = 5", "", ['rate_limit_bytes = "5 MiB"']),
        ("", "rate_limit = 5", ["rate_limit_rows = 5"]),
        ("batch_interval = 5", "", ["# left out batch_interval: no effect; a batch is sent as soon as it is full"]),
        ("enable_dynamic_field = true", "", ["# the default is as in the source; accept what false loses", "enable_dynamic_field = true"]),
        ("collection = ${new}", "collection = docs", ["collection = ${new}"]),
        ("timezone = UTC", "", ["# NOT POSSIBLE: Kitelift copies this from the source; remove the key", 'timezone = "UTC"']),
        ("parallelism = 2", "parallelism = 3", ["# left out parallelism: is also set as source.Milvus.parallelism"]),
    ],
)  # fmt: skip
def test_each_difference_has_its_line(convert, sink: str, source: str, lines: list[str]) -> None:
    assert "\n".join(lines) in "\n".join(convert(conf(sink, source)).lines)


def test_defaults_of_the_other_tool_are_shown_unless_the_file_sets_them(convert) -> None:
    found = convert(conf("create_index = false")).lines
    shown = [line.split(" = ")[0] for line in found if re.match(r"# \w+ = ", line)]
    assert shown == ["# data_save_mode", "# load_collection"]


def test_what_is_not_possible_stays_in_the_file_and_plan_says_so(convert) -> None:
    text = conf("tokn = x", "", 'Sql { query = "select 1" }')
    converted = convert(text)
    assert "2 keys not possible: transform.Sql, sink.Milvus.tokn." in converted.printed
    assert "# NOT POSSIBLE: unknown key; did you mean token?" in converted.lines
    with pytest.raises(config.ConfigError) as of_new:
        converted.job()
    with pytest.raises(config.ConfigError) as of_old:
        parse(text)
    assert of_new.value.problems == of_old.value.problems


@pytest.mark.parametrize(
    ("sink", "transform", "line"),
    [
        ("ca_pem_path = a", "", "# NOT POSSIBLE: ca_pem_path requires TLS; change the url to https://"),
        ("", "Replace { replace_field = a }", "# NOT POSSIBLE: pattern: missing; write pattern = ...; replacement: missing"),
    ],
)  # fmt: skip
def test_a_problem_of_several_keys_is_above_one_of_them(
    convert, sink: str, transform: str, line: str
) -> None:
    found = convert(conf(sink, "", transform)).lines
    assert any(above.startswith(line) for above in found)


# Values


@pytest.mark.parametrize(
    "value", ['a"b', "a\\b", "\\d+", "a # b", "a // b", "häß 東", "a: {b}", "  a  ", "a\nb", "$1", "'a'x"]
)  # fmt: skip
def test_a_text_is_unchanged(convert, value: str) -> None:
    quoted = json.dumps(value, ensure_ascii=False)
    transform = f"Constant {{ fields {{ origin = {quoted} }} }}"
    text = conf(f"token = {quoted}", transform=transform)
    assert convert(text).job() == parse(text)


def test_a_duration_and_a_list_of_blocks_are_unchanged(convert) -> None:
    schema = "field_schema = [{ field_name = a, max_length = 5, analyzer_params { type = x } }]"
    text = conf(schema, "max_latency = 1500 ms", more="env { retry.max_outage = 15 min }")
    assert convert(text).job() == parse(text)


def test_transforms_of_one_kind_keep_their_order(convert) -> None:
    transform = "Filter { exclude_fields = [a] }, Copy { fields { c = b } }, Filter { exclude_fields = [b] }"
    text = conf(transform=transform)
    assert convert(text).job() == parse(text)


# Variables and secrets

VARIABLES = """
    host = "a.example"
    env { parallelism = 2, parallelism = ${?WORKERS} }
    source { Milvus { url = "http://"${host}":"${PORT}, token = ${TOKEN}, collections = [${what}, b_${what}] } }
    sink { Milvus { url = "http://t:${PORT}", token = "root:"${?PASSWORD}, database = "${base:prod}" } }
"""
SET = {"PORT": "7", "TOKEN": f"root:{SECRET}", "what": "docs", "PASSWORD": SECRET, "WORKERS": "5"}


def test_a_variable_stays_a_variable(convert, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the environment has its value."""
    for name, value in SET.items():
        monkeypatch.setenv(name, value)
    converted = convert(VARIABLES)
    assert SECRET not in converted.text + converted.printed
    assert "token = ${TOKEN}" in converted.lines
    assert 'url = "http://a.example:"${PORT}' in converted.lines
    assert "database = ${base:prod}" in converted.lines
    assert converted.job(**SET) == parse(VARIABLES, **SET)
    assert "Set before a run, in the environment or with -i NAME=VALUE: PORT, TOKEN, what." in (
        converted.printed
    )
    assert "plain text" not in converted.printed


def test_only_variables_of_the_new_file_are_to_be_set(convert) -> None:
    more = "# token = ${OLD}\n// or ${OLDER}\n"
    converted = convert(
        conf("token = ${TOKEN}", "token = ${GIVEN}", more=more), "--source_token=env:T"
    )
    assert "in the environment or with -i NAME=VALUE: TOKEN." in converted.printed


def test_a_value_before_an_optional_variable_stays(convert) -> None:
    converted = convert(VARIABLES)
    given = {name: SET[name] for name in ("PORT", "TOKEN", "what")}
    assert converted.job(**given).env.parallelism == 2
    assert converted.job(**given, WORKERS="5").env.parallelism == 5


@pytest.mark.parametrize(
    "limit", ["rate_limit = ${?RATE}", "rate_limit = 7, rate_limit = ${?RATE}"]
)
@pytest.mark.parametrize("given", [{}, {"RATE": "-1"}, {"RATE": "5"}])
def test_a_rate_limit_that_is_a_variable_keeps_its_unit(
    convert, limit: str, given: dict[str, str]
) -> None:
    text = conf(limit, limit)
    converted = convert(text)
    assert converted.job(**given) == parse(text, **given)
    assert any(line.startswith("# is MiB per second, as in SeaTunnel") for line in converted.lines)


def test_a_part_that_an_optional_variable_overrides_keeps_its_value(convert) -> None:
    text = conf(source='token = "u:"${word}', more='word = "a", word = ${?WORD}')
    converted = convert(text)
    assert converted.job() == parse(text)
    note = "# in the original, a variable can override a part of this value"
    assert any(line.startswith(note) for line in converted.lines)


def test_the_placeholders_of_seatunnel_stay(convert) -> None:
    text = conf(
        'database = "${database_name}", collection = "new_${table_name}"', "collections = [a, b]"
    )
    converted = convert(text)
    assert 'collection_rename = { "*" = "new_*" }' in converted.lines
    assert converted.job() == parse(text)


def test_a_token_in_plain_text_is_written_but_not_printed(convert) -> None:
    converted = convert(conf(f'token = "root:{SECRET}"', "token = file:/run/secrets/source"))
    assert f'token = "root:{SECRET}"' in converted.lines
    assert converted.text.count("in plain text, as in the original") == 1
    assert converted.path.stat().st_mode & 0o777 == 0o600
    assert SECRET not in converted.printed
    assert "The file contains a token in plain text, as the original does" in converted.printed


def test_options_override_the_original(convert) -> None:
    converted = convert(
        conf(), "--target=http://other:19530", "--target_token=env:T", "--verify=count"
    )
    job = converted.job()
    assert (job.sink.url, job.env.verify) == ("http://other:19530", "count")
    assert 'token = "env:T"' in converted.lines


def test_an_included_file_is_part_of_the_new_file(convert, tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text('url = "http://s:1", token = ${TOKEN}')
    converted = convert(
        'source { Milvus { include "more.conf" } }\nsink { Milvus { url = "http://t:1" } }'
    )
    assert converted.job(TOKEN="a").source.url == "http://s:1"
    assert "token = ${TOKEN}" in converted.lines


def test_the_example_of_the_docs_is_real(convert) -> None:
    page = docs.COMING_FROM.read_text(encoding="utf-8")
    parts = re.findall(r"<!-- (\w+) -->\n```\n(.*?)```\n<!-- end -->", page, re.DOTALL)
    original, converted = (text for name, text in parts if name in ("original", "converted"))
    text = convert(original, name="vts.conf").text
    assert text[text.index("env {") :] == converted


# What is no job file

NO_JOB = (
    "is not a job file of SeaTunnel, VTS or milvus-migration: it names no Milvus as source and sink"
)
YAML_SIDES = "source: {milvus2x: {endpoint: a}}\ntarget: {milvus2x: {endpoint: b}}\n"
WRONG = [
    ("a.conf", "", "is empty"),
    ("a.txt", "hello world", NO_JOB),
    ("a.toml", "[source]\nurl = 1", NO_JOB),
    ("a.json", "[1, 2]", NO_JOB),
    ("a.conf", "source { Milvus { } }\nsink { console { } }", "sink.console: unknown plugin; use Milvus, or Parquet for files"),
    ("a.conf", "source { Milvus { url = a } }\nsink { Milvus", "line 2, column 14: the text ends inside a block or list; add the missing } or ]"),
    ("a.conf", (FOLDER / "19_negative_vts_cdc.conf").read_text(), "source.Milvus-CDC: Kitelift does not read a change stream; copy with `kitelift run`, then transfer later changes with `kitelift sync`"),
    ("a.yaml", "kind: Pod", "is not a migration.yaml: it has no block dumper, loader or meta"),
    ("a.yaml", f"meta: {{a}}:{{b}}\n{YAML_SIDES}", "line 1, column 10: the text is not valid YAML"),
    ("a.yaml", f"dumper: {{worker: {{workMode: faiss}}}}\n{YAML_SIDES}", "dumper.worker.workMode: Kitelift copies from Milvus 2.x only; must be milvus2x"),
    ("a.yaml", "meta: {collection: a}\nsource: {milvus2x: {endpoint: a}}", "target.milvus2x.endpoint: missing"),
    ("a.yaml", f"meta: {{collection: [a]}}\n{YAML_SIDES}", "meta.collection: must be one value, not a list"),
    ("a.yaml", f"meta: {{fields: 7}}\n{YAML_SIDES}", "meta.fields: must be a list such as [{name: id}, {name: vector}]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "why"), WRONG)
def test_another_file_is_an_error_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, why: str
) -> None:
    original, new = tmp_path / name, tmp_path / "new.conf"
    original.write_text(text)
    assert cli.main(["init", f"--from={original}", f"--config={new}"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"kitelift: {original}: {why}"
    assert not new.exists()


@pytest.mark.parametrize(
    ("name", "why"), [("none.conf", "no such file"), (".", "cannot be read: Is a directory")]
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    assert cli.main(["init", f"--from={tmp_path / name}", f"--config={tmp_path}/new.conf"]) == 2
    assert capsys.readouterr().err == f"kitelift: {tmp_path / name}: {why}\n"


def test_a_conversion_never_overwrites_a_file(convert, capsys: pytest.CaptureFixture[str]) -> None:
    first = convert(conf())
    again = cli.main(["init", f"--from={first.path}", f"--config={first.path}"])
    assert again == 2
    assert "already exists" in capsys.readouterr().err
    assert first.path.read_text() == first.text


def test_a_converted_file_converts_to_itself(convert, tmp_path: Path) -> None:
    first = convert(VARIABLES)
    (tmp_path / "second.conf").write_text(first.text)
    first.path.unlink()
    assert convert("", name="second.conf").job(**SET) == first.job(**SET)
