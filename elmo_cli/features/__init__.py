"""Vectors to files and back: file formats, checksums, resumable writing, conversion, verification."""
