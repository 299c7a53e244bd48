"""What is refused, and the exact lines that the user sees then.

Nothing is written in any of these cases, no token is shown, and no traceback.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from tests import compare, kitelift, sockets, zoo
from tests.end_to_end.conftest import Desk, open_desk
from tests.kitelift import Ended
from tests.servers import Server

SECRET = "n0t-t0-be-seen"
TOKEN = f"root:{SECRET}"

SOURCE = f'url = "http://127.0.0.1:1", token = "{TOKEN}"'
SINK = f'url = "http://127.0.0.1:2", token = "{TOKEN}"'


def _text(env: str = "", source: str = SOURCE, sink: str = SINK) -> str:
    return f"env {{ {env} }}\nsource {{ Milvus {{ {source} }} }}\nsink {{ Milvus {{ {sink} }} }}"


def _check_manners(ended: Ended) -> None:
    assert "Traceback" not in ended.text
    assert SECRET not in ended.text
    assert not kitelift.state(ended.folder).exists()


# The job file and the command line: exit code 2, and no server is asked

BAD_JOBS = {
    "a typo in a key": (
        _text(source=f'{SOURCE}, colections = ["docs"]'),
        ["source.Milvus.colections: unknown key; did you mean collections?"],
    ),
    "a typo in a key that holds a secret": (
        _text(source=f'url = "http://127.0.0.1:1", tokn = "{TOKEN}"'),
        ["source.Milvus.tokn: unknown key; did you mean token?"],
    ),
    "text for a number": (
        _text(source=f'{SOURCE}, batch_size = "many"'),
        ['source.Milvus.batch_size: must be a whole number, not "many"'],
    ),
    "a number that makes no sense": (
        _text(sink=f"{SINK}, batch_size = 0"),
        ["sink.Milvus.batch_size: must be at least 1, not 0"],
    ),
    "text for a list": (
        _text(source=f'{SOURCE}, collections = "docs"'),
        ['source.Milvus.collections: must be a list such as ["name"], not text'],
    ),
    "text for a flag": (
        _text(sink=f'{SINK}, enable_auto_id = "perhaps"'),
        ['sink.Milvus.enable_auto_id: must be true or false, not "perhaps"'],
    ),
    "an empty list": (
        _text(source=f"{SOURCE}, collections = []"),
        ["source.Milvus.collections: is empty; add a name, or remove the key"],
    ),
    "a collection named twice": (
        _text(source=f'{SOURCE}, collections = ["docs", "docs"]'),
        ["source.Milvus.collections: contains docs more than once"],
    ),
    "no url": (
        _text(source='collections = ["docs"]'),
        ['source.Milvus.url: missing; write url = "http://host:19530"'],
    ),
    "a url without scheme": (
        _text(sink='url = "localhost:19530"'),
        ["sink.Milvus.url: has no scheme; write http://localhost:19530"],
    ),
    "streaming": (
        _text(env='job.mode = "STREAMING"'),
        ['env.job.mode: STREAMING is not supported: a job copies once, then ends; use "BATCH"'],
    ),
    "two sources of one kind": (
        f"source {{ Milvus {{ {SOURCE} }} Milvus {{ {SOURCE} }} }}\nsink {{ Milvus {{ {SINK} }} }}",
        ["source: has Milvus twice; keep one"],
    ),
    "two sources": (
        f"source {{ Milvus {{ {SOURCE} }} Jdbc {{ {SOURCE} }} }}\nsink {{ Milvus {{ {SINK} }} }}",
        ["source: has Milvus and Jdbc; keep one"],
    ),
    "no sink": (
        f"source {{ Milvus {{ {SOURCE} }} }}",
        ['sink: missing; write sink { Milvus { url = "http://host:19530" } }'],
    ),
    "a block that does not end": (
        f"source {{ Milvus {{ {SOURCE}\n",
        ["{conf}: line 3, column 1: the text ends inside a block or list; add the missing } or ]"],
    ),
    "a variable that is not set": (
        _text(source='url = "http://127.0.0.1:1", token = ${NO_SUCH_TOKEN}'),
        [
            "source.Milvus.token: ${NO_SUCH_TOKEN} is not set; export it before the run, or set it with -i NAME=VALUE"
        ],
    ),
    "a reference to a variable that is not set": (
        _text(source='url = "http://127.0.0.1:1", token = "env:NO_SUCH_TOKEN"'),
        ["source.Milvus.token: the environment variable NO_SUCH_TOKEN is not set"],
    ),
    "all problems at once": (
        _text(
            env="paralellism = 4",
            source=f'tokn = "{TOKEN}", batch_size = "many"',
            sink='url = "localhost:19530", enable_autoid = true',
        ),
        [
            "env.paralellism: unknown key; did you mean parallelism?",
            'source.Milvus.url: missing; write url = "http://host:19530"',
            'source.Milvus.batch_size: must be a whole number, not "many"',
            "source.Milvus.tokn: unknown key; did you mean token?",
            "sink.Milvus.url: has no scheme; write http://localhost:19530",
            "sink.Milvus.enable_autoid: unknown key; did you mean enable_auto_id?",
        ],
    ),
}


@pytest.mark.parametrize("kind", BAD_JOBS)
def test_a_bad_job_file_is_refused_with_a_line_for_each_problem(tmp_path, kind):
    text, lines = BAD_JOBS[kind]
    conf = kitelift.write(tmp_path, text)
    ended = kitelift.run(conf)
    told = [line.replace("{conf}", str(conf)) for line in lines]
    assert ended.err.splitlines() == [f"kitelift: {line}" for line in told]
    assert (ended.code, ended.out) == (2, "")
    _check_manners(ended)


BAD_COMMANDS = {
    "a typo in an option": (
        ["--paralellism=4"],
        "--paralellism: no such option; did you mean --parallelism?",
    ),
    "a typo in a command": (["plann"], "plann: no such command; did you mean plan?"),
    "a word for a number": (
        ["--parallelism=many"],
        '--parallelism: must be a whole number, not "many"',
    ),
    "a word that is none of those known": (
        ["--verify=cuont"],
        '--verify: must be one of full, sample, count, none, not "cuont"; did you mean count?',
    ),
    "a runner that there is not": (
        ["--runner=DirectRunnr"],
        "--runner=DirectRunnr: must be one of DirectRunner, FlinkRunner, SparkRunner, DataflowRunner",
    ),
    "a file that is not there": (
        ["--config=nowhere.conf"],
        "nowhere.conf: no such file; create it with `kitelift init --config=nowhere.conf --source=http://HOST:19530 --target=http://HOST:19530`",
    ),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_a_bad_command_line_is_refused(tmp_path, kind):
    arguments, line = BAD_COMMANDS[kind]
    ended = kitelift.Running(kitelift.write(tmp_path, _text()), *arguments).wait()
    assert ended.err.splitlines() == [f"kitelift: {line}"]
    assert (ended.code, ended.out) == (2, "")
    _check_manners(ended)


# What the clusters do not allow: exit code 3, and nothing is made in the target


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory, source: Server, target: Server
) -> Iterator[Desk]:
    """A desk with a loaded collection, two that are not, and one of a type the target lacks."""
    with open_desk(tmp_path_factory.mktemp("refusals"), source, target, "refusals") as desk:
        zoo.numbers(desk.source, "docs")
        zoo.released(desk.source)
        zoo.bare(desk.source)
        zoo.half_vectors(desk.source)
        yield desk


# The lines; {source}, {target} and {address} are what the test knows only when it runs.
TOO_OLD = "error  [source-version] source {source}: Milvus 2.3.5 is older than 2.3.7. It can return wrong pages or fail on some queries. Upgrade the source to 2.3.7 or later, or rerun with `--accept=source-version`. Kitelift counts the rows and reports any that are lost."
ACCEPTED = "accepted  [source-version] source {source}: Milvus 2.3.5 is older than 2.3.7. It can return wrong pages or fail on some queries."
NOT_LOADED = "error  [not-loaded] source collection released: Collection not loaded. Load it, or set `source.Milvus.auto_load = true`. Kitelift then loads it, copies it, and releases it."
NOT_INDEXED = "error  [not-indexed] source collection bare: Not loaded, and cannot be loaded: vector field `vector` has no index. Create the index and load the collection, or leave it out of `source.Milvus.collections`."
NO_COLLECTION = (
    "error  [no-collection] source {source}: collection 'dosc' does not exist. Did you mean docs?"
)
TYPE = "error  [target-type] source field half_vectors.vector: type Float16Vector needs Milvus 2.4.0; the target is 2.3.5. Use a newer target, or convert it to another vector with `transform.Python`."
SOURCE_DATABASE = "error  [source-database] source {source}: database 'refusal' does not exist. Existing databases: default, refusals. Correct `source.Milvus.database`."
TARGET_DATABASE = "error  [target-database] target {target}: database 'refusal' does not exist. Existing databases: default, refusals. Correct `sink.Milvus.database`, or set `sink.Milvus.create_database = true`."
NO_TLS = "error  [source-unreachable] source https://{address}: the server does not use TLS on this port: try http:// instead of https://. Check `source.Milvus.url`, and check that the server is up."

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a source that is too old": ({"env": {"accept": []}}, [TOO_OLD]),
    "a collection that is not loaded": (
        {"source": {"collections": ["released"]}},
        [ACCEPTED, NOT_LOADED],
    ),
    "a collection that cannot be loaded": (
        {"source": {"collections": ["bare"], "auto_load": True}},
        [ACCEPTED, NOT_INDEXED],
    ),
    "a collection that there is not": (
        {"source": {"collections": ["dosc"]}},
        [ACCEPTED, NO_COLLECTION],
    ),
    "a type that the target does not know": (
        {"source": {"collections": ["half_vectors"]}},
        [ACCEPTED, TYPE],
    ),
    "a source database that there is not": (
        {"source": {"database": "refusal"}},
        [ACCEPTED, SOURCE_DATABASE],
    ),
    "a target database that there is not": (
        {"sink": {"database": "refusal"}},
        [ACCEPTED, TARGET_DATABASE],
    ),
    "TLS with a server that has none": ({"source": {"url": "https://{address}"}}, [NO_TLS]),
    "three findings at once": (
        {"source": {"collections": ["released", "half_vectors", "dosc"]}},
        [ACCEPTED, NO_COLLECTION, NOT_LOADED, TYPE],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_preflight_refuses(stocked, source, tmp_path, kind):
    asked, lines = REFUSED[kind]
    if "url" in (changed := asked.get("source", {})):
        asked = {"source": changed | {"url": changed["url"].format(address=source.address)}}
    ended = kitelift.run(_job(stocked, tmp_path, **asked))
    where = {"source": source.url, "target": stocked.target_url, "address": source.address}
    assert _findings(ended) == [line.format(**where) for line in lines]
    assert ended.code == 3
    _check_manners(ended)
    assert stocked.target.list_collections() == []


def _job(desk: Desk, folder: Path, **asked: Any) -> Path:
    """Writes a job with a token, which only servers with authorization look at."""
    blocks = {name: {"token": TOKEN} | asked.get(name, {}) for name in ("source", "sink")}
    at_hand = dataclasses.replace(desk, folder=folder)
    return at_hand.job("docs", env=asked.get("env"), **blocks)


def _findings(ended: Ended) -> list[str]:
    """The lines about findings, without the closing one, which counts them."""
    *lines, last = ended.err.splitlines()
    errors = sum(line.startswith("error") for line in lines)
    stop = "1 finding stops" if errors == 1 else f"{errors} findings stop"
    assert last == f"kitelift: {stop} the job; nothing was written."
    return lines


# Hosts that are not a Milvus: within ten seconds


@pytest.fixture(scope="module")
def start_up_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a command takes until it asks the first server, on this machine at this time."""
    conf = kitelift.write(tmp_path_factory.mktemp("start"), _text())
    return kitelift.run(conf).seconds


