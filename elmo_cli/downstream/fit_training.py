"""Construction of classifier and training for the labels and options of `elmo fit`."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elmo_cli.downstream.evaluation import r2
from elmo_cli.downstream.examples import LABEL_SETS, NUMBERS, OF_TOKENS, SENTENCES, count_labels
from elmo_cli.downstream.feature_cache import FeatureCache
from elmo_cli.downstream.fine_tuning import EPOCHS, LEARNING_RATE, FineTuning
from elmo_cli.downstream.fit_data import FitData
from elmo_cli.downstream.fit_options import FitOptions, choose_head
from elmo_cli.downstream.moments import Moments
from elmo_cli.downstream.penalty_search import PenaltySearch
from elmo_cli.downstream.predictor_folder import PredictorSettings
from elmo_cli.downstream.scores import Scorer
from elmo_cli.downstream.sentence_head import EVEN, SentenceHead, encode_targets
from elmo_cli.downstream.token_head import BESIDE, LEARNED, LSTM_CRF, TokenHead
from elmo_cli.downstream.token_training import TokenTraining, epochs_for
from elmo_cli.errors import ModelError
from elmo_cli.inference.embedder_spec import EmbedderSpec
from elmo_cli.inference.selection import Selection
from elmo_cli.models.files import ModelFiles
from elmo_cli.nn.scalar_mix import FixedMix
from elmo_cli.nn.token_encoders import CharacterEncoder

BLOCK_SENTENCES = 256
UNKNOWN = "B-?"  # replaces labels that occur in the held-out part only
MIXED_HEADS = {LSTM_CRF: LEARNED}  # others concatenate the layers
Training = TokenTraining | PenaltySearch | FineTuning


def make_settings(
    data: FitData, options: FitOptions, files: ModelFiles, label: str
) -> PredictorSettings:
    """Return the settings of a classifier.

    Args:
        data: The examples.
        options: The options of the classifier.
        files: The biLM.
        label: The column or field of the labels.

    Raises:
        ElmoError: The model does not have the chosen layers.
    """
    config = files.config()
    # Its weights are set after the training
    mix = FixedMix((0.0,) * config.n_output_layers) if options.fine_tune else None
    pool = "none" if data.task in OF_TOKENS else (options.pool or "mean+max")
    selection = Selection(options.layers, mix, pool)
    names = selection.names(config.n_output_layers)
    head = choose_head(options, data.task)
    return PredictorSettings(
        task=data.task,
        labels=data.labels,
        label=label,
        model=files.name,
        model_sha256=files.sha256,
        layers=options.layers,
        n_layers=len(names),
        dim=selection.dim(config.n_output_layers, config.output_dim),
        head=head,
        mix=BESIDE if mix else options.mix or MIXED_HEADS.get(head, BESIDE),
        scheme=data.scheme,
        output_scheme=data.source_scheme,
        pool=pool,
        norm="layer" if options.fine_tune else "standard",
        fixed_mix=(*mix.weights, mix.gamma) if mix else None,
    )


def make_training(
    data: FitData,
    settings: PredictorSettings,
    options: FitOptions,
    cache: FeatureCache,
    spec: EmbedderSpec,
) -> Training:
    """Return the training of a classifier, which has it as `head`.

    Args:
        data: The examples.
        settings: The classifier.
        options: How it is trained.
        cache: Features of the examples; not used for fine-tuning.
        spec: The biLM, which is loaded for fine-tuning.

    Raises:
        ElmoError: The biLM cannot be loaded.
    """
    torch.manual_seed(options.seed)
    if options.fine_tune:
        return _fine_tuning(data, settings, options, spec)
    train = _token_training if data.task in OF_TOKENS else _sentence_training
    return train(data, settings, options, cache)


def _token_training(
    data: FitData, settings: PredictorSettings, options: FitOptions, cache: FeatureCache
) -> TokenTraining:
    head = settings.make_head()
    assert isinstance(head, TokenHead)  # noqa: S101  # for mypy
    scales = _moments(data, cache).scales()
    head.input.mean.copy_(scales.mean)  # type: ignore[operator]  # buffers are untyped
    head.input.deviation.copy_(scales.dim)  # type: ignore[operator]
    scorer = Scorer(data.task, [*data.labels, UNKNOWN])
    epochs = options.epochs or epochs_for(settings.head, len(data.train))
    return TokenTraining(
        head,
        cache,
        data.token_labels,
        data.train,
        data.held_out,
        scorer,
        options.seed,
        epochs,
        _weights(data, options),
    )


def _fine_tuning(
    data: FitData, settings: PredictorSettings, options: FitOptions, spec: EmbedderSpec
) -> FineTuning:
    bilm = spec.files.load()
    if not isinstance(bilm.character_encoder, CharacterEncoder):
        raise ModelError(
            f"{spec.files.name}: --fine-tune does not take models of ELMoForManyLangs; leave it out"
        )
    head = settings.make_head()
    assert isinstance(head, TokenHead | SentenceHead)  # noqa: S101  # for mypy
    targets: Any = data.token_labels
    if data.task in OF_TOKENS:
        gold = np.concatenate([targets[i] for i in data.held_out])
        rows = np.repeat(np.arange(len(data.held_out)), [len(targets[i]) for i in data.held_out])
        scorer = Scorer(data.task, [*data.labels, UNKNOWN])

        def score(labels: Tensor) -> float:
            return scorer.score(gold, labels.numpy(), rows)
    else:
        targets = encode_targets(
            data.task, [example.target for example in data.examples], data.labels
        )
        score = _held_out_score(data.task, targets[data.held_out], len(data.labels))
    return FineTuning(
        bilm,
        head,
        [example.tokens for example in data.examples],
        targets,
        data.train,
        data.held_out,
        score,
        options.seed,
        options.epochs or EPOCHS,
        options.learning_rate or LEARNING_RATE,
        _weights(data, options),
    )


def _moments(data: FitData, cache: FeatureCache) -> Moments:
    moments = Moments()
    for start in range(0, len(data.train), BLOCK_SENTENCES):
        moments.add(cache.read(data.train[start : start + BLOCK_SENTENCES]))
    return moments


def _sentence_training(
    data: FitData, settings: PredictorSettings, options: FitOptions, cache: FeatureCache
) -> PenaltySearch:
    head = settings.make_head()
    assert isinstance(head, SentenceHead)  # noqa: S101  # for mypy
    order = [*data.train, *data.held_out]
    targets = encode_targets(data.task, [data.examples[i].target for i in order], data.labels)
    n_train = len(data.train)
    return PenaltySearch(
        head,
        _read_rows(cache, order),
        targets,
        n_train,
        _held_out_score(data.task, targets[n_train:], len(data.labels)),
        _weights(data, options),
        n_train if data.own_dev else len(order),
    )


def _read_rows(cache: FeatureCache, sentences: Sequence[int]) -> Tensor:
    """Return the vectors of sentences, (sentence, layer * dim), read in blocks to save memory."""
    rows = torch.empty(len(sentences), math.prod(cache.shape))
    for start in range(0, len(sentences), BLOCK_SENTENCES):
        block = cache.read(sentences[start : start + BLOCK_SENTENCES])
        rows[start : start + BLOCK_SENTENCES] = block.transpose(0, 1).flatten(1)
    return rows


def _weights(data: FitData, options: FitOptions) -> Tensor | None:
    """Return the label weights of --balanced, or None."""
    if not options.balanced:
        return None
    counts: Counter[str] = count_labels([data.examples[i] for i in data.train], data.task)
    found = torch.tensor([float(counts[label]) for label in data.labels]).clamp(min=1)
    if data.task == LABEL_SETS:
        return (len(data.train) - found).clamp(min=1) / found
    return found.sum() / len(found) / found


def _held_out_score(task: str, targets: Tensor, n_labels: int) -> Any:  # noqa: ANN401  # a function of logits
    """Return the function from logits of the held-out sentences to their score."""
    if task == NUMBERS:
        return lambda logits: r2(targets[:, 0].double().numpy(), logits[:, 0].double().numpy())
    rows = np.arange(len(targets))
    scorer = Scorer(task, [str(i) for i in range(n_labels)])
    gold = targets.numpy().astype(np.int64)
    if task == SENTENCES:
        return lambda logits: scorer.score(gold, logits.argmax(dim=-1).numpy(), rows)
    return lambda logits: scorer.score(
        gold, (torch.sigmoid(logits) > EVEN).numpy().astype(np.int64), rows
    )
