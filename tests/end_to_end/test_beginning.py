"""From two urls to a proven copy, by the commands that the README shows first."""

from __future__ import annotations

import json

from tests import kitelift, zoo
from tests.kitelift import ACCEPTED

ACCEPT = [f"--accept={code}" for code in ACCEPTED]


def test_init_doctor_plan_run(desk):
    zoo.numbers(desk.source, "docs", rows=5_000)
    zoo.released(desk.source)
    conf = desk.folder / "migration.conf"
    urls = [f"--source={desk.source_url}", f"--target={desk.target_url}"]
    databases = [f"--{side}_database={desk.database}" for side in ("source", "target")]

    begun = kitelift.run(conf, "init", *urls, *databases)
    assert (begun.code, begun.err) == (0, "")
    assert '"docs",   # 5,000 rows, ' in conf.read_text()
    assert '# "released",' in conf.read_text()

    checked = kitelift.run(conf, "doctor", *ACCEPT)
    assert checked.code == 0, checked.text
    assert "job      1 collection, 5,000 rows: ready to run." in checked.out

    planned = kitelift.run(conf, "plan", "--json", "--probe_write", *ACCEPT)
    assert planned.code == 0, planned.text
    estimate = json.loads(planned.out)["estimate"]
    assert estimate["problems"] == []
    assert estimate["read"]["rows"] > 0
    assert estimate["write"]["rows"] > 0
    assert desk.target.list_collections() == []

    ended = kitelift.run(conf, *ACCEPT)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert desk.differences("docs") == []
