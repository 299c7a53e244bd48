"""Existing job files of SeaTunnel and VTS, run between two fake servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline import cli
from tests import certificates
from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, row, rows
from tests.fakes.milvus import FakeMilvus
from transforms.milvus import job_mark

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent.parent / "jobfiles"
COUNT = 25

# The file, the source's collection, its name in the target, and the target's database.
RUNS = [
    ("01_vts_readme", "articles", "articles", "default"),
    ("02_vts_all_collections", "articles", "articles", "default"),
    ("04_vts_https_without_port", "articles", "articles", "default"),
    ("06_vts_rest_submit_json", "book", "book_2", "default"),
    ("09_seatunnel_index_preservation", "articles", "articles_kept", "other"),
    ("10_seatunnel_partitions", "with_partitions", "with_partitions_2", "test"),
    ("11_seatunnel_partition_key", "tenants", "tenants", "test"),
    ("13_seatunnel_9678_json", "articles", "articles", "moved"),
    ("15_source_database_only", "articles", "articles", "prod"),
    ("17_seatunnel_streaming_template", "articles", "articles", "default"),
]
SCHEMAS: dict[str, dict[str, Any]] = {
    "book": {
        "tags": DataType.VarChar,
        "is_new": DataType.Bool,
        "price": DataType.Double,
        "extra": DataType.JSON,
    },
    "tenants": {"partition_key": "title"},
}
BOOK = {"tags": "a", "is_new": True, "price": 1.5, "extra": b"{}"}


def fill(job: Job, name: str, database: str = "default") -> None:
    """Creates the collection that a file copies, in the source."""
    more = BOOK if name == "book" else {}
    fields = schema(name, **SCHEMAS.get(name, {}))
    partitions = ["_default", "old", "new"] if name == "with_partitions" else ["_default"]
    rows = [row(key) | more for key in range(COUNT)]
    job.source.create(fields, rows, partitions=partitions, database=database)


def run(job: Job, name: str, *arguments: str, text: str = "") -> int:
    """Runs a file, or its `text`, with the urls of the test's servers and no other change."""
    [path] = FOLDER.glob(f"{name}.*")
    text = text or path.read_text()
    for theirs, ours in (
        ("http://127.0.0.1:19530", job.source.url),
        ("http://127.0.0.1:19531", job.target.url),
        ("https://127.0.0.1:19530", job.source.url),
        ("https://127.0.0.1:19531", job.target.url),
        ("https://milvus.example.com", job.target.url),
    ):
        text = text.replace(theirs, ours)
    conf = job.folder / path.name
    conf.write_text(text)
    state = f"--state={job.folder / 'state'}"
    return cli.main(["run", f"--config={conf}", state, "--quiet", *arguments])


@pytest.mark.parametrize(("name", "source", "target", "database"), RUNS)
def test_an_existing_file_runs_unchanged(
    job: Job, capsys: pytest.CaptureFixture[str], name: str, source: str, target: str, database: str
) -> None:
    job.source.databases += ["prod"]
    job.target.databases += [name for name in (database,) if name != "default"]
    fill(job, source, "prod" if name.startswith("15") else "default")
    assert run(job, name) == 0
    assert job.target.keys(f"{database}.{target}") == [*range(COUNT)]
    assert {call.db_name for call in job.target.asked("CreateCollection")} == {database}
    output = capsys.readouterr().err
    assert ("[job-file] env.checkpoint.interval" in output) == name.startswith("17")


