"""Which indexes are built, and how they are described."""

from __future__ import annotations

from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import PLAIN, Answer, Asker, field, text_field
from tests.fakes.answers.steps import Steps

index = Steps("index")

NAME = "probe_d"


@index
def describe_none(asker: Asker) -> Answer:
    asker.drop(NAME)
    more = [text_field("t", 9), field("n", DataType.Int64), field("j", DataType.JSON)]
    asker.create(NAME, [*PLAIN, *more])
    return asker.indexes(NAME)


def _index(name: str, field_name: str, **params: object) -> None:
    def ask(asker: Asker) -> Answer:
        created = asker.index(NAME, field_name, **params)
        described = asker.indexes(NAME, field_name)
        request = milvus_pb2.DropIndexRequest(
            collection_name=NAME, field_name=field_name, index_name=field_name
        )
        return {
            "create": created,
            "described": described,
            "drop": asker.call("DropIndex", request),
        }

    index.add(name, ask)


_index("hnsw", "v", index_type="HNSW", metric_type="COSINE", M=8, efConstruction=50)
_index(
    "hnsw_json_params",
    "v",
    index_type="HNSW",
    metric_type="L2",
    params='{"M": 8, "efConstruction": 50}',
)
_index("autoindex", "v", index_type="AUTOINDEX", metric_type="IP")
_index("autoindex_with_mmap", "v", index_type="AUTOINDEX", metric_type="IP", mmap__enabled="true")
_index("autoindex_without_metric", "v", index_type="AUTOINDEX")
_index("no_type", "v", metric_type="L2")
_index("ivf_rabitq", "v", index_type="IVF_RABITQ", metric_type="L2", nlist=4)
_index("unknown_type", "v", index_type="NOPE", metric_type="L2")
_index("scalar_none", "n")
for _kind in ("STL_SORT", "Ascending", "INVERTED", "BITMAP", "AUTOINDEX"):
    _index(f"scalar_int_{_kind}", "n", index_type=_kind)
for _kind in ("Trie", "TRIE", "marisa-trie", "INVERTED", "BITMAP", "AUTOINDEX", "NGRAM"):
    _index(f"scalar_text_{_kind}", "t", index_type=_kind)
_index("json_path", "j", index_type="INVERTED", json_cast_type="double", json_path="j['a']")


@index
def same_again(asker: Asker) -> Answer:
    def hnsw(m: int) -> Answer:
        params = {"index_type": "HNSW", "metric_type": "L2"}
        return asker.index(NAME, "v", **params, M=m, efConstruction=50)

    return {
        "first": hnsw(8),
        "same": hnsw(8),
        "other_params": hnsw(16),
        "second_name": asker.index(
            NAME, "v", index_name="other", index_type="FLAT", metric_type="L2"
        ),
    }