@contextlib.contextmanager
def _nothing() -> Iterator[str]:
    yield f"http://127.0.0.1:{sockets.closed_port()}"


HOSTS = {
    "nothing": (_nothing, "connection refused: no server listens on this port."),
    "silent": (sockets.silent, "no answer in time."),
    "web": (
        sockets.web_server,
        "an HTTP server answers on this port: use the gRPC port of Milvus (usually 19530).",
    ),
}


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("kind", HOSTS)
def test_a_host_that_is_no_milvus_is_told_within_ten_seconds(
    stocked, tmp_path, start_up_s, kind, side
):
    host, words = HOSTS[kind]
    block = "sink" if side == "target" else side
    with host() as url:
        ended = kitelift.run(_job(stocked, tmp_path, **{block: {"url": url}}))
    (line,) = (line for line in _findings(ended) if line.startswith("error"))
    assert line == (
        f"error  [{side}-unreachable] {side} {url}: {words}"
        f" Check `{block}.Milvus.url`, and check that the server is up."
    )
    assert ended.code == 3
    assert ended.seconds < 10 + 2 * start_up_s
    _check_manners(ended)


def test_both_hosts_are_named_when_both_are_away(tmp_path):
    ended = kitelift.run(kitelift.write(tmp_path, _text()))
    assert ended.code == 3
    assert "[source-unreachable] source http://127.0.0.1:1:" in ended.err
    assert "[target-unreachable] target http://127.0.0.1:2:" in ended.err


