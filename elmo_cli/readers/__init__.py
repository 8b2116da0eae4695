"""Corpora, one format a file: a path in, sentences out. A new format is a function here and its line in READERS."""

from elmo_cli.readers.text import read_text

READERS = {"text": read_text}
