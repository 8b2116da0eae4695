"""Recomputation of a sample of stored vectors, for `elmo verify --model`."""

from collections.abc import Mapping

import numpy as np

from elmo_cli.features.reader import Features
from elmo_cli.features.verify import VerifyReport
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.selection import Selection
from elmo_cli.models.files import ModelFiles
from elmo_cli.nn.devices import choose_precision

# For values of about 1, else EXACT; rounding depends on batch and machine
TOLERANCES = {"float16": 1e-2}
EXACT = 1e-4
OF_PRECISION = {"bf16": 5e-2}  # the order of summation depends on the machine


def check_vectors(
    model: ModelFiles, features: Features, verdict: VerifyReport, sample: dict[int, list[str]]
) -> None:
    """Compare recomputed vectors of a sample of sentences with the stored ones.

    Args:
        model: The expected model of the vectors.
        features: The open features file.
        verdict: The report to add to.
        sample: Tokens of the sampled sentences, by index.
    """
    told = features.metadata
    problem = _why_not_computable(features, sample)
    if not problem and (used := told.get("model_sha256")) and used != model.sha256:
        verdict.add(
            f"made with a different model than {model.name}: {told.get('model')}, sha256 "
            f"{used[:16]}..."
        )
        return
    if problem:
        verdict.checked.append(f"vectors    not recomputed: {problem}")
        return
    embedder = EmbedderSpec(model, device="cpu", precision=_computable_precision(told)).build()
    select = Selection(
        told.get("layers", "all"), None, told.get("pool", "none"), "float32"
    ).function(embedder.bilm.config.n_output_layers)
    # A conversion may have widened the values
    dtype = "float16" if "converted" in told else features.description.dtype
    tolerance = max(TOLERANCES.get(dtype, EXACT), OF_PRECISION.get(embedder.precision, 0.0))
    worst = 0.0
    for index, tokens in sample.items():
        again, ours = select(embedder.embed_batch([tokens])[0]), features[index]
        if again.shape != ours.shape:
            verdict.add(
                f"sentence {features.sentence(index).key}: has the shape {ours.shape}, recomputed "
                f"{again.shape}"
            )
            continue
        difference = float(np.abs(again - ours.astype(np.float32)).max(initial=0))
        worst = max(worst, difference)
        if not difference <= tolerance:
            verdict.add(
                f"sentence {features.sentence(index).key}: differs by {difference:.2g} from the "
                f"vectors of {model.name}"
            )
    verdict.checked.append(
        f"vectors    {len(sample)} sentences recomputed, largest difference {worst:.1g}"
    )


def _computable_precision(told: Mapping[str, str]) -> str:
    precision = told.get("precision", "fp32")
    return choose_precision(precision, "cpu") if precision in ("fp32", "bf16") else "fp32"


def _why_not_computable(features: Features, sample: dict[int, list[str]]) -> str | None:
    told = features.metadata
    if "layers" not in told:  # nor precision, pooling and start state
        return "the metadata do not record how they were made"
    if (start := told.get("start_state", "zero")) != "zero":
        return f"the sentences start from a state {start.partition(',')[0]}"
    if _computable_precision(told) != told.get("precision", "fp32"):
        return f"it was computed in {told['precision']}, which this processor does not support"
    if told.get("layers") == "mix":
        return "its layers are mixed"
    untold = [
        tokens
        for tokens in sample.values()
        if not any(tokens) and (tokens or features.description.pooled)
    ]
    if any(untold) or (sample and len(untold) == len(sample)):
        return "the tokens are not stored; name their --corpus"
    return None
