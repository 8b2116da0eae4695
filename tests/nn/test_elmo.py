"""`Elmo`: values, gradients and training of AllenNLP 0.9.0's module, and use as a torch module."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elmo_cli import Elmo, ElmoEmbedder, batch_to_ids
from elmo_cli.errors import ElmoError, OutputError
from elmo_cli.models.formats.scalar_mix import read_mix
from elmo_cli.nn.bilm import BiLM
from elmo_cli.nn.kernels.packed_lstm import PackedLstm, Steps
from tests.conftest import make_model, shared
from tests.helpers.allennlp_archive import module_tensors
from tests.helpers.reference_efml import make_efml

SENTENCES = [["the", "cat", "sat"], ["yes"], ["a", "cat", "the", "cat", "the"]]


def golden() -> dict[str, np.ndarray]:
    with np.load(
        shared("reference", "golden", "fixture_elmo_module.npz"), allow_pickle=False
    ) as file:
        return dict(file)


def fixture_elmo(n: int = 2, **options: object) -> Elmo:
    folder = shared("reference", "fixture")
    return Elmo(folder / "options.json", folder / "lm_weights.hdf5", n, dropout=0, **options)


def first(elmo: nn.Module, ids: Tensor) -> Tensor:
    return elmo(ids)["elmo_representations"][0]


def assert_near(ours: object, theirs: object, atol: float = 2e-6) -> None:
    ours = ours.detach().numpy() if isinstance(ours, Tensor) else ours
    np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {}),
        ("layer_norm", {"do_layer_norm": True}),
        ("boundaries", {"keep_sentence_boundaries": True}),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_representations_are_allennlps(name: str, options: dict[str, bool], requires_grad: bool):
    theirs = golden()
    found = fixture_elmo(**options, requires_grad=requires_grad)(torch.from_numpy(theirs["ids"]))
    assert_near(found["elmo_representations"][0], theirs[name])
    np.testing.assert_array_equal(found["mask"].numpy(), theirs[f"{name}_mask"].astype(bool))


def test_a_fixed_mix_is_allennlps_and_has_no_gradient():
    theirs = golden()
    elmo = fixture_elmo(1, scalar_mix_parameters=theirs["fixed_mix_parameters"].tolist())
    assert_near(first(elmo, torch.from_numpy(theirs["ids"])), theirs["fixed_mix"])
    assert not any(parameter.requires_grad for parameter in elmo.parameters())


def test_the_mixes_gradients_are_allennlps():
    theirs = golden()
    elmo = fixture_elmo()
    one, two = elmo(torch.from_numpy(theirs["ids"]))["elmo_representations"]
    loss = (one * torch.linspace(-1, 1, one.numel()).view_as(one)).sum() + (two**2).mean()
    loss.backward()
    np.testing.assert_allclose(float(loss.detach()), theirs["loss"], rtol=1e-6)
    for k in range(2):
        mix = elmo.get_submodule(f"scalar_mix_{k}")
        np.testing.assert_allclose(
            [float(p.grad) for p in mix.scalar_parameters],
            theirs[f"mix{k}_grad"],
            atol=1e-5,
            rtol=1e-5,
        )
        np.testing.assert_allclose(mix.gamma.grad, theirs[f"gamma{k}_grad"], rtol=1e-6)
    assert all(parameter.grad is None for parameter in elmo.bilm.parameters())


def gradient_norms(bilm: BiLM) -> dict[str, float]:
    """By AllenNLP's names: its matrices hold several of ours, or a part of one."""
    grads = {name: parameter.grad for name, parameter in bilm.named_parameters()}
    norms: dict[str, list[Tensor]] = {
        "_token_embedder._char_embedding_weights": [grads["character_encoder.characters.weight"]]
    }
    for name, grad in grads.items():
        parts = name.split(".")
        if parts[1] == "convolutions":
            norms[f"_token_embedder.char_conv_{parts[2]}.{parts[3]}"] = [grad]
        elif parts[1] == "highways":
            norms.setdefault(f"_token_embedder._highways._layers.{parts[2]}.{parts[4]}", []).append(
                grad
            )
        elif parts[1] == "projection":
            norms[f"_token_embedder._projection.{parts[2]}"] = [grad]
        elif parts[0] == "directions":
            layer, size = (
                f"_elmo_lstm.{('forward', 'backward')[int(parts[1])]}_layer_{parts[2]}",
                bilm.config.projection_dim,
            )
            if parts[3] == "weight":
                (
                    norms[f"{layer}.input_linearity.weight"],
                    norms[f"{layer}.state_linearity.weight"],
                ) = [grad[:, :size]], [grad[:, size:]]
            else:
                norms[
                    f"{layer}.state_"
                    + ("linearity.bias" if parts[3] == "bias" else "projection.weight")
                ] = [grad]
    return {
        f"_elmo_lstm.{name}": float(torch.stack([part.norm() for part in parts]).norm())
        for name, parts in norms.items()
    }


