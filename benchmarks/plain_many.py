"""The loop that a user would write for many collections, one after the other. Prints its times."""

from __future__ import annotations

import argparse
import json
import time

from pymilvus import MilvusClient

from benchmarks.many import SMALL


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("collections", nargs="+")
    arguments = parser.parse_args()
    source, target = MilvusClient(arguments.source), MilvusClient(arguments.target)
    began, rows = time.monotonic(), 0
    for name in arguments.collections:
        target.create_collection(name, schema=SMALL.schema())
        pages = source.query_iterator(name, batch_size=1_000, output_fields=["*"])
        while page := pages.next():
            target.insert(name, page)
        pages.close()
        target.flush(name)
        target.create_index(name, SMALL.index())
        target.load_collection(name)
        [counted] = target.query(name, output_fields=["count(*)"], consistency_level="Strong")
        rows += counted["count(*)"]
    print(json.dumps({"seconds": time.monotonic() - began, "rows": rows}))


if __name__ == "__main__":
    main()