def test_an_existing_file_with_certificates_runs_unchanged(tmp_path: Path) -> None:
    """The source's own certificate is trusted; the target asks for one of the client too."""
    of_source = certificates.make(tmp_path / "source")
    of_target = certificates.make(tmp_path / "target", mutual=True)
    paths = {
        "/etc/milvus/tls/server.pem": of_source.server_pem,
        "/etc/milvus/tls/ca.pem": of_target.ca_pem,
        "/etc/milvus/tls/client.pem": of_target.client_pem,
        "/etc/milvus/tls/client.key": of_target.client_key,
    }
    with FakeMilvus(certificates=of_source) as source, FakeMilvus(certificates=of_target) as target:
        job = Job(tmp_path, source, target)
        fill(job, "articles")
        text = (FOLDER / "07_vts_tls.conf").read_text()
        for theirs, ours in paths.items():
            text = text.replace(theirs, str(ours))
        assert run(job, "07_vts_tls", text=text) == 0
        assert target.keys("articles") == [*range(COUNT)]


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("06_vts_rest_submit_json.conf", "book"),
        ("20_negative_seatunnel_2_3_2_sink.conf", "articles"),
        ("21_alibaba_older_tool.yaml", "articles"),
    ],
)
def test_a_converted_file_runs(job: Job, name: str, collection: str) -> None:
    """Also if the original does not run."""
    fill(job, collection)
    text = (FOLDER / name).read_text()
    for theirs, ours in (("19530", job.source.url), ("19531", job.target.url)):
        text = text.replace(f"127.0.0.1:{theirs}", ours.removeprefix("http://"))
    text = text.replace("19531", job.target.url.rpartition(":")[2])  # Of milvus_port.
    original, conf = job.folder / name, job.folder / "migration.conf"
    original.write_text(text)
    assert cli.main(["init", f"--from={original}", f"--config={conf}"]) == 0
    assert cli.main(["run", f"--config={conf}", "--quiet"]) == 0
    [created] = job.target.asked("CreateCollection")
    assert job.target.keys(created.collection_name) == [*range(COUNT)]


REFUSED = ["18_*", "19_*", "20_*"]


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_file_ends_with_2(job: Job, name: str) -> None:
    assert run(job, name) == 2
    assert changing(job.source) | changing(job.target) == set()


FIVE = "05_vts_functions_and_field_schema"


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Job]:
    """Articles with a key `number`, in a server with nullable fields and functions."""
    versions = {"source_version": "v2.5.27", "target_version": "v2.6.19"}
    with between_fakes(tmp_path, **versions) as job:
        fields = {"text": DataType.VarChar, "section": DataType.VarChar, "note": DataType.VarChar}
        described = schema("articles", partition_key="section", dynamic=True, **fields)
        described.fields[0].name = "number"
        job.source.create(described, [_newer(key) for key in range(COUNT)])
        yield job


def _newer(key: int) -> dict[str, Any]:
    more = {"author": f"author {key}", "labels": ["a", "b"], "year": key}
    if key == 7:
        del more["author"]
    article = {name: value for name, value in row(key).items() if name != "id"}
    texts = {"text": f"text of {key}", "section": "s", "note": f"note {key}"}
    return {"number": key, **article, **texts, "$meta": json.dumps(more).encode()}


