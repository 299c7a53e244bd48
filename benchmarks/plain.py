"""The script that a user would write: pymilvus' iterator and insert. Prints its times."""

from __future__ import annotations

import argparse
import json
import time

from pymilvus import MilvusClient

from benchmarks import data


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("collection")
    parser.add_argument("data", choices=[data_set.name for data_set in data.SETS])
    arguments = parser.parse_args()
    [data_set] = [each for each in data.SETS if each.name == arguments.data]
    name = arguments.collection
    source, target = MilvusClient(arguments.source), MilvusClient(arguments.target)
    target.create_collection(name, schema=data_set.schema())

    began = time.monotonic()
    pages = source.query_iterator(name, batch_size=1_000, output_fields=["*"])
    while rows := pages.next():
        target.insert(name, rows)
    pages.close()
    copied = time.monotonic()

    target.flush(name)
    target.create_index(name, data_set.index())
    target.load_collection(name)
    [counted] = target.query(name, output_fields=["count(*)"], consistency_level="Strong")
    times = {
        "copy_s": copied - began,
        "finish_s": time.monotonic() - copied,
        "rows": counted["count(*)"],
    }
    print(json.dumps(times))


if __name__ == "__main__":
    main()