# What is refused until the user says so


def test_a_missing_database_is_made_on_request(stocked, target, tmp_path):
    conf = _job(stocked, tmp_path, sink={"database": "made", "create_database": True})
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    made = MilvusClient(target.url, db_name="made")
    assert compare.differences(stocked.source, made, "docs") == []
    zoo.drop_all(made)
    made.drop_database("made")


def test_a_key_that_no_filter_can_name_is_told_and_nothing_else_suffers(desk):
    zoo.key_named_in(desk.source)
    zoo.numbers(desk.source, "docs", rows=10)
    refused = kitelift.run(desk.job())
    assert refused.code == 3
    [line] = [line for line in refused.err.splitlines() if line.startswith("error")]
    assert line.startswith("error  [key-name] source collection key_named_in: filter expressions")
    assert "cannot parse expression: in == " in line
    assert kitelift.run(desk.job("docs")).code == 0


def test_a_collection_that_is_not_loaded_is_loaded_and_released_again_on_request(desk):
    zoo.released(desk.source)
    ended = kitelift.run(desk.job("released", source={"auto_load": True}))
    assert ended.code == 0, ended.text
    assert str(desk.source.get_load_state("released")["state"]) == "NotLoad"
    for client in (desk.source, desk.target):
        client.load_collection("released")
    assert desk.differences("released") == []