def test_functions_and_keys_of_the_dynamic_field_are_created_as_in_vts(
    newer: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has an array as a partition key, and a nullable input: no Milvus takes them."""
    text = next(FOLDER.glob(f"{FIVE}.*")).read_text()
    possible = text.replace("is_nullable=false\n      is_partition_key=true", "is_nullable=false")
    possible = possible.replace(
        'field_name="text"\n      is_nullable=true', 'field_name="text"\n      is_nullable=false'
    )
    assert run(newer, FIVE, text=possible) == 0
    stored = sorted(newer.target["articles"].rows(), key=lambda found: found["text"])
    assert len(stored) == COUNT
    by_text = {found["text"]: found for found in stored}
    assert by_text["text of 3"]["writer"] == "author 3"
    assert by_text["text of 7"]["writer"] is None
    assert {tuple(found["labels"]) for found in stored} == {("a", "b")}
    assert json.loads(by_text["text of 3"]["$meta"]) == {"year": 3}
    target = newer.target["articles"]
    [function] = target.schema.functions
    assert (function.name, function.output_field_names) == ("by_words", ["text_sparse"])
    indexes = {index.field_name for index in target.indexes}
    assert "text_sparse" in indexes
    assert "Proven: every row that was read" in capsys.readouterr().out


def test_what_no_milvus_takes_of_a_file_is_named(
    newer: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(newer, FIVE) == 3
    output = " ".join(capsys.readouterr().err.split())
    assert "its input text is nullable. Milvus 2.6.19 does not create such a function." in output
    assert "field_schema of labels" in output
    assert changing(newer.target) == set()


def test_a_variable_of_the_command_line_chooses_the_collection(job: Job) -> None:
    for name in ("docs", "papers"):
        job.source.create(schema(name), rows(COUNT))
    conf = job.folder / "job.conf"
    conf.write_text(f"""
        source {{ Milvus {{ url = "{job.source.url}", collections = [${{what}}] }} }}
        sink {{ Milvus {{ url = "{job.target.url}", collection = "${{what}}_v2" }} }}
    """)
    state = f"--state={job.folder / 'state'}"
    assert cli.main(["run", f"--config={conf}", state, "--quiet", "-i", "what=papers"]) == 0
    assert [call.collection_name for call in job.target.asked("CreateCollection")] == ["papers_v2"]


@pytest.mark.parametrize(
    ("wanted", "copied"),
    [
        (["*"], ["docs", "log_a", "log_b", "log_tmp"]),
        (["log_*", "!*_tmp"], ["log_a", "log_b"]),
        (["!log_*"], ["docs"]),
        (["live", "log_a", "log_*", "!log_b"], ["docs", "log_a", "log_tmp"]),
    ],
)
def test_collections_are_selected_by_patterns(
    job: Job, wanted: list[str], copied: list[str]
) -> None:
    for name in ("docs", "log_a", "log_b", "log_tmp"):
        job.source.create(schema(name), rows(3))
    job.source["docs"].aliases.append("live")
    job.from_source["collections"] = wanted
    assert job.run() == 0
    assert sorted({collection["name"] for collection in job.report["collections"]}) == copied


def test_a_pattern_that_matches_nothing_stops_the_job(job: Job, capsys) -> None:
    job.source.create(schema(), rows(3))
    job.from_source["collections"] = ["docs", "log_*", "!*_tmp"]
    assert job.run() == 3
    output = " ".join(capsys.readouterr().err.split())
    assert "no collection matches 'log_*'." in output
    assert "Existing collections: docs." in output
    assert output.count("[no-collection]") == 1


def test_a_collection_to_drop_must_be_named_without_a_pattern(job: Job, capsys) -> None:
    for server in (job.source, job.target):
        server.create(schema(), rows(3))
    job.from_source["collections"] = ["do*"]
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 3
    assert "[drop-unnamed]" in capsys.readouterr().err
    assert changing(job.target) == set()


def test_a_pattern_selects_all_collections_of_an_existing_file(job: Job) -> None:
    """The pattern is commented out in the file."""
    fill(job, "articles")
    [path] = FOLDER.glob("02_*")
    text = path.read_text().replace("# collections", "collections")
    text = text.replace("http://127.0.0.1:19530", job.source.url)
    conf = job.folder / "job.conf"
    conf.write_text(text.replace("http://127.0.0.1:19531", job.target.url))
    assert cli.main(["run", f"--config={conf}", f"--state={job.folder}", "--quiet"]) == 0
    assert job.target.keys("articles") == [*range(COUNT)]


def test_a_collection_is_copied_within_its_database(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    """One server, one database, a text key, other shards, one more field."""
    keys = [f"key {number}" for number in range(COUNT)]
    job.source.create(schema(key=DataType.VarChar), [row(key) for key in keys])
    job.source["docs"].aliases.append("docs_live")
    before = [dict(stored) for stored in job.source["docs"].rows()]
    job.target = job.source
    job.from_source["collections"] = ["docs"]
    job.to_sink |= {"collection_rename": {"docs": "docs_v2"}, "shard_num": 4}
    job.transform = "Constant { fields { origin = docs } }"
    assert job.run() == 0
    assert job.source["docs"].rows() == before
    assert sorted(job.source.keys("docs_v2")) == sorted(keys)
    assert {stored["origin"] for stored in job.source["docs_v2"].rows()} == {"docs"}
    [created] = job.source.asked("CreateCollection")
    assert (created.collection_name, created.shards_num) == ("docs_v2", 4)
    assert job.source["docs_live"] is job.source["docs"]
    assert job.collection()["outcome"] == "proven"
    assert "[alias-stays]" in capsys.readouterr().err
    assert all(job_mark.is_mark(request.alias) for request in job.source.asked("DropAlias"))
    for call in ("Insert", "Upsert", "Delete", "AlterAlias", "ReleaseCollection"):
        assert "docs" not in {request.collection_name for request in job.source.asked(call)}