def test_the_bilms_gradients_are_allennlps():
    theirs = golden()
    elmo = fixture_elmo(requires_grad=True)
    one = first(elmo, torch.from_numpy(theirs["ids"]))
    (one * torch.linspace(-1, 1, one.numel()).view_as(one)).sum().backward()
    expected = dict(zip(theirs["grad_names"].tolist(), theirs["grad_norms"].tolist(), strict=True))
    ours = gradient_norms(elmo.bilm)
    assert ours.keys() == expected.keys()
    for name, norm in expected.items():
        np.testing.assert_allclose(ours[name], norm, rtol=2e-5, atol=1e-6, err_msg=name)


def test_states_are_carried_as_allennlp_does_if_asked_for():
    theirs = golden()
    ids = torch.from_numpy(theirs["ids"])
    for requires_grad in (False, True):
        elmo = fixture_elmo(stateful=True, requires_grad=requires_grad)
        first(elmo, ids)
        assert_near(first(elmo, ids), theirs["second_stateful"])
        elmo.reset_states()
        assert_near(first(elmo, ids), theirs["plain"])
    assert_near(first(fixture_elmo(), ids), theirs["plain"])


def test_a_tagger_learns_as_with_allennlps_module():
    theirs = golden()
    ids, elmo, tagger = torch.from_numpy(theirs["ids"]), fixture_elmo(1), nn.Linear(32, 5)
    with torch.no_grad():
        tagger.weight.copy_(torch.linspace(-0.1, 0.1, 160).view(5, 32))
        tagger.bias.zero_()
    labels = (torch.arange(ids.shape[0] * ids.shape[1]) % 5).view(ids.shape[:2])
    optimizer = torch.optim.Adam([*elmo.scalar_mix_0.parameters(), *tagger.parameters()], lr=1e-2)
    losses = []
    for _ in range(8):
        found = elmo(ids)
        loss = nn.functional.cross_entropy(
            tagger(found["elmo_representations"][0])[found["mask"]], labels[found["mask"]]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses, theirs["tagger_losses"], rtol=1e-6)


@pytest.fixture(scope="module")
def elmo(model: Path) -> Elmo:
    return Elmo(model=model, dropout=0)


def test_a_frozen_module_computes_common_beginnings_and_ends_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
):
    n_nodes: list[int] = []
    run = PackedLstm.run

    def counting(self: PackedLstm, inputs: Tensor, steps: Steps, *rest: object) -> object:
        n_nodes.append(len(steps.rows))
        return run(self, inputs, steps, *rest)

    monkeypatch.setattr(PackedLstm, "run", counting)
    elmo = Elmo(model=model, dropout=0)
    ids = batch_to_ids([*SENTENCES, SENTENCES[0], ["the", "cat", "yes"]])
    frozen = first(elmo, ids)
    assert set(n_nodes) == {15, 16}  # forward, backward, of 25 positions with the boundaries
    elmo.bilm.requires_grad_(True)
    assert_near(frozen, first(elmo, ids).detach())


