"""By way of files, and by pipelines of others: what real servers hold, arrives as it was."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import fn_runner

from tests import kitelift, zoo
from tests.end_to_end.conftest import Desk
from transforms.read import ReadFromMilvus
from transforms.write import WriteToMilvus

MOVED = ("articles", "partitions", "every_type", "awkward_texts")

OUT = """
env {{ accept = ["source-version"], parallelism = 2 }}
source {{ Milvus {{ url = "{url}", database = {database} }} }}
sink {{ Parquet {{ path = "{files}" }} }}
"""
INTO = """
source {{ Parquet {{ path = "{files}" }} }}
sink {{ Milvus {{ url = "{url}", database = {database} }} }}
"""


def test_collections_arrive_by_way_of_files_as_they_were(desk: Desk) -> None:
    zoo.articles(desk.source, "articles", rows=1_000)
    for name in MOVED[1:]:
        getattr(zoo, name)(desk.source)
    files = desk.folder / "files"
    steps = ((OUT, desk.source_url, "out"), (INTO, desk.target_url, "into"))
    for text, url, folder in steps:
        job = text.format(url=url, database=desk.database, files=files)
        ended = kitelift.run(kitelift.write(desk.folder / folder, job))
        assert ended.code == 0, ended.text
        assert ended.report["outcome"] == "proven"
    assert {name: desk.differences(name) for name in MOVED} == {name: [] for name in MOVED}


def test_a_collection_passes_through_a_pipeline_of_others(desk: Desk) -> None:
    zoo.every_type(desk.source)
    made = kitelift.run(desk.job("every_type"))
    assert made.code == 0, made.text
    desk.target.delete("every_type", filter="id >= 0")
    with beam.Pipeline(runner=fn_runner.FnApiRunner()) as pipeline:
        read = ReadFromMilvus(desk.source_url, "every_type", database=desk.database)
        write = WriteToMilvus(desk.target_url, "every_type", database=desk.database)
        _ = pipeline | read | write
    assert desk.differences("every_type") == []
