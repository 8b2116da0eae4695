"""Phrases that plain technical English avoids are nowhere in the package and README.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "elmo_cli"
DONE = [PACKAGE, ROOT / "README.md"]
TEXTS = sorted(
    path
    for done in DONE
    for path in ([done] if done.is_file() else done.rglob("*"))
    if path.suffix in (".py", ".md")
)
PHRASES = {  # regular expressions, without regard to case, and an example of each
    r"\bstrangers?\b": "a stranger's file",
    r"\b(go(es)?|going|gone|went) on (with|from|where|training)\b": (
        "the work goes on with the next file"
    ),
    r"\b(begins?|begun|starts?|started|fetched|hashed|read|packed) anew\b": "the run is begun anew",
    r"\bparted by\b": "tokens parted by blanks",
    r"(?<!there )\b(is|are) no "
    r"(archive|dictionary|file|finite|json|list|model|number|tokens?|word|zip|numbers|files)\b": (
        "it is no JSON"
    ),
    r"\bwhat is no\b": "what is no number",
    r"\bnobody\b": "words that nobody reads",
    r"\bwhole or not at all\b": "it appears whole or not at all",
    r"\b(is|be|file is|model is) whole\b": "check that the file is whole",
    r"\ba whole (archive|checkpoint|file|folder|number)\b": "not a whole checkpoint",
    r"\bbe(ing)? told\b": "being told of it",
    r"\bis told\b": "who is told of it",
    r"\b(says|tells) (what|that|of|about|where)\b": "it says what the file is",
    r"\bwho asks\b": "for who asks",
    r"\bpassed over\b": "hidden files are passed over",
    r"\bby hand where\b": "put there by hand where",
    r"\bmake room\b": "make room, then run it again",
    r"\bbrings? (it|them|its|models?)\b": "pip install brings it",
    r"\bholds? (no|several|a|an|more|neither|something)\b(?! lock)": "the archive holds no model",
    r"\bread side by side\b": "read side by side",
    r"\blet alone\b": "allocated, let alone initialised",
    r"\basks? for \{": "the options ask for {shape}",
    r"\bleft over\b": "a tensor is left over",
    r"\bof like length\b": "types of like length",
    r"\bfrom now on\b": "kept from now on",
    r'^\s*"""(what|where|who|how|why|which) ': '"""What a card tells."""',
}


@pytest.mark.parametrize("phrase", PHRASES)
def test_the_phrase_is_nowhere(phrase: str):
    pattern = re.compile(phrase, re.IGNORECASE)
    assert TEXTS
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(("phrase", "example"), PHRASES.items())
def test_the_pattern_finds_its_example(phrase: str, example: str):
    assert re.search(phrase, example, re.IGNORECASE)
