"""Asks a Milvus fixed questions and prints its answers as JSON, a question a line.

    python -m tests.fakes.answers.probe http://127.0.0.1:19530 > 2.5.27.jsonl    # under two minutes

It creates and drops collections named `probe_…` and the database `probe_db`. Asked twice, a server
answers the same; only `random_sample` differs. The files beside this module were recorded from real
servers: standalone, local storage, one query node, no authorization.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from tests.fakes.answers.asking import Asker
from tests.fakes.answers.questions import absent, collections, indexes, inserts, newer, queries
from tests.fakes.answers.steps import OLD, Step

STEPS: tuple[Step, ...] = (
    *absent.version,
    *absent.absent,
    *queries.query,
    *inserts.nullable,
    *inserts.insert,
    *indexes.index,
    *collections.alias,
    *collections.limits,
    *collections.flush,
    *newer.newer,
)

Answers = dict[tuple[str, str], dict[str, Any]]
"""Answers by the group and the name of the question."""


def ask(asker: Asker) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Yields each question with its answer; the collections are dropped at the end."""
    version = asker.call("GetVersion", milvus_pb2.GetVersionRequest()).version
    asker.notes[OLD] = any(line in version for line in ("2.2.", "2.3.", "2.4."))
    for step in STEPS:
        yield step, step.answer(asker)
    for letter in "qpmranixkdsbzgywfh":
        asker.drop(f"probe_{letter}")


def recorded(version: str) -> Answers:
    """Returns the answers of a real server."""
    text = (Path(__file__).parent / f"{version}.jsonl").read_text("utf-8")
    read = [json.loads(line) for line in text.splitlines()]
    return {(each["group"], each["step"]): each["answer"] for each in read}


def main() -> None:
    """Prints the answers of a server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--token", default="", help="credentials, user:password or a key")
    options = parser.parse_args()
    asker = Asker(options.url, token=options.token)
    for step, answer in ask(asker):
        line = {"group": step.group, "step": step.name, "answer": answer}
        print(json.dumps(line, ensure_ascii=False), flush=True)
    asker.close()


if __name__ == "__main__":
    main()
