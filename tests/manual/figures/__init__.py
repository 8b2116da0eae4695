"""Quality of the layers of a model: tags, senses, question types, the bank example, and n-grams.

Run by hand (it needs the `figures` extra); JSON goes to standard output, progress and a Markdown
table to standard error:

    python -m tests.manual.figures MODEL_DIR --shared ../shared --start primed \\
        --prime ../shared/corpus/heldout/wiki21.txt.zst > figures.json
"""
