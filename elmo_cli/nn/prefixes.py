"""Distinct prefixes of a batch of sequences: a tree per direction, a node per LSTM step.

Where sequences start from one state, the state of an LSTM after a token depends on the tokens up to
it alone, in every layer. So two sentences share the forward steps of a common beginning, and the
backward steps of a common end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elmo_cli.nn.lstm import pack

Index = npt.NDArray[np.int64]


class Depth(NamedTuple):
    """Nodes that are computed in one step."""

    nodes: slice  # among all nodes
    is_branching: bool  # False: the parent of node i of this depth is node i of the depth before


class PrefixTree(NamedTuple):
    """Nodes in the order of computation: by depth, then by their longest sequence."""

    depths: list[Depth]
    types: Index  # (node,): the word type that a node reads
    # Place of a node's parent among the nodes of the depth before, (node,); 0 in the first depth,
    # unless sequences are separate
    parents: Index
    node_of_token: Index  # (token,), tokens as they were given
    # Node of the last token of each sequence, (sequence,), longest sequence first; -1 for an empty
    # sequence
    ends: Index


def build_prefix_tree(
    types: Index, lengths: Sequence[int], *, backward: bool, shared: bool = True
) -> PrefixTree:
    """Find the distinct prefixes of sequences, or of reversed sequences.

    Args:
        types: Word type of each token, (token,), the sequences one after another.
        lengths: Number of tokens of each sequence.
        backward: Whether sequences are read from their last token on.
        shared: Whether sequences share nodes; they do not where each starts from a state of its
            own.
    """
    packing = pack(lengths)
    positions = packing.backward_rows if backward else packing.forward_rows
    n_types = int(types.max(initial=0)) + 1
    node_of_token, ends = (
        np.empty(len(types), dtype=np.int64),
        np.full(len(lengths), -1, dtype=np.int64),
    )
    depths, members_of, parents_of = [], [], []
    place = np.zeros(len(lengths), dtype=np.int64) if shared else np.arange(len(lengths))
    distinct = not shared  # once all sequences that are left differ, they do so to the end
    start = n_nodes = 0
    for active in packing.batch_sizes:
        now = positions[start : start + active]
        members, parents, is_branching = np.arange(active), place[:active], False
        if not distinct:
            members, place = _distinct(parents * n_types + types[now])
            parents = parents[members]
            distinct = len(members) == active
            is_branching = n_nodes == 0 or not np.array_equal(parents, np.arange(len(parents)))
        depths.append(Depth(slice(n_nodes, n_nodes + len(members)), is_branching))
        members_of.append(now[members])
        parents_of.append(parents)
        ends[:active] = node_of_token[now] = n_nodes + place[:active]
        n_nodes += len(members)
        start += active
    none = np.empty(0, dtype=np.int64)
    return PrefixTree(
        depths,
        types[np.concatenate([none, *members_of])],
        np.concatenate([none, *parents_of]),
        node_of_token,
        ends,
    )


def _distinct(keys: Index) -> tuple[Index, Index]:
    """Return the first place of each distinct key, in order, and each key's number among them."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def count_nodes(batch: Sequence[Sequence[str]]) -> int:
    """Return the number of nodes of sentences that are computed together, both directions."""
    rows: dict[str, int] = {}
    types = np.array(
        [rows.setdefault(token, len(rows)) for tokens in batch for token in tokens], dtype=np.int64
    )
    lengths = [len(tokens) for tokens in batch]
    return sum(
        len(build_prefix_tree(types, lengths, backward=backward).types)
        for backward in (False, True)
    )
