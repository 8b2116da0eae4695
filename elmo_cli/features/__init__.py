"""Feature files: formats, checksums, resumable writing, conversion, verification."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.features.formats import open_writer
    from elmo_cli.features.formats.allennlp import sentence_text
    from elmo_cli.features.protocols import FeatureReader, FeatureWriter
    from elmo_cli.features.reader import Features, open_features
    from elmo_cli.features.spec import FeatureSpec, WriteOptions
    from elmo_cli.features.summary import FeatureSummary
    from elmo_cli.features.verify import VerifyReport

__all__ = [
    "FeatureReader",
    "FeatureSpec",
    "FeatureSummary",
    "FeatureWriter",
    "Features",
    "VerifyReport",
    "WriteOptions",
    "open_features",
    "open_writer",
    "sentence_text",
]

__getattr__ = lazy_names(
    __name__,
    {
        "FeatureReader": "elmo_cli.features.protocols",
        "FeatureSpec": "elmo_cli.features.spec",
        "FeatureSummary": "elmo_cli.features.summary",
        "FeatureWriter": "elmo_cli.features.protocols",
        "Features": "elmo_cli.features.reader",
        "VerifyReport": "elmo_cli.features.verify",
        "WriteOptions": "elmo_cli.features.spec",
        "open_features": "elmo_cli.features.reader",
        "open_writer": "elmo_cli.features.formats",
        "sentence_text": "elmo_cli.features.formats.allennlp",
    },
)