def test_it_gives_the_embedders_layers_and_zeros_for_padding(model: Path, elmo: Elmo):
    found = elmo(batch_to_ids([*SENTENCES, []]))
    assert found["mask"].sum(dim=1).tolist() == [3, 1, 5, 0]
    for representation, tokens in zip(
        found["elmo_representations"][0], [*SENTENCES, []], strict=True
    ):
        expected = ElmoEmbedder(model=model).embed_sentence(tokens).mean(axis=0)
        assert_near(representation[: len(tokens)], expected)
        assert not representation[len(tokens) :].any()


def test_more_axes_and_no_tokens_are_taken(elmo: Elmo):
    ids = batch_to_ids(SENTENCES)
    found = elmo(torch.stack([ids, ids], dim=1))
    assert (found["mask"].shape, found["elmo_representations"][0].shape) == (
        (3, 2, 5),
        (3, 2, 5, 12),
    )
    assert_near(found["elmo_representations"][0][:, 1], first(elmo, ids).detach())
    assert first(elmo, batch_to_ids([[], []])).shape == (2, 0, 12)
    assert first(elmo, batch_to_ids([])).shape == (0, 0, 12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_highway": 0},
        {"use_skip_connections": False, "n_layers": 3},
        {"cell_clip": None, "proj_clip": None, "dim": 6},
    ],
)
def test_models_of_other_options_have_the_gradients_of_finite_differences(
    tmp_path: Path, options: dict[str, object]
):
    elmo = Elmo(model=make_model(tmp_path, **options), dropout=0, requires_grad=True).double()
    ids = batch_to_ids(SENTENCES)
    parameters = [
        next(elmo.bilm.directions.parameters()),
        elmo.bilm.character_encoder.characters.weight,
    ]
    weights = torch.linspace(-1, 1, 12, dtype=torch.double)

    def loss() -> Tensor:
        return (first(elmo, ids) * weights).sum()

    loss().backward()
    for parameter in parameters:
        place = np.unravel_index(int(parameter.grad.abs().argmax()), parameter.shape)
        with torch.no_grad():
            values = []
            for change in (1e-6, -2e-6):
                parameter[place] += change
                values.append(float(loss()))
            parameter[place] += 1e-6
        np.testing.assert_allclose(
            float(parameter.grad[place]), (values[0] - values[1]) / 2e-6, rtol=1e-5
        )


def test_packed_weights_are_never_stale(model: Path):
    ids = batch_to_ids(SENTENCES)
    elmo = Elmo(model=model, dropout=0)
    seen = [first(elmo, ids).detach()]

    def check_changed() -> None:
        frozen = first(elmo, ids).detach()
        elmo.bilm.requires_grad_(True)
        assert_near(frozen, first(elmo, ids).detach(), atol=1e-6)
        elmo.bilm.requires_grad_(False)
        assert all((frozen - before).abs().max() > 1e-4 for before in seen)
        seen.append(frozen)

    elmo.bilm.requires_grad_(True)  # thawed after it was made
    optimizer = torch.optim.SGD(elmo.bilm.parameters(), lr=0.1)
    (first(elmo, ids) ** 2).mean().backward()
    optimizer.step()
    with torch.no_grad():
        assert_near(first(elmo, ids), first(elmo.requires_grad_(False), ids), atol=1e-6)
    check_changed()
    for parameter in elmo.bilm.parameters():
        parameter.data.mul_(0.9)  # leaves no trace in its version
    check_changed()
    elmo.load_state_dict({name: 0.8 * value for name, value in elmo.state_dict().items()})
    check_changed()


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda elmo: pickle.loads(pickle.dumps(elmo))],  # noqa: S301
    ids=["deepcopy", "pickle"],
)
def test_copies_are_their_own(model: Path, copied: Callable[[Elmo], Elmo]):
    ids, elmo = batch_to_ids(SENTENCES), Elmo(model=model, dropout=0)
    before = first(elmo, ids).detach()
    other = copied(elmo)
    assert torch.equal(first(other, ids), before)
    other.load_state_dict({name: 0.5 * value for name, value in other.state_dict().items()})
    assert torch.equal(first(elmo, ids), before)
    assert (first(other, ids) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-6), (torch.float16, 2e-2), (torch.bfloat16, 2e-1)]
)
def test_other_types_give_the_same_representations_in_their_type(
    model: Path, elmo: Elmo, dtype: torch.dtype, atol: float
):
    ids = batch_to_ids(SENTENCES)
    other = Elmo(model=model, dropout=0).to(dtype)
    found = first(other, ids)
    assert found.dtype == dtype
    assert_near(found.detach().double(), first(elmo, ids).detach(), atol)


