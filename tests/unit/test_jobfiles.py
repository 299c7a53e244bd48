"""Existing job files of SeaTunnel and VTS: how each is read, or why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.shared import arguments
from pipeline.jobfile import config
from transforms.errors import ConfigError

FOLDER = Path(__file__).parent.parent / "jobfiles"
PEM = __file__


def parse(sink: str = "", source: str = "", transform: str = "", **variables: str):
    text = f"""
        source {{ Milvus {{ url = "http://source:19530"\n {source} }} }}
        sink {{ Milvus {{ url = "http://target:19530"\n {sink} }} }}
        transform {{ {transform} }}
    """
    return config.parse(text, base=FOLDER, variables=variables)


def problems(*blocks: str, **variables: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(*blocks, **variables)
    return list(raised.value.problems)


# The files

READ = {
    "01_vts_readme": (("articles",), "default", {}),
    "02_vts_all_collections": (None, "default", {}),
    "04_vts_https_without_port": (("articles",), "default", {}),
    "06_vts_rest_submit_json": (("book",), "default", {"book": "book_2"}),
    "09_seatunnel_index_preservation": (("articles",), "other", {"articles": "articles_kept"}),
    "10_seatunnel_partitions": (
        ("with_partitions",),
        "test",
        {"with_partitions": "with_partitions_2"},
    ),
    "11_seatunnel_partition_key": (("tenants",), "test", {"tenants": "tenants"}),
    "13_seatunnel_9678_json": (("articles",), "moved", {}),
    "15_source_database_only": (("articles",), "prod", {}),
    "17_seatunnel_streaming_template": (("articles",), "default", {}),
}


@pytest.mark.parametrize("name", READ)
def test_an_existing_file_is_read(name: str) -> None:
    collections, database, names = READ[name]
    job = config.load(FOLDER / f"{name}.conf")
    assert (job.source.collections, job.sink.database) == (collections, database)
    assert {old: job.name_of(old) for old in names} == names
    noted = [path for path, _ in job.notes]
    assert noted == (["env.checkpoint.interval"] if name.startswith("17") else [])


def test_a_file_with_certificates_is_read() -> None:
    text = (FOLDER / "07_vts_tls.conf").read_text()
    for name in ("server.pem", "ca.pem", "client.pem", "client.key"):
        text = text.replace(f"/etc/milvus/tls/{name}", PEM)
    job = config.parse(text, base=FOLDER)
    assert job.source.endpoint.tls.ca_pem_path == job.sink.endpoint.tls.client_key_path == PEM


QUOTED = (
    "contains ${...} in quotes, where HOCON does not replace it; remove the quotes, or set it with "
    "-i NAME=VALUE"
)
REFUSED = {
    "18_placeholder_in_quotes": [f"{side}.Milvus.url: {QUOTED}" for side in ("source", "sink")],
    "19_negative_vts_cdc": [
        (
            "source.Milvus-CDC: Kitelift does not read a change stream; copy with `kitelift run`, "
            "then transfer later changes with `kitelift sync`"
        ),
    ],
    "20_negative_seatunnel_2_3_2_sink": [
        'sink.Milvus.milvus_host: is part of url in Kitelift; write url = "http://127.0.0.1:19531"',
        "sink.Milvus.milvus_port: is part of url in Kitelift",
        'sink.Milvus.username: is part of token in Kitelift; write token = "USER:PASSWORD"',
        'sink.Milvus.password: is part of token in Kitelift; write token = "USER:PASSWORD"',
        (
            "sink.Milvus.partition_field: Kitelift copies partitions and their key from the source; "
            "remove the key"
        ),
    ],
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_file_has_its_lines(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.load(FOLDER / f"{name}.conf")
    assert list(raised.value.problems) == REFUSED[name]


def test_functions_and_keys_of_the_dynamic_field_are_read_as_vts_writes_them() -> None:
    job = config.load(FOLDER / "05_vts_functions_and_field_schema.conf")
    [function] = job.sink.functions
    assert (function.name, function.type, function.description) == (
        *("by_words", "BM25"),
        "words of the text",
    )
    assert (function.input_field, function.output_field) == ("text", "text_sparse")
    sources = {field.field_name: field.source_field_name for field in job.sink.field_schema}
    assert sources == {
        "writer": "author",
        "labels": "labels",
        "number": "number",
        **dict.fromkeys(("text", "section", "note"), ""),
    }
    assert job.sink.enable_auto_id
    assert dict(job.notes) == {
        "sink.Milvus.functionList.params": "has no effect: BM25 has no parameters",
        "sink.Milvus.field_schema.auto_id": "is sink.Milvus.enable_auto_id in Kitelift",
    }


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("name = f, functionType = TextEmbedding", "function f has the type TextEmbedding"),
        ("name = f, inputFieldNames = [a, b]", "inputFieldNames must be a list with one field"),
        ("name = f, input_field = a", "function f: output_field is missing, as in { name"),
        ("nam = f, input_field = a", "has the unknown key nam; did you mean name?"),
    ],
)
def test_a_wrong_function_has_its_line(function: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"functions = [{{ {function} }}]")
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "setting",
    [
        "field_name = title, auto_id = true",
        "field_name = id, is_primary_key = true, auto_id = maybe",
        "field_name = id, is_primary_key = true, auto_id = true, collections = [a]",
    ],
)
def test_auto_ids_of_other_fields_or_of_some_collections_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"has auto_id; use sink\.Milvus\.enable_auto_id"):
        parse(f"field_schema = [{{ {setting} }}]")


def test_streaming_is_refused() -> None:
    text = (FOLDER / "17_seatunnel_streaming_template.conf").read_text()
    with pytest.raises(ConfigError, match=r"env\.job\.mode: STREAMING is not supported"):
        config.parse(text.replace("BATCH", "STREAMING"), base=FOLDER)


# The name in the target


@pytest.mark.parametrize("key", ["collection", "collection_name"])
def test_the_sinks_collection_is_a_rename(key: str) -> None:
    job = parse(f"{key} = docs_v2", "collection = docs")
    assert job.sink.collection_rename == {"docs": "docs_v2"}
    assert job == parse("collection_rename { docs = docs_v2 }", "collection = docs")


@pytest.mark.parametrize("name", ["docs", '"${table_name}"', "${table_name}"])
def test_the_sources_own_name_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("table_name", "another")
    assert parse(f"collection = {name}", "collection = docs") == parse("", "collection = docs")


@pytest.mark.parametrize("name", ['"new_${table_name}"', "new_${table_name}"])
def test_a_pattern_with_the_sources_name_renames_all(name: str) -> None:
    job = parse(f"collection = {name}", "collections = [docs, papers]")
    assert [job.name_of(name) for name in ("docs", "papers")] == ["new_docs", "new_papers"]


def test_the_sinks_database_can_be_named_after_the_sources() -> None:
    job = parse('database = "${database_name}"', "database = shop")
    assert job.sink.database == "shop"


def test_one_name_for_several_collections_has_the_line_to_write() -> None:
    assert problems("collection = c", "collections = [a, b]") == [
        (
            "sink.Milvus.collection: names one collection, but source.Milvus.collections names 2; "
            "replace this key by collection_rename { a = NEW_NAME, b = NEW_NAME }"
        )
    ]
    assert problems("collection_name = c") == [
        (
            "sink.Milvus.collection_name: names one collection, but source.Milvus.collections is not "
            'set, which means every loaded collection; add source.Milvus.collections = ["NAME"], or '
            "replace this key by collection_rename { NAME = c }"
        )
    ]


@pytest.mark.parametrize(
    ("sink", "transform", "line"),
    [
        ("collection_rename { a = b }", "", "is also set as sink.Milvus.collection_rename; remove one of them"),
        ("", "TableRename { prefix = x }", "renames the collection, and so does transform.TableRename; remove one of them"),
        ("collection_name = d", "", "is also set as sink.Milvus.collection; remove one of them"),
    ],
)  # fmt: skip
def test_two_new_names_for_one_collection_are_refused(sink: str, transform: str, line: str) -> None:
    [problem] = problems(f"collection = c\n{sink}", "collection = a", transform)
    assert problem.partition(": ")[2] == line


def test_a_table_mapper_is_a_rename() -> None:
    job = parse("collection_rename { docs = a }", "", "TablePathMapper { table_mapper { a = b } }")
    assert (job.name_of("docs"), job.name_of("other")) == ("b", "other")


# Values and keys with another meaning in these tools


@pytest.mark.parametrize("value", ["-1", '"-1"'])
def test_a_limit_of_minus_one_means_no_limit(value: str) -> None:
    job = parse(f"rate_limit = {value}", f"rate_limit = {value}")
    assert job == parse()


def test_the_unit_of_a_rate_limit_is_noted() -> None:
    job = parse("rate_limit = 5", "rate_limit = 7")
    assert (job.source.rate_limit_rows, job.sink.rate_limit_bytes) == (7, 5 * 1_048_576)
    notes = dict(job.notes)
    assert "rows per second in Kitelift" in notes["source.Milvus.rate_limit"]
    assert "in SeaTunnel it is queries per second" in notes["source.Milvus.rate_limit"]
    assert (
        "MiB per second, as in SeaTunnel, but for this job only" in notes["sink.Milvus.rate_limit"]
    )


def test_a_rate_limit_that_is_no_number_is_refused() -> None:
    [problem] = problems("rate_limit = fast")
    assert problem.startswith("sink.Milvus.rate_limit: must be bytes, or text such as")


@pytest.mark.parametrize("value", ["true", "false"])
def test_nullable_fields_are_noted(value: str) -> None:
    job = parse(f"enable_nullable_field = {value}")
    assert [path for path, _ in job.notes] == ["sink.Milvus.enable_nullable_field"]


def test_an_unchanged_field_is_accepted() -> None:
    job = parse("field_schema = [{ field_name = section, is_partition_key = true }]")
    assert job.sink.field_schema[0].settings == {}


# Variables


def test_a_variable_can_come_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("what", "environment")
    source = 'collections = [${what}, "${what}_a", b_${what}, "${other:c}", ${third:d}]'
    job = parse("", source, what="docs")
    assert job.source.collections == ("docs", "docs_a", "b_docs", "c", "d")


def test_a_value_can_contain_any_character() -> None:
    job = parse("token = ${token}", token='root:a=$b}"]#')
    assert job.sink.token.get_secret_value() == 'root:a=$b}"]#'


def test_an_include_has_the_same_variables(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("collections = [${what}]")
    text = 'source { Milvus { url = "http://s", include "more.conf" } }\n'
    text += 'sink { Milvus { url = "http://t" } }'
    job = config.parse(text, base=tmp_path, variables={"what": "docs"})
    assert (job.source.collections, job.notes) == (("docs",), ())


def test_an_unused_variable_is_noted() -> None:
    assert parse(waht="docs").notes == (
        ("-i waht", "has no effect: the job file does not contain ${waht}"),
    )


def test_a_block_is_not_a_variable() -> None:
    assert problems("database = ${sink.name}", **{"sink.name": "a"})[0] == (
        "-i sink.name: begins with the name of a block; rename the variable"
    )


def test_variables_are_options() -> None:
    parsed = arguments.parse(["run", "-i", "a=b=c", "-i", "d=", "--variable=e=f", "-ig=h"])
    assert parsed.variables == {"a": "b=c", "d": "", "e": "f", "g": "h"}
    assert (parsed.command, parsed.beam) == ("run", ())


@pytest.mark.parametrize("wrong", ["name", "=value"])
def test_a_variable_has_a_name_and_a_value(wrong: str) -> None:
    with pytest.raises(ConfigError, match="must be NAME=VALUE"):
        arguments.parse(["-i", wrong])
