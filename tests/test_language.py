"""Phrases that plain technical English does without: they do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = sorted([*(ROOT / "elmo_cli").rglob("*.py"), *(ROOT / "elmo_cli").rglob("*.md"), ROOT / "README.md"])
PHRASES = [  # regular expressions, without regard to case
    r"\bstrangers?\b",
    r"\bgo(es)? on with\b",
    r"\bbegins? anew\b",
    r"\bparted by\b",
    r"\bis no (number|file|model|word|tokens?|list|json)\b",
    r"\bare no (numbers|tokens|files)\b",
    r"\bnobody\b",
    r"\bwhole or not at all\b",
    r"\bbe(ing)? told\b",
    r"\bsays what\b",
    r"\bwho asks\b",
]


@pytest.mark.parametrize("phrase", PHRASES)
def test_the_phrase_is_nowhere(phrase: str):
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []
