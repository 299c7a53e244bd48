"""The partitions that the job file chooses: which are copied, and what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.planning import planner
from pipeline.planning.change_lines import describe_changes
from pipeline.planning.chosen_partitions import chosen_partitions
from pipeline.preflight import examination
from tests import clusters
from tests.clusters import described, schema, side, survey
from transforms.errors import ConfigError
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan

DOCS = described(partitions=("_default", "new", "old"), partition_count=3)


def planned(source: str, of: Description = DOCS) -> CollectionPlan:
    config = clusters.job(source=source)
    return planner.build_plan(config, survey(side(of)), (), plan_id="p1", made_at=1.5)["docs"]


CHOICES = [
    ('partitions = ["new"]', ("new",), ("_default", "new")),
    ("partitions { docs = [new, old] }", ("new", "old"), ("_default", "new", "old")),
    ('partitions { "d*" = [old], "*" = [new] }', ("old",), ("_default", "old")),
    ("partitions { docs = [_default] }", ("_default",), ("_default",)),
    ("partitions { others = [new] }", (), ("_default", "new", "old")),
    ("partitions = [new, old, _default]", (), ("_default", "new", "old")),
]


@pytest.mark.parametrize(("source", "chosen", "created"), CHOICES)
def test_only_the_chosen_partitions_are_copied_and_created(
    source: str, chosen: tuple[str, ...], created: tuple[str, ...]
) -> None:
    plan = planned(source)
    assert plan.chosen_partitions == chosen
    assert plan.partitions == (chosen or DOCS.partitions)
    assert (plan.wanted.partitions, plan.wanted.partition_count) == (created, len(created))
    lines = (f"only partitions: {', '.join(chosen)}",) if chosen else ()
    assert describe_changes(plan) == lines


def test_the_default_partition_alone_is_the_whole_collection() -> None:
    plan = planned("partitions = [_default]", described())
    assert (plan.partitions, plan.chosen_partitions) == (("",), ())


SEVERAL_DATABASES = [
    ("partitions = [new]", ("new",), ("new",)),
    ("partitions { docs = [new] }", ("new",), ("new",)),
    ("partitions { sales.docs = [new] }", ("new",), ()),
    ('partitions { "sales.docs" = [new] }', ("new",), ()),
    ('partitions { docs = [old], "sh*.*" = [new], sales.docs = [new] }', ("new",), ("old",)),
    ('partitions { "sh*.*" = [new], "*" = [old] }', ("old",), ("new",)),
]


@pytest.mark.parametrize(("source", "of_sales", "of_shop"), SEVERAL_DATABASES)
def test_a_choice_is_for_one_database_or_for_each(
    source: str, of_sales: tuple[str, ...], of_shop: tuple[str, ...]
) -> None:
    config = clusters.job(source=f'database = "*"\n{source}')
    both = (replace(DOCS, name="sales.docs"), replace(DOCS, name="shop.docs"))
    chosen = [chosen_partitions(config.source, collection) for collection in both]
    assert chosen == [of_sales, of_shop]
    findings = examination.examine(config, survey(side(*both)), None)
    assert "partitions" not in {finding.code for finding in findings}


PROBLEMS = [
    ("partitions { dogs = [new] }", "", DOCS, "its key dogs matches no collection", "mean docs?"),
    (
        'partitions { "sales.*" = [new] }',
        "",
        DOCS,
        "its key sales.* matches no",
        "Correct the name",
    ),
    ("partitions = [neu]", "", DOCS, "it has no partition neu. It has: _default", "mean new?"),
    ("partitions = [new]", "", described(schema(partition_key="title")), "key title, so", "Filter"),
    ("partitions = [new]", "partition_key = title", DOCS, "gets a partition key", "Remove `part"),
]


@pytest.mark.parametrize(("source", "sink", "of", "what", "remedy"), PROBLEMS)
def test_what_cannot_be_chosen_is_reported(
    source: str, sink: str, of: Description, what: str, remedy: str
) -> None:
    config = clusters.job(source=source, sink=sink)
    findings = examination.examine(config, survey(side(of)), None)
    [finding] = [finding for finding in findings if finding.code == "partitions"]
    assert finding.severity == "error"
    assert what in finding.what
    assert remedy in finding.remedy


DROPPED = [
    ("partitions = [new]", "DROP_DATA", "also drop the rows of _default, old, which"),
    ("", "DROP_DATA", ""),
    ("partitions = [new, old, _default]", "DROP_DATA", ""),
    ("partitions = [new]", "APPEND_DATA", ""),
]


@pytest.mark.parametrize(("source", "mode", "what"), DROPPED)
@pytest.mark.parametrize("purpose", ["copy", "sync"])
def test_rows_of_other_partitions_are_not_dropped(
    source: str, mode: str, what: str, purpose: planner.Purpose
) -> None:
    config = clusters.job(source=f"collections = [docs]\n{source}", sink=f"data_save_mode = {mode}")
    both = survey(side(DOCS), side(replace(DOCS, collection_id=448)), chosen=("docs",))
    found = [
        f"{finding.severity}: {finding.what} {finding.remedy}"
        for finding in examination.examine(config, both, None, purpose)
        if finding.code == "partitions"
    ]
    if what and purpose == "copy":
        [said] = found
        assert said.startswith("error: ")
        assert what in said
        assert "`kitelift sync --delete`" in said
    else:
        assert found == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("partitions = new", 'must be a list such as ["p1"], or a block'),
        ("partitions { docs = new }", "docs must be a list such as"),
        ("partitions { docs = [] }", "docs is empty"),
        ("partitions { sales.docs = {} }", "sales.docs must be a list such as"),
    ],
)
def test_a_wrong_choice_is_an_error_of_the_job_file(source: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        clusters.job(source=source)
    assert words in str(caught.value)
