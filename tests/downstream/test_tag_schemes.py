"""Tag schemes: detection, checks, repair, conversion."""

import itertools

import numpy as np
import pytest

from elmo_cli.downstream.tag_schemes import (
    SCHEMES,
    allowed_tags,
    convert_tags,
    detect_scheme,
    find_invalid,
    may_follow,
    parse_spans,
    spell_iobes,
    write_tags,
)

TAGS = {  # the same spans: X X | Y | Y Y | - | X | X
    "iob1": ["I-X", "I-X", "I-Y", "B-Y", "I-Y", "O", "I-X", "B-X"],
    "iob2": ["B-X", "I-X", "B-Y", "B-Y", "I-Y", "O", "B-X", "B-X"],
    "iobes": ["B-X", "E-X", "S-Y", "B-Y", "E-Y", "O", "S-X", "S-X"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_is_detected_by_its_tags(scheme: str):
    assert detect_scheme([["O"], TAGS[scheme]]) == scheme
    assert find_invalid(TAGS[scheme], scheme) is None


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SCHEMES, SCHEMES)))
def test_tags_are_converted_from_each_scheme_to_each_other_one(source: str, target: str):
    assert convert_tags(TAGS[source], target) == TAGS[target]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_of_random_sentences_survive_writing_and_reading(scheme: str):
    random = np.random.default_rng(0)
    for _ in range(200):
        tags = [
            str(tag) for tag in random.choice(["O", "B-X", "I-X", "B-Y", "I-Y", "S-X", "E-Y"], 6)
        ]
        spans = parse_spans(tags)
        written = write_tags(spans, len(tags), scheme)
        assert parse_spans(written) == spans
        assert find_invalid(written, scheme) is None


def test_bilou_is_iobes_with_other_letters():
    assert detect_scheme([["U-X", "B-Y", "I-Y", "L-Y"]]) == "iobes"
    assert list(map(spell_iobes, ["U-X", "B-Y", "M-Y", "L-Y", "O"])) == [
        "S-X",
        "B-Y",
        "I-Y",
        "E-Y",
        "O",
    ]
    assert convert_tags(["U-X", "B-Y", "I-Y", "L-Y"], "iob2") == ["B-X", "B-Y", "I-Y", "I-Y"]


def test_other_labels_have_no_scheme():
    assert detect_scheme([["NOUN", "VERB"]]) is None
    assert detect_scheme([["O", "O"]]) is None
    assert detect_scheme([["B-X", "C"]]) is None


def test_the_first_invalid_tag_is_found_and_repaired():
    assert find_invalid(["O", "B-X", "I-X", "O", "I-X"], "iob2") == 4
    assert find_invalid(["B-X", "I-Y"], "iob2") == 1
    assert find_invalid(["O", "B-X"], "iobes") == 1
    assert find_invalid(["O", "B-X"], "iob1") == 1
    assert convert_tags(["O", "I-X", "I-X", "I-Y"], "iob2") == ["O", "B-X", "I-X", "B-Y"]
    assert convert_tags(["B-X", "O", "I-Y", "S-Y"], "iobes") == ["S-X", "O", "S-Y", "S-Y"]


def test_broken_iob2_is_not_taken_for_iob1():
    assert detect_scheme([["B-X", "I-X"], ["O", "I-X"]]) == "iob2"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_allowed_tags_are_those_that_may_follow(scheme: str):
    labels = ["B-X", "I-X", "B-Y", "I-Y", "E-X", "S-X", "O"]
    allowed = allowed_tags(labels, scheme)
    for (i, before), (j, tag) in itertools.product(enumerate(labels), enumerate(labels)):
        assert allowed.transitions[i, j] == may_follow(before, tag, scheme)
    assert allowed.start[0] == (scheme != "iob1")
    assert allowed.end[0] == (scheme != "iobes")
