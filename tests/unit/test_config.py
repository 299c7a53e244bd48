"""The job file: what is accepted, what is refused, and with which message."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobfile import config, job, seatunnel
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.settings import BLOCKS, Env
from pipeline.jobfile.spelling import similar
from pipeline.jobfile.transform import PLUGINS
from pipeline.jobfile.value_types import ACCEPTABLE
from tests import docs
from transforms.errors import ConfigError
from transforms.milvus.endpoint import PAGE_BYTES, Endpoint, Tls
from transforms.milvus.rate_limit import RateLimit

GOLDEN = Path(__file__).parent.parent / "golden"
PEM = __file__  # any existing file
UNREADABLE = "/proc/self/mem"  # Not even root: at its beginning there is no memory.

EVERY_KEY = [
    *(f"{path}.{key}" for path, block in BLOCKS.items() for key in block.known()),
    *seatunnel.SPELLINGS,
]


def conf(env: str = "", source: str = "", sink: str = "") -> str:
    """Returns a minimal job file with additional keys."""
    return f"""
        env {{ {env} }}
        source {{ Milvus {{ url = "http://source:19530"\n {source}\n }} }}
        sink {{ Milvus {{ url = "http://target:19530"\n {sink}\n }} }}
    """


def parse(text: str, **overrides: str) -> JobConfig:
    paths = {f"env.{name}": value for name, value in overrides.items()}
    return config.parse(text, base=GOLDEN, overrides=paths)


def problems(text: str, **overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, **overrides)
    return list(caught.value.problems)


# Job files that users have


def test_an_existing_job_file_is_read() -> None:
    job = config.load(GOLDEN / "migration.conf")
    assert job.env == Env(parallelism=1)
    assert job.source.endpoint == Endpoint("http://10.0.0.1:19530", "root:SourcePass123@")
    assert job.source.collections == ("medium_articles",)
    assert job.source.batch_size == 10_000
    assert job.sink.endpoint == Endpoint("http://target.example.com:19530", "root:TargetPass123@")
    assert job.sink.batch_size == 10_000
    assert job.sink.enable_auto_id is False


def test_a_missing_key_has_its_default() -> None:
    job = parse(conf())
    assert job.env.parallelism == 1
    assert job.env.verify == "full"
    assert job.env.state == "./kitelift-state"
    assert job.env.accept == ()
    assert job.source.endpoint == Endpoint("http://source:19530", "", "default")
    assert job.source.collections is None
    assert job.source.batch_size == job.sink.batch_size == 16_384
    assert job.sink.create_index is True
    assert job.sink.load_collection == "as_source"


def test_the_template_has_every_key_and_its_default(tmp_path: Path) -> None:
    text = (GOLDEN / "template.conf").read_text()
    as_it_is = config.load(GOLDEN / "template.conf")
    keys = re.findall(r"^ +(?:# )?([a-z_.]+) = ", text, re.MULTILINE)
    assert sorted(keys) == sorted(key for block in BLOCKS.values() for key in block.known())
    defaults = re.sub(
        r"# (?!job.name|flink.master|spark.master|shard_num|enable_dynamic_field|partition_key|partition_num|consistency_level|\w+_pem_path|\w+_key_path|server_name)([\w.]+ = )",
        r"\1",
        text,
    )
    assert parse(defaults) == as_it_is


def test_a_dotted_key_and_a_nested_one_are_the_same() -> None:
    nested = parse(conf("job { mode = BATCH, name = a }"))
    assert parse(conf('job.mode = "BATCH", job.name = a')) == nested
    assert parse(conf('"job.mode" = "BATCH", "job.name" = a')) == nested


@pytest.mark.parametrize(
    ("text", "parallelism"),
    [
        (conf("parallelism = 4"), 4),
        (conf("execution.parallelism = 4"), 4),
        (conf("execution { parallelism = 4 }"), 4),
        (conf(source="parallelism = 4"), 4),
        (conf("parallelism = 4", "parallelism = 4", "parallelism = 4"), 4),
    ],
)
def test_parallelism_has_several_spellings(text: str, parallelism: int) -> None:
    assert parse(text).env.parallelism == parallelism


@pytest.mark.parametrize("key", ["collection", "collection_name"])
@pytest.mark.parametrize("value", ['"docs"', '["docs"]'])
def test_one_collection_can_be_named_as_in_seatunnel(key: str, value: str) -> None:
    assert parse(conf(source=f"{key} = {value}")).source.collections == ("docs",)


@pytest.mark.parametrize(
    ("source", "sink"),
    [
        ('plugin_output = "m"', 'plugin_input = "m"'),
        ('plugin_output = "m"', 'plugin_input = ["m"]'),
        ('result_table_name = "m"', 'source_table_name = "m"'),
        ('result_table_name = "m"', ""),
        ("", 'plugin_input = "m"'),
    ],
)
def test_names_that_connect_plugins_are_accepted_if_they_agree(source: str, sink: str) -> None:
    assert parse(conf(source=source, sink=sink)) == parse(conf())


def test_the_json_form_is_read() -> None:
    tree = {
        "env": {"job.mode": "BATCH", "parallelism": 2},
        "source": [{"plugin_name": "Milvus", "url": "http://source:19530"}],
        "sink": [{"plugin_name": "Milvus", "url": "http://target:19530"}],
        "transform": [],
    }
    assert parse(json.dumps(tree)) == parse(conf("parallelism = 2"))


@pytest.mark.parametrize("word", ["true", "yes", "on", "ON", '"true"', '"yes"'])
def test_hocon_has_many_words_for_true(word: str) -> None:
    assert parse(conf(sink=f"create_database = {word}")).sink.create_database is True


@pytest.mark.parametrize("word", ["false", "no", "off", '"off"'])
def test_hocon_has_many_words_for_false(word: str) -> None:
    assert parse(conf(sink=f"create_index = {word}")).sink.create_index is False


def test_choices_are_case_insensitive() -> None:
    job = parse(conf("job.mode = batch, verify = NONE", sink="load_collection = AS_SOURCE"))
    assert (job.env.job_mode, job.env.verify) == ("BATCH", "none")
    assert job.sink.load_collection == "as_source"


def test_a_number_can_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS", "5000")
    assert parse(conf(source="batch_size = ${ROWS}")).source.batch_size == 5000


def test_tls_needs_https_and_its_files() -> None:
    keys = f'ca_pem_path = "{PEM}", client_pem_path = "{PEM}", client_key_path = "{PEM}"'
    tls = parse(conf(source=f'url = "https://s", server_name = "m", {keys}')).source.endpoint.tls
    assert tls == Tls(PEM, PEM, PEM, "m")


@pytest.mark.skipif(not Path(UNREADABLE).is_file(), reason="needs a file that nobody can read")
def test_an_unreadable_key_file_is_a_problem() -> None:
    keys = f'client_pem_path = "{PEM}", client_key_path = "{UNREADABLE}"'
    assert problems(conf(source=f'url = "https://s", {keys}')) == [
        f"source.Milvus.client_key_path: cannot be read: {UNREADABLE} (Input/output error)"
    ]


def test_the_certificate_to_trust_can_be_the_servers() -> None:
    job = parse(conf(source=f'url = "https://source", server_pem_path = "{PEM}"'))
    assert job.source.endpoint.tls.ca_pem_path == PEM


RENAMES = [
    ("docs = articles", "docs", "articles"),
    ("docs = articles", "other", "other"),
    ('"old_*" = "new_*"', "old_docs", "new_docs"),
    ('"*_v1" = "*"', "docs_v1", "docs"),
    ('"*" = "copy_of_*"', "docs", "copy_of_docs"),
    ('"*" = "copy_of_*", docs = "articles"', "docs", "articles"),
    ('"ab*bc" = "x*"', "abc", "abc"),
]


@pytest.mark.parametrize(("renames", "source", "target"), RENAMES)
def test_a_collection_is_renamed(renames, source, target) -> None:
    sink = parse(conf(sink=f"collection_rename {{ {renames} }}")).sink
    assert sink.renamed(source) == target


# Substitutions and includes


def test_a_variable_is_replaced_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_TOKEN", "root:x@y")
    assert parse(conf(source="token = ${SOURCE_TOKEN}")).source.endpoint.token == "root:x@y"


def test_a_variable_can_be_a_key_at_the_top_of_the_file() -> None:
    text = 'pw = "root:a"\n' + conf(source="token = ${pw}", sink="token = ${pw}")
    assert parse(text).source.token == parse(text).sink.token


def test_an_unset_optional_variable_leaves_out_the_key() -> None:
    assert parse(conf(source="token = ${?KITELIFT_UNSET}")) == parse(conf())


def test_every_unset_variable_is_shown_with_its_key_and_all_other_problems() -> None:
    text = conf("verfy = none", "token = ${NO_SUCH_A}", 'database = "x"${no.such.b}')
    assert problems(text) == [
        "env.verfy: unknown key; did you mean verify?",
        "source.Milvus.token: ${NO_SUCH_A} is not set; export it before the run, or set it with -i NAME=VALUE",
        "sink.Milvus.database: ${no.such.b} is not set; export it before the run, or set it with -i NAME=VALUE",
    ]


def test_an_unset_variable_inside_another_variable_is_shown() -> None:
    assert problems("a = ${NO_SUCH_A}\nb = ${a}\n" + conf()) == [
        "b: unknown block; the blocks are env, source, transform, sink",
        "${NO_SUCH_A}: is not set; export it before the run, or set it with -i NAME=VALUE",
    ]


def test_an_include_is_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret.conf").write_text('token = "root:x"')
    (tmp_path / "job.conf").write_text(conf(source='include "secret.conf"'))
    assert config.load(tmp_path / "job.conf").source.endpoint.token == "root:x"


def test_a_missing_include_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    assert problems('include "nope.conf"\n' + conf()) == [
        f'include "{GOLDEN}/nope.conf": no such file'
    ]
    assert problems('include required("nope.conf")\n' + conf()) == [
        f"include: {GOLDEN}/nope.conf: No such file or directory"
    ]
    assert not caplog.records


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.conf").write_text('include "job.conf"')
    with pytest.raises(ConfigError, match="a file includes itself"):
        config.load(tmp_path / "job.conf")


A, B, C = (f"Filter {{ exclude_fields = [{field}] }}" for field in "abc")
LIST = "Filter = [{ exclude_fields = [a] }, { exclude_fields = [b] }]"

# The job, the file that it includes, and the fields in the order in which they are dropped.
CHAINS = [
    ('include "more.conf"', f"transform {{ {A}, {B} }}", "ab"),
    (f'include "more.conf"\ntransform {{ {B} }}', f"transform {{ {A} }}", "ab"),
    (f'transform {{ {A}, include "more.conf" }}', f"{B}, {C}", "abc"),
    (f'transform {{ include "more.conf", {C} }}', f"{A}, {B}", "abc"),
    (f'transform {{ include "more.conf", {C} }}', LIST, "abc"),
    (f"transform {{ {C}, {LIST} }}", "", "cab"),
]


@pytest.mark.parametrize(("text", "included", "dropped"), CHAINS)
def test_transforms_of_one_kind_are_not_merged(tmp_path, text, included, dropped) -> None:
    (tmp_path / "more.conf").write_text(included)
    (tmp_path / "job.conf").write_text(f"{text}\n{conf()}")
    chain = config.load(tmp_path / "job.conf").transform
    assert "".join(field for transform in chain for field in transform.exclude_fields) == dropped


def test_a_later_value_wins_over_an_earlier_one() -> None:
    text = conf("parallelism = 1, parallelism = 2") + "\nenv.parallelism = 3"
    assert parse(text).env.parallelism == 3


# Problems: the line that the user sees


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("verify = cuont", 'verify: must be one of full, sample, count, none, not "cuont"; did you mean count?'),
        ("verify = off", 'verify: must be one of full, sample, count, none, not "off"'),
        ("verify = true", "verify: must be one of full, sample, count, none, not true"),
        ('job.mode = "STREAMING"', 'job.mode: STREAMING is not supported: a job copies once, then ends; use "BATCH"'),
        ("job.mode = BTCH", 'job.mode: must be BATCH, not "BTCH"; did you mean BATCH?'),
        ('job.name = "a/b"', "job.name: is not a valid folder name; use at most 100 letters, digits, _, - and ., and do not start with - or ."),
        ('state = "hdfs://namenode/kitelift"', "state: a ledger cannot be stored in HDFS, which shows files before they are complete; use s3://, gs://, or a folder that all hosts share"),
        (r'state = "C:\\kitelift\\state"', "state: is a path of Windows, and this host runs Linux; write a path of this host, for example ./kitelift-state"),
        ('state = "file:///D:/state"', "state: is a path of Windows, and this host runs Linux; write a path of this host, for example ./kitelift-state"),
        (r'state = "\\\\fileserver\\state"', "state: is a path of Windows, and this host runs Linux; write a path of this host, for example ./kitelift-state"),
        ('job.name = ".."', "job.name: is not a valid folder name; use at most 100 letters, digits, _, - and ., and do not start with - or ."),
        ("parallelism = 0", "parallelism: must be at least 1, not 0"),
        ("parallelism = two", 'parallelism: must be a whole number, not "two"'),
        ("parallelism = 1.5", "parallelism: must be a whole number, not 1.5"),
        ("parallelism = 2, execution.parallelism = 3", "execution.parallelism: is also set as env.parallelism; remove one of them"),
        ("execution.parallelism = 0", "execution.parallelism: must be at least 1, not 0"),
        ("paralelism = 4", "paralelism: unknown key; did you mean parallelism?"),
        ("execution.paralelism = 4", "execution.paralelism: unknown key; did you mean execution.parallelism?"),
        ("xyzzy = 4", "xyzzy: unknown key; closest keys: verify, memory, max_rejected, retry.max_outage, worker_timeout; docs/configuration.md lists all keys"),
        ('accept = ["source-verison"]', "accept: source-verison is not a code that can be accepted; did you mean source-version?"),
        ('accept = ["rename-clash"]', "accept: rename-clash is not a code that can be accepted; closest codes: unreadable-rows, same-collection, unreadable-key, target-in-use, target-version; docs/configuration.md lists all codes"),
        ("accept = 5", "accept: must be text in double quotes, not a number"),
        ('state = ""', "state: is empty; set a value or remove the key"),
        ("fail_fast = maybe", 'fail_fast: must be true or false, not "maybe"'),
        ("retry.max_outage = 99999999h", "retry.max_outage: must be at most 3650 days"),
        ('retry.max_outage = "99999999 h"', "retry.max_outage: must be at most 3650 days"),
        ("shade.identifier = base64", "shade.identifier: Kitelift does not read encrypted job files; set tokens as env:NAME or file:/path"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_env_has_its_line(key: str, line: str) -> None:
    assert problems(conf(key)) == [f"env.{line}"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("tokn = x", ".tokn: unknown key; did you mean token?"),
        ('uri = "http://s"', ".uri: unknown key; did you mean url?"),
        ("plugin_input = x", ".plugin_input: unknown key; did you mean plugin_output?"),
        ('url = "localhost:19530"', ".url: has no scheme; write http://localhost:19530"),
        ('url = "root:password"', ".url: has no scheme; write http://host:19530"),
        ('url = "http://s:99999"', ".url: has an invalid host or port; write http://host:19530"),
        ('url = "http://s:port"', ".url: has an invalid host or port; write http://host:19530"),
        ('url = "http://s:0"', ".url: has an invalid port; use a port from 1 to 65535"),
        ('url = "http://s:"', ".url: has an invalid port; use a port from 1 to 65535"),
        ('url = "http://:19530"', ".url: has no host; write http://host:19530"),
        ('url = "http://[::1"', ".url: has an invalid host or port; write http://host:19530"),
        ('url = "ftp://s"', ".url: has the scheme ftp; use http, or https for TLS"),
        ('url = "http://s:19530/db"', ".url: has text after the port; remove it, and set the database with database"),
        ('url = "http://root:pw@s"', '.url: contains credentials; remove them and set token = "user:password"'),
        ("url = null", ".url: must be text in double quotes, not null"),
        ("url = 5 s", ".url: must be text in double quotes, not a duration"),
        ("token = null", ".token: must be text in double quotes, not null"),
        ("token = 12345", ".token: must be text in double quotes, not a number"),
        ("token = 'root:x'", ".token: is in single quotes, which HOCON does not remove; use double quotes"),
        ('token = "${X}"', ".token: contains ${...} in quotes, where HOCON does not replace it; remove the quotes, or set it with -i NAME=VALUE"),
        (r'token = "a\u0040b"', r".token: contains a \u escape, which is not decoded; write the character itself"),
        ('token = "env:KITELIFT_UNSET"', ".token: the environment variable KITELIFT_UNSET is not set"),
        ('token = "env:a b"', ".token: must be env:NAME, where NAME is an environment variable"),
        ('token = "file:/no/such"', ".token: the file /no/such is missing or empty"),
        ("collections = []", ".collections: is empty; add a name, or remove the key"),
        ('collections = "a"', '.collections: must be a list such as ["name"], not text'),
        ('collections = ["a", 5]', ".collections: item 2 must be text in double quotes, not a number"),
        ('collections = ["a", " "]', ".collections: item 2 is empty; set a value or remove the key"),
        ('collections = ["a", "b", "a"]', ".collections: contains a more than once"),
        ('collection = a, collections = ["b"]', ".collection: is also set as source.Milvus.collections; remove one of them"),
        ("collection = 5", ".collection: item 1 must be text in double quotes, not a number"),
        ('batch_size = "five"', '.batch_size: must be a whole number, not "five"'),
        ("batch_size = -1", ".batch_size: must be at least 1, not -1"),
        ("batch_size = true", ".batch_size: must be a whole number, not true"),
        ("batch_size = null", ".batch_size: must be a whole number, not null"),
        ("batch_size { a = 1 }", ".batch_size: must be a whole number, not a block"),
        ("rate_limit_rows = -5", ".rate_limit_rows: must be at least 1, not -5"),
        ("rate_limit_bytes = 10m", '.rate_limit_bytes: is a duration in HOCON; write the size in double quotes: "512m"'),
        ('rate_limit_bytes = "10 MBit"', '.rate_limit_bytes: must be bytes, or text such as "512m", "10 MB" or "2g", not "10 MBit"'),
        ("rate_limit = 5, rate_limit_rows = 6", ".rate_limit: is also set as source.Milvus.rate_limit_rows; remove one of them"),
        ('ca_pem_path = "/no/such"', ".ca_pem_path: no such file: /no/such"),
        (f'ca_pem_path = "{PEM}"', ": ca_pem_path requires TLS; change the url to https://"),
        (f'url = "https://s", client_pem_path = "{PEM}"', ": client_pem_path and client_key_path must be set together"),
        (f'url = "https://s", ca_pem_path = "{PEM}", server_pem_path = "{PEM}"', ": server_pem_path and ca_pem_path both set the certificate to trust; remove one"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_the_source_has_its_line(key: str, line: str) -> None:
    assert problems(conf(source=key)) == [f"source.Milvus{line}"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("shard_num = 0", ".shard_num: must be at least 1, not 0"),
        ("consistency_level = Weak", '.consistency_level: must be one of Strong, Session, Bounded, Eventually, not "Weak"'),
        ("collection_rename = docs", '.collection_rename: must be a block such as { "name" = "text" }, not text'),
        ('collection_rename { "a_*" = "b" }', '.collection_rename: has a_* = b; write one * on each side: "a_*" = "b_*"'),
        ('collection_rename { a = "b-c" }', ".collection_rename: b-c is not a valid Milvus name; use letters, digits and _"),
        ("collection_description { docs = 5 }", ".collection_description: docs must be text in double quotes, not a number"),
        ("data_save_mode = APPEND", '.data_save_mode: must be one of ERROR_WHEN_DATA_EXISTS, APPEND_DATA, DROP_DATA, not "APPEND"; did you mean APPEND_DATA?'),
        ("schema_save_mode = IGNOR", '.schema_save_mode: must be one of CREATE_SCHEMA_WHEN_NOT_EXIST, ERROR_WHEN_SCHEMA_NOT_EXIST, RECREATE_SCHEMA, IGNORE, not "IGNOR"; did you mean IGNORE?'),
        ("create_index = after", '.create_index: must be true, false, "before" or "AUTOINDEX", not "after"'),
        ("load_collection = as_sorce", '.load_collection: must be true, false or "as_source", not "as_sorce"; did you mean as_source?'),
        ("plugin_input = other", ".plugin_input: differs from plugin_output of the source; remove both keys"),
        ("parallelism = 7", ".parallelism: is also set as env.parallelism; remove one of them"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_the_sink_has_its_line(key: str, line: str) -> None:
    text = conf("parallelism = 2", 'plugin_output = "m"', key)
    assert problems(text) == [f"sink.Milvus{line}"]


@pytest.mark.parametrize("database", ["", 'database = "copy"', 'collection_rename { a = "b" }'])
def test_source_and_target_can_be_one_server(database: str) -> None:
    assert parse(conf(sink=f'url = "http://source:19530"\n{database}'))


@pytest.mark.parametrize(
    ("source", "sink", "database"),
    [
        ("", "", "default"),
        ("database = shop", "", "shop"),
        ("", "database = copy", "copy"),
        ("database = shop", "database = copy", "copy"),
        ("database = shop", "database = default", "default"),
    ],
)
def test_a_sink_without_a_database_uses_that_of_the_source(
    source: str, sink: str, database: str
) -> None:
    parsed = parse(conf(source=source, sink=sink))
    assert parsed.sink.database == parsed.target_endpoint.database == database
    assert parsed.result_settings()["sink.Milvus.database"] == database
    assert parsed.inherits_database == (not sink)
    assert pickle.loads(pickle.dumps(parsed)).inherits_database == parsed.inherits_database


def test_files_do_not_use_the_database_of_the_source() -> None:
    text = 'source { Milvus { url = "http://s", database = shop } }\nsink { Parquet { path = a } }'
    assert parse(text).sink.database == "default"


@pytest.mark.parametrize(
    ("database", "selected"),
    [
        ('"*"', ("*",)),
        ('"shop_*"', ("shop_*",)),
        ('["sales", "!tmp"]', ("sales", "!tmp")),
        ('["sales"]', "sales"),
    ],
)
def test_a_source_selects_one_database_or_several(
    database: str, selected: str | tuple[str, ...]
) -> None:
    parsed = parse(conf(source=f"database = {database}"))
    assert parsed.source.database == selected
    assert parsed.qualifies == isinstance(selected, tuple)
    endpoints = parsed.source_endpoint.database, parsed.target_endpoint.database
    assert endpoints == (("*", "*") if parsed.qualifies else ("sales", "sales"))


@pytest.mark.parametrize(
    "renames",
    ['{ sales.docs = papers, docs = "others" }', '{ "sales.docs" = papers, "d*s" = "o*ers" }'],
)
def test_a_qualified_name_has_priority_over_a_plain_one(renames: str) -> None:
    renaming = f"collection_rename {renames}, database_rename {{ sales = sales_eu }}"
    parsed = parse(conf(source='database = "*"', sink=renaming))
    assert parsed.name_of("sales.docs") == "sales_eu.papers"
    assert parsed.name_of("shop.docs") in ("shop.others", "shop.oocers")
    assert parsed.name_of("shop.notes") == "shop.notes"


def test_a_pattern_does_not_match_across_database_and_collection() -> None:
    renames = 'collection_rename { "s*" = "x*", "sales.a*" = "y*", "*" = "z_*" }'
    parsed = parse(conf(source='database = "*"', sink=renames))
    assert parsed.name_of("sales.docs") == "sales.z_docs"
    assert parsed.name_of("sales.set") == "sales.xet"


SEVERAL = 'database = ["sales", "shop"]'
FOLDER = "sink { Parquet { path = a } }"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            conf(source=SEVERAL, sink="database = copy"),
            (
                "sink.Milvus.database: must not be set, because source.Milvus.database selects several "
                "databases, which keep their names; to change names, set sink.Milvus.database_rename"
            ),
        ),
        (
            conf(sink='database = "*"'),
            (
                "sink.Milvus.database: must be the name of one database; to copy several, set "
                "source.Milvus.database"
            ),
        ),
        (
            conf(sink="database = a, database_rename { b = c }"),
            "sink.Milvus.database_rename: is set beside sink.Milvus.database; remove one of them",
        ),
        (
            f'source {{ Milvus {{ url = "http://s", {SEVERAL} }} }}\n{FOLDER}',
            (
                "source.Milvus.database: files have no databases; copy one database per job, each to "
                "its own folder"
            ),
        ),
        (
            conf(source=SEVERAL, sink='collection = "${database_name}_${table_name}"'),
            (
                "sink.Milvus.collection: cannot contain ${database_name}, because the source has "
                "several databases; set sink.Milvus.database_rename"
            ),
        ),
    ],
)
def test_databases_that_do_not_fit_together_are_refused(text: str, problem: str) -> None:
    assert problems(text) == [problem]


SOURCE = 'source { Milvus { url = "http://s" } }\n'
SINK = 'sink { Milvus { url = "http://t" } }\n'


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [
            'source: missing; write source { Milvus { url = "http://host:19530" } }',
            'sink: missing; write sink { Milvus { url = "http://host:19530" } }',
        ]),
        ("source { }\n" + SINK, ['source: missing; write source { Milvus { url = "http://host:19530" } }']),
        ("source { Milvus { } }\n" + SINK, ['source.Milvus.url: missing; write url = "http://host:19530"']),
        ("source { Milvus { url = a }, Milvus { url = b } }\n" + SINK, ["source: has Milvus twice; keep one",
            "source.Milvus.url: has no scheme; write http://b"]),
        (SOURCE + SOURCE + SINK, ["source: has Milvus twice; keep one"]),
        (SOURCE + SINK + SINK, ["sink: has Milvus twice; keep one"]),
        ('source { Milvus { url = "http://s" }, Jdbc { } }\n' + SINK, ["source: has Milvus and Jdbc; keep one"]),
        ("source { Jdbc { } }\n" + SINK, ["source.Jdbc: unknown plugin; use Milvus, or Parquet for files"]),
        ('source { milvus { url = "http://s" } }\n' + SINK, ["source.milvus: unknown plugin; did you mean Milvus?"]),
        ('source { url = "http://s" }\n' + SINK, ["source.url: must be inside source { Milvus { ... } }"]),
        ("source = 5\n" + SINK, ["source: must be a block; write source { ... }"]),
        ("env = 5\n" + SOURCE + SINK, ["env: must be a block; write env { ... }"]),
        ("envv { }\n" + SOURCE + SINK, ["envv: unknown block; did you mean env?"]),
        ("transform { Filter { } }\n" + SOURCE + SINK, ["transform.Filter: requires either include_fields or exclude_fields"]),
        ("[1, 2]", ["the file must consist of blocks: env, source and sink"]),
        (SOURCE + SINK + "sink.Milvus.url.x = 1\nenv = 1\nenv.a = 2", ["a key is set both to a value and to a block or list; remove one"]),
        ("a = ${b}\nb = ${a}\n", ["a variable refers to itself: ${b}, ${a}"]),
        ("env {\n  parallelism = 1\n", ["line 3, column 1: the text ends inside a block or list; add the missing } or ]"]),
        ("env { }\n}", ['line 2, column 1: unexpected "}"; a value is missing, or there is one bracket too many']),
        ('env {\n  state = "x\n}', ["line 2, column 11: unexpected double quote, or the quoted text does not end on this line"]),
        ("env {\n  state = me@home\n}", ["line 2, column 13: text that contains @ must be in double quotes"]),
    ],
)  # fmt: skip
def test_a_file_of_the_wrong_shape_has_its_lines(text: str, lines: list[str]) -> None:
    assert problems(text) == lines


def test_braces_in_text_and_comments_open_no_block() -> None:
    text = conf(source='token = "source { Milvus {" # source { Milvus {\n // source { Milvus {')
    assert parse(text + "\nsource.Milvus.batch_size = 5").source.batch_size == 5


def test_all_problems_come_at_once_in_the_order_of_the_blocks() -> None:
    text = conf("verify = x", "batch_size = x, tokn = 1", "batch_size = 0") + "transform { A {} }"
    assert [line.split(":")[0] for line in problems(text)] == [
        "env.verify",
        "source.Milvus.batch_size",
        "source.Milvus.tokn",
        "transform.A",
        "sink.Milvus.batch_size",
    ]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_has_its_line(make, line: str, tmp_path: Path) -> None:
    path = tmp_path / "job.conf"
    make(path)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}: {line}')}(; |$)"):
        config.load(path)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "job.conf").write_text(conf(), encoding="utf-8-sig")
    assert config.load(tmp_path / "job.conf") == parse(conf())


# The command line


def test_a_syntax_error_is_shown_with_file_line_and_column(tmp_path: Path) -> None:
    job = tmp_path / "job.conf"
    job.write_text("env {\n  state = me@home\n}")
    with pytest.raises(ConfigError) as raised:
        config.load(job)
    assert str(raised.value).startswith(f"{job}: line 2, column 13: ")


def test_the_command_line_overrides_the_file() -> None:
    job = parse(conf("verify = full, execution.parallelism = 2"), verify="count", parallelism="4")
    assert (job.env.verify, job.env.parallelism) == ("count", 4)


@pytest.mark.parametrize("accept", ['["lost:a", "lost:b"]', '"lost:a, lost:b"'])
def test_codes_accepted_on_the_command_line_are_added_to_the_files(accept: str) -> None:
    accepted = parse(conf(f"accept = {accept}"), accept="source-version,lost:a").env.accept
    assert accepted == ("lost:a", "lost:b", "source-version")


def test_a_problem_names_the_option_as_written() -> None:
    assert problems(conf(), verify="cuont", parallelism="0") == [
        "--parallelism: must be at least 1, not 0",
        '--verify: must be one of full, sample, count, none, not "cuont"; did you mean count?',
    ]


# Known keys


@pytest.mark.parametrize(
    "known",
    [*(block.known() for block in BLOCKS.values()), PLUGINS, ACCEPTABLE],
    ids=[*BLOCKS, "transforms", "codes"],
)
def test_an_unknown_name_has_the_five_closest_names_in_200_characters(known) -> None:
    line = similar("xyzzy", known, "keys")
    assert line.count(", ") == 4
    assert len(line) < 200


def test_an_unknown_transform_has_the_closest_ones() -> None:
    [line] = problems(conf() + "transform { Xyzzy { } }")
    assert line.startswith("transform.Xyzzy: unknown transform; closest transforms: ")
    assert line.endswith("; docs/configuration.md lists all transforms")


@st.composite
def typos(draw: st.DrawFn) -> dict[str, list[str]]:
    """Each known key with one letter missing or one extra letter, by block."""
    by_block: dict[str, list[str]] = {block: [] for block in BLOCKS}
    for path in EVERY_KEY:
        block = next(block for block in by_block if path.startswith(f"{block}."))
        key = path.removeprefix(f"{block}.")
        place = draw(st.sampled_from([at for at, letter in enumerate(key) if letter.isalpha()]))
        letter = draw(st.sampled_from(["", *"aeioxz_"]))
        typo = key[:place] + letter + key[place + (not letter) :]
        if f"{block}.{typo}" not in EVERY_KEY:
            by_block[block].append(typo)
    return by_block


@settings(max_examples=10, deadline=None)
@given(wrong=typos())
def test_a_typo_of_one_letter_in_any_known_key_has_a_suggestion(
    wrong: dict[str, list[str]],
) -> None:
    blocks = ("\n".join(f"{typo} = 1" for typo in typos) for typos in wrong.values())
    lines = problems(conf(*blocks))
    typed = {f"{block}.{typo}" for block, typos in wrong.items() for typo in typos}
    assert {line.split(":")[0] for line in lines} == typed
    assert [line for line in lines if ": unknown key; did you mean " not in line] == []


def test_unsupported_keys_are_refused_with_the_reason() -> None:
    for path, why in seatunnel.NOT_HERE.items():
        assert problems(conf() + f"\n{path} = 5") == [f"{path}: {why}"]


def test_keys_without_effect_are_accepted_with_a_note() -> None:
    for path, why in seatunnel.NOTED.items():
        parsed = parse(conf() + f"\n{path} = 5")
        assert parsed.notes == ((path, f"has no effect: {why}"),)
        assert parsed.result_settings() == parse(conf()).result_settings()


# Secrets

tokens = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\$\n\r', min_codepoint=33), min_size=6
)


@settings(max_examples=15, deadline=None)
@given(token=tokens)
def test_a_token_is_never_shown(token: str) -> None:
    job = parse(conf(source=f'token = "t0k-{token}"'))
    assert job.source.endpoint.token == f"t0k-{token}"
    shown = f"{job!r} {job} {job.masked()} {job.result_settings()} {job.model_dump()}"
    assert "t0k-" not in shown + job.model_dump_json() + str(job.model_dump(mode="json"))


@settings(max_examples=15, deadline=None)
@given(token=tokens, place=st.sampled_from(["url", "token", "database", "collections"]))
def test_a_token_is_in_no_message(token: str, place: str) -> None:
    secret = f"t0k-{token}"
    wrong = [
        conf(source=f'{place} = ["{secret}", 5]'),
        conf(source=f'token = "{secret}", tokn = 5', sink="batch_size = five"),
        conf(source=f'token = "{secret}'),
        conf(source=f"token = @{secret}"),
        conf(source=f'token = "{secret}", token.x = 5'),
        conf(source=f'url = "root:{secret}@host"'),
    ]
    for text in wrong:
        with pytest.raises(ConfigError) as caught:
            parse(text)
        assert "t0k-" not in f"{caught.value} {caught.value!r} {caught.value.__context__!r}"


def test_an_included_token_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret.conf").write_text('token = "root:t0k"')
    (tmp_path / "job.conf").write_text(conf(source='include "secret.conf"'))
    config.load(tmp_path / "job.conf")
    assert "t0k" not in caplog.text


def test_a_token_reference_is_resolved_late(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET", "root:x")
    (tmp_path / "token").write_text("root:y\n")
    job = parse(conf(source='token = "env:SECRET"', sink=f'token = "file:{tmp_path}/token"'))
    assert job.source.endpoint.token == "env:SECRET"
    assert [job.source.endpoint.secret(), job.sink.endpoint.secret()] == ["root:x", "root:y"]


def test_a_token_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfroot:y\r\n")
    job = parse(conf(source=f'token = "file:{tmp_path}/token"'))
    assert job.source.endpoint.secret() == "root:y"


# A host that has the job file and can read only the ledger


def test_tokens_files_and_functions_need_not_exist_if_only_the_ledger_is_needed() -> None:
    text = f"""
        {conf(source='url = "https://s", token = "env:NO_SUCH", ca_pem_path = "/no/such"')}
        transform {{ Python {{ function = "no_such_module:function" }} }}
        sink.Milvus.token = ${{NO_SUCH}}
    """
    assert len(problems(text)) == 4
    without_files = conf(source='url = "https://s"')
    assert config.parse(text, base=GOLDEN, ledger_only=True).job_id == parse(without_files).job_id


def test_the_keys_that_identify_the_job_are_always_required() -> None:
    with pytest.raises(ConfigError, match=r"^sink.Milvus.database: \$\{NO_SUCH\} is not set"):
        config.parse(conf(sink="database = ${NO_SUCH}"), base=GOLDEN, ledger_only=True)


# Identity


def test_the_same_urls_databases_and_collections_are_the_same_job() -> None:
    job = parse(conf())
    assert re.fullmatch("[0-9a-f]{12}", job.job_id)
    same = conf("parallelism = 8, verify = none", 'token = "a:b", batch_size = 5', "batch_size = 7")
    assert parse(same).job_id == job.job_id


@pytest.mark.parametrize(
    "other",
    [
        conf(source='database = "x"'),
        conf(source='database = "x"', sink='database = "default"'),
        conf(sink='database = "x"'),
        conf(source='collections = ["a"]'),
        conf(source='url = "http://other"'),
        conf(sink='url = "http://other"'),
    ],
)
def test_another_url_database_or_collection_is_another_job(other: str) -> None:
    assert parse(other).job_id != parse(conf()).job_id


@pytest.mark.parametrize("database", ["default", "shop"])
def test_a_database_left_out_or_written_is_the_same_job(database: str) -> None:
    source = f"database = {database}"
    written = parse(conf(source=source, sink=f"database = {database}"))
    assert parse(conf(source=source)).job_id == written.job_id == written.former_job_id


def test_the_job_of_an_earlier_version_wrote_to_default() -> None:
    parsed = parse(conf(source="database = shop"))
    assert (
        parsed.former_job_id
        == parse(conf(source="database = shop", sink="database = default")).job_id
    )


def test_a_name_is_the_jobs_identity() -> None:
    assert parse(conf('job.name = "move-1"')).job_id == "move-1"


def test_result_settings_exclude_settings_of_speed() -> None:
    fast = conf("parallelism = 8, verify = none", "batch_size = 5, token = x", "batch_size = 7")
    assert parse(fast).result_settings() == parse(conf()).result_settings()


def test_result_settings_are_named_by_path() -> None:
    assert parse(conf(sink="enable_auto_id = yes")).result_settings() == {
        "source.Milvus.url": "http://source:19530",
        "source.Milvus.database": "default",
        "source.Milvus.collections": None,
        "source.Milvus.partitions": {},
        "sink.Milvus.url": "http://target:19530",
        "sink.Milvus.database": "default",
        "sink.Milvus.database_rename": {},
        "sink.Milvus.enable_auto_id": True,
        "sink.Milvus.function_outputs": "copy",
        "sink.Milvus.rbac": False,
        "sink.Milvus.copy_rate_limits": False,
        "sink.Milvus.rows": True,
        "sink.Milvus.create_index": True,
        "sink.Milvus.index": {},
        "sink.Milvus.load_collection": "as_source",
        "sink.Milvus.schema_save_mode": "CREATE_SCHEMA_WHEN_NOT_EXIST",
        "sink.Milvus.data_save_mode": "ERROR_WHEN_DATA_EXISTS",
        "sink.Milvus.collection_rename": {},
        "sink.Milvus.collection_description": {},
        "sink.Milvus.shard_num": None,
        "sink.Milvus.enable_dynamic_field": None,
        "sink.Milvus.partition_key": "",
        "sink.Milvus.partition_num": None,
        "sink.Milvus.consistency_level": None,
        "sink.Milvus.field_schema": [],
        "sink.Milvus.functions": [],
        "transform": [],
    }


def test_result_settings_include_defaults() -> None:
    written, default = parse(conf()).result_settings(), job.default_settings()
    assert written == default | {path: written[path] for path in written if path.endswith(".url")}


def test_the_masked_job_has_every_key_and_is_json() -> None:
    masked = parse(conf(source='token = "root:x"')).masked()
    assert json.loads(json.dumps(masked)) == masked
    assert (masked["source.Milvus"]["token"], masked["sink.Milvus"]["token"]) == ("***", "")
    assert {path: set(keys) for path, keys in masked.items()} == {
        path: set(block.known()) for path, block in BLOCKS.items()
    }


def test_a_report_has_the_settings_that_differ_from_the_defaults() -> None:
    settings = parse(
        conf('state = "s3://key:secret@bucket"', source='token = "root:x"')
    ).non_default_settings()
    assert set(settings) == {"source.Milvus.url", "source.Milvus.token", "sink.Milvus.url"}
    assert settings["source.Milvus.token"] == "***"


def test_a_job_is_frozen_and_can_be_pickled() -> None:
    job = parse(conf())
    assert pickle.loads(pickle.dumps(job)) == job
    with pytest.raises(ValueError, match="frozen"):
        job.env.parallelism = 5  # type: ignore[misc]


# The reference


def test_the_reference_is_up_to_date() -> None:
    text = docs.CONFIGURATION.read_text()
    assert docs.refreshed(text, docs.configuration()) == text, "run python -m tests.docs"


def test_the_problems_in_the_reference_are_real_output() -> None:
    text = conf("verify = cuont", "tokn = 1", 'url = "localhost:19530"')
    assert "\n".join(problems(text)) in docs.CONFIGURATION.read_text()


# Limits


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("5000", 5_000),
        ('"5000"', 5_000),
        ('"2g"', 2 * 1024**3),
        ("2G", 2 * 1024**3),
        ('"512m"', 512 * 1024**2),
        ("128 MiB", 128 * 1024**2),
        ('"10 MB"', 10_000_000),
        ('"1.5kB"', 1_500),
        ('"1k"', 1_024),
    ],
)
def test_sizes_are_read_as_hocon_and_java_write_them(text: str, size_bytes: int) -> None:
    assert parse(conf(f"memory = {text}")).env.memory == size_bytes


def test_each_side_has_its_throughput_limit() -> None:
    job = parse(conf(source="rate_limit_rows = 5", sink='rate_limit_bytes = "1 MB"'))
    assert job.source_endpoint.rate_limit == RateLimit(rows=5)
    assert job.target_endpoint.rate_limit == RateLimit(bytes=1_000_000)


def test_limits_are_read_as_seatunnel_writes_them() -> None:
    env = "read_limit.rows_per_second = 400, read_limit.bytes_per_second = 7000000"
    job = parse(conf(env, sink="rate_limit = 5"))
    assert job.source_endpoint.rate_limit == RateLimit(400, 7_000_000)
    assert job.target_endpoint.rate_limit == RateLimit(bytes=5 * 1_048_576)


def test_only_the_source_has_a_maximum_latency() -> None:
    job = parse(conf(source='max_latency = "500 ms"'))
    assert job.source_endpoint.max_latency_s == 0.5
    assert "unknown key" in problems(conf(sink="max_latency = 1"))[0]


@pytest.mark.parametrize(
    ("env", "page_bytes"),
    [
        ("", PAGE_BYTES),
        ("parallelism = 16", PAGE_BYTES),
        ('memory = "2g", parallelism = 4', PAGE_BYTES),
        ('memory = "50m"', 5 * 1024**2),
        ('memory = "80m", parallelism = 4', 2 * 1024**2),
        ("memory = 5", 1),
    ],
)
def test_the_pages_of_all_workers_fit_the_memory(env: str, page_bytes: int) -> None:
    job = parse(conf(env))
    assert job.source_endpoint.page_bytes == job.target_endpoint.page_bytes == page_bytes
