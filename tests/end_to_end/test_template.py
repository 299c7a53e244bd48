"""The Flex Template's file, as its launcher runs it, but between two servers of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import kitelift, templates, zoo
from tests.end_to_end.conftest import Desk

# What the launcher adds to the parameters; a newer one may add more.
ADDED = [
    *("--project=my-project", "--region=europe-west1", "--job_name=migration-1"),
    *("--temp_location=gs://bucket/temp", "--staging_location=gs://bucket/staging"),
    "--unheard_of=1",
]


def test_the_template_moves_a_collection_and_proves_it(desk: Desk) -> None:
    zoo.articles(desk.source, rows=2_000)
    text = desk.job("medium_articles").read_text(encoding="utf-8")
    parameters = [f"--job={text}", "--verify=full", "--yes=false", *ADDED]
    ended = subprocess.run(
        [sys.executable, str(templates.PATH), "--runner=DirectRunner", *parameters],
        cwd=desk.folder,
        env=os.environ | {"PYTHONPATH": str(kitelift.ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "--unheard_of: ignored" in ended.stderr
    assert "Proven: every row that was read is in the target" in ended.stdout
    assert desk.differences("medium_articles") == []
