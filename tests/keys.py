"""Primary keys for properties: either kind, with those that are easily got wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

from transforms.ranges import Key

Value = TypeVar("Value")
Kind = st.SearchStrategy[Key]

INT64_EDGES = (-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1)

INTEGERS: Kind = st.one_of(
    # Few of them, so that two often meet.
    st.integers(-5, 5),
    st.sampled_from(INT64_EDGES),
    st.integers(-(2**63), 2**63 - 1),
)
TEXTS = st.one_of(
    st.text("ab", max_size=2),
    st.sampled_from(
        ["", '"', "\\", "'", "\n", "\r", "\t", '\\"', " ", "%", "\0", "世", "\U0001f600"]
    ),
    st.text(max_size=6),
)


def of_one_kind(case: Callable[[Kind], st.SearchStrategy[Value]]) -> st.SearchStrategy[Value]:
    """A case whose keys are all numbers, or all text."""
    return st.one_of(case(INTEGERS), case(TEXTS))