def test_dropout_is_for_training_alone(model: Path):
    elmo, ids = Elmo(model=model), batch_to_ids(SENTENCES)
    kept = first(elmo, ids)[elmo(ids)["mask"]]
    assert 0.3 < float((kept == 0).float().mean()) < 0.7
    elmo.eval()
    assert torch.equal(first(elmo, ids), first(elmo, ids))


def test_a_trained_allennlp_models_parameters_are_taken(tmp_path: Path, model: Path):
    folder = make_model(tmp_path / "trained", seed=7)
    task = nn.ModuleDict({"embedder": Elmo(model=model, dropout=0)})
    theirs = module_tensors(folder / "weights.hdf5", "embedder._elmo_lstm.")
    mix = {
        f"embedder.scalar_mix_0.scalar_parameters.{i}": torch.tensor([0.3 * i]) for i in range(3)
    }
    task.load_state_dict({**theirs, **mix, "embedder.scalar_mix_0.gamma": torch.tensor([0.5])})
    ids = batch_to_ids(SENTENCES)
    expected = Elmo(model=folder, dropout=0, scalar_mix_parameters=[0, 0.3, 0.6])
    assert_near(first(task["embedder"], ids), 0.5 * first(expected, ids).detach())
    with pytest.raises(ElmoError, match="the state dict: "):
        task.load_state_dict(
            {name: value for name, value in theirs.items() if "forward_layer_1" not in name}
        )


def test_a_saved_bilm_and_its_mix_are_what_elmo_embed_takes(tmp_path: Path, model: Path):
    elmo, ids = Elmo(model=model, dropout=0, requires_grad=True), batch_to_ids(SENTENCES)
    optimizer = torch.optim.SGD(elmo.parameters(), lr=0.1)
    (first(elmo, ids) ** 2).sum().backward()
    optimizer.step()
    elmo.save(tmp_path / "tuned")
    torch.save(elmo.state_dict(), tmp_path / "mix.pt")
    mix = read_mix(str(tmp_path / "mix.pt"), 3)
    assert_near(
        mix(ElmoEmbedder(model=tmp_path / "tuned").embed_sentence(SENTENCES[2])),
        first(elmo, ids).detach()[2],
        atol=1e-5,
    )
    with pytest.raises(OutputError, match="exists already"):
        elmo.save(tmp_path / "tuned")


def test_what_is_not_supported_is_refused_with_a_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ELMO_MODEL", raising=False)
    for options, words in [
        ({"model": model, "vocab_to_cache": ["a"]}, "vocab_to_cache is not needed"),
        ({"module": nn.Identity()}, "module= is not supported"),
        ({}, 'model="original"'),
    ]:
        with pytest.raises(ElmoError, match=words):
            Elmo(**options)
    with pytest.raises(ElmoError, match="does not take models of ELMoForManyLangs"):
        Elmo(model=make_efml(tmp_path / "efml"))
    with pytest.raises(ElmoError, match="not built from AllenNLP's configuration"):
        Elmo.from_params({"options_file": "x"})


def test_ids_of_another_kind_are_refused(elmo: Elmo):
    ids = batch_to_ids(SENTENCES)
    for given in (SENTENCES, ids.float()):
        with pytest.raises(TypeError, match="batch_to_ids"):
            elmo(given)
    with pytest.raises(
        ValueError, match=r"shape \(sentence, token, 50\), but these have \(3, 5, 40\)"
    ):
        elmo(ids[..., :40])
    with pytest.raises(ValueError, match="between 0 and 261"):
        elmo(ids + 1)
    with pytest.raises(ValueError, match="pad sentences at their end"):
        elmo(ids.flip(1))
    with pytest.raises(TypeError, match="a sentence is a sequence"):
        batch_to_ids(["the cat"])