# What only a query shows


def test_a_partition_that_is_not_in_memory_is_named(desk: Desk) -> None:
    zoo.numbers(desk.source, "docs", rows=300)
    desk.source.create_partition("docs", "later")
    desk.source.release_collection("docs")
    desk.source.load_partitions("docs", ["_default"])
    conf = desk.job("docs")
    ended = kitelift.run(conf)
    assert ended.code == 3, ended.text
    words = "[partly-loaded] source collection docs: it is loaded without 1 partition (later)."
    assert words in ended.err
    assert desk.target.list_collections() == []
    desk.source.load_partitions("docs", ["later"])
    assert kitelift.run(conf).code == 0
    assert desk.differences("docs") == []


@pytest.mark.parametrize("key", ["author", "nobody"])
def test_a_new_field_of_the_name_of_a_dynamic_key_is_refused(desk: Desk, key: str) -> None:
    zoo.articles(desk.source, "docs", rows=300)
    ended = kitelift.run(desk.job("docs", transform=f"Constant {{ fields {{ {key} = none }} }}"))
    assert (ended.code, "[dynamic-key]" in ended.err) == (
        (3, True) if key == "author" else (0, False)
    )


# What is refused once the rows are there: exit code 4, until it is made or accepted


def test_an_index_and_an_alias_that_are_refused_may_be_made_by_hand_or_accepted(
    desk: Desk, lite: Server, lite_client: MilvusClient
) -> None:
    zoo.numbers(lite_client, "forced")
    lite_client.release_collection("forced")
    lite_client.drop_index("forced", "vector")
    zoo.serve(lite_client, "forced", ("vector", "BRUTE_FORCE", "L2", {}))  # No Milvus has it.
    lite_client.create_alias("forced", "papers")
    database = {"database": desk.database}
    conf = kitelift.write_job(desk.folder, lite.url, desk.target_url, ["forced"], sink=database)
    refused = kitelift.run(conf)
    assert refused.code == 4, refused.text
    assert refused.collection("forced")["outcome"] == "copied"
    assert "[lost:forced.indexes.vector] target collection forced: index" in refused.text
    words = "rejects it: CreateIndex: invalid index type: BRUTE_FORCE. Without it, the collection"
    assert words in " ".join(refused.text.split())
    assert desk.target.describe_collection("forced")["aliases"] == ["papers"]

    zoo.serve(desk.target, "forced", ("vector", "FLAT", "L2", {}))
    zoo.numbers(desk.target, "other", rows=10)
    desk.target.drop_alias("papers")
    desk.target.create_alias("other", "papers")
    code = "lost:forced.aliases.papers"
    accepted = kitelift.run(conf, f"--accept={code}")
    assert accepted.code == 0, accepted.text
    assert accepted.collection("forced")["outcome"] == "proven"
    [finding] = (each for each in accepted.report["findings"] if each["code"] == code)
    assert "papers is alias to another collection: other" in finding["what"]
    assert desk.target.describe_collection("other")["aliases"] == ["papers"]
    lite_client.drop_alias("papers")
    lite_client.drop_collection("forced")
