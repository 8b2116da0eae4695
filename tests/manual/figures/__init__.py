"""What the layers of a model know, in figures: tags, senses, question types, the bank example, and
what n-grams make of held-out text.

Run by hand (it needs the `figures` extra); JSON goes to standard output, progress and a Markdown
table to standard error:

    python -m tests.figures MODEL_DIR --shared ../shared --start primed \\
        --prime ../shared/corpus/heldout/wiki21.txt.zst > figures.json
"""
