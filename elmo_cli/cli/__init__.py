"""Command line interface; no other package imports click or rich."""
