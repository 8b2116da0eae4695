"""Prefix trees are compared with the prefixes themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli.nn.lstm import pack
from elmo_cli.nn.prefixes import PrefixTree, build_prefix_tree, count_nodes

BATCH = st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=12)


def build(batch: list[list[int]], *, backward: bool, shared: bool = True) -> PrefixTree:
    types = np.array([word for words in batch for word in words], dtype=np.int64)
    return build_prefix_tree(types, list(map(len, batch)), backward=backward, shared=shared)


def spelled(tree: PrefixTree) -> list[tuple[int, ...]]:
    """The prefix that each node stands for, by its parents."""
    found: list[tuple[int, ...]] = []
    for number, depth in enumerate(tree.depths):
        before = (
            found[tree.depths[number - 1].nodes]
            if number
            else [()] * (1 + tree.parents.max(initial=0))
        )
        found += [
            (*before[tree.parents[node]], int(tree.types[node]))
            for node in range(depth.nodes.start, depth.nodes.stop)
        ]
    return found


@given(BATCH, st.booleans(), st.booleans())
def test_each_token_reads_the_node_of_its_prefix(
    batch: list[list[int]], backward: bool, shared: bool
):
    tree = build(batch, backward=backward, shared=shared)
    prefixes, tokens = spelled(tree), iter(tree.node_of_token)
    for words in batch:
        read = words[::-1] if backward else words
        expected = [tuple(read[: k + 1]) for k in range(len(read))]
        assert [prefixes[node] for _, node in zip(words, tokens, strict=False)] == (
            expected[::-1] if backward else expected
        )


@given(BATCH, st.booleans())
def test_every_prefix_has_one_node(batch: list[list[int]], backward: bool):
    prefixes = spelled(build(batch, backward=backward))
    assert len(set(prefixes)) == len(prefixes)


@given(BATCH, st.booleans())
def test_where_a_depth_does_not_branch_parents_are_in_place(batch: list[list[int]], backward: bool):
    tree = build(batch, backward=backward)
    for depth in tree.depths[1:]:
        parents = tree.parents[depth.nodes]
        assert depth.is_branching or parents.tolist() == list(range(len(parents)))


@given(BATCH, st.booleans())
def test_separate_sequences_have_a_node_for_each_token(batch: list[list[int]], backward: bool):
    tree = build(batch, backward=backward, shared=False)
    assert len(tree.types) == sum(map(len, batch))
    assert not any(depth.is_branching for depth in tree.depths)
    assert [depth.nodes.stop - depth.nodes.start for depth in tree.depths] == pack(
        list(map(len, batch))
    ).batch_sizes


@pytest.mark.parametrize(
    ("batch", "n_nodes"),
    [
        ([["a", "b", "."], ["a", "c", "."]], (5, 5)),  # "a" and "." once each
        ([["a", "b"], ["a", "b"], []], (2, 2)),
        ([["a", "b"], ["a"]], (2, 3)),
        ([], (0, 0)),
    ],
)
def test_nodes_are_counted_in_both_directions(batch: list[list[str]], n_nodes: tuple[int, int]):
    assert count_nodes(batch) == sum(n_nodes)
