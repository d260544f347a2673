"""The arithmetic of a model, without its weights, against what PyTorch counts while it runs."""

import checkpoints as kinds
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from helpers import attention, blocks, lens, lesion, models, neurons, norms, paths
from helpers.command import workload
from helpers.command.workload import Run
from helpers.engine import architectures, arithmetic, readout, sources
from helpers.engine.arithmetic import Sizes
from helpers.errors import InputError

PUBLISHED = {  # parameters in millions
    "gpt2": 124.4,
    "gpt2-medium": 354.8,
    "gpt2-large": 774.0,
    "gpt2-xl": 1557.6,
    "pythia-410m": 405.3,
    "pythia-1.4b": 1414.6,
    "pythia-2.8b": 2775.2,
    "pythia-6.9b": 6857.3,
    "pythia-12b": 11846.1,
    "phi-1": 1418.3,
    "phi-1_5": 1418.3,
    "phi-2": 2779.7,
    "llama-3.2-1b": 1235.8,
    "llama-3.2-3b": 3212.7,
    "qwen2.5-0.5b": 494.0,
    "qwen2.5-1.5b": 1543.7,
    "qwen2.5-3b": 3085.9,
    "qwen2.5-14b": 14770.0,
}
TOKENS = kinds.some_tokens(3, 24)


def sizes_of(name: object) -> Sizes:
    return Sizes.of(architectures.skeleton(architectures.config_of(str(name))))


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_model_runs_the_operations_that_its_sizes_say(kind, checkpoints):
    sizes, context = sizes_of(checkpoints[kind]), TOKENS.shape[1]
    model = AutoModelForCausalLM.from_config(kinds.CONFIGS[kind](), attn_implementation="eager")
    masked = sizes.n_layers * arithmetic.attention(sizes, context)  # eager attention computes the half that is hidden
    expected = sizes.n_layers * arithmetic.block(sizes, context) + masked + arithmetic.unembedding(sizes)
    assert counted(lambda: model(TOKENS, use_cache=False)) == TOKENS.numel() * expected


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_walk_runs_n_squared_blocks_and_two_predictions_a_layer(kind, bridges, checkpoints):
    bridge, sizes, context = bridges[kind], sizes_of(checkpoints[kind]), TOKENS.shape[1]
    inputs, unembedding = blocks.record_inputs(bridge, TOKENS), readout.Unembedding.of(bridge)
    hidden = torch.zeros(2 * sizes.n_layers, *TOKENS.shape, sizes.d_model)

    def walk():
        lesion.lesioned_streams(bridge, TOKENS, inputs)
        unembedding.read(hidden, TOKENS.expand(len(hidden), -1, -1))

    not_counted = sizes.n_layers**2 * arithmetic.attention(sizes, context)  # of the fused kernel on a CPU
    assert counted(walk) == TOKENS.numel() * (arithmetic.walk(sizes, context) - not_counted)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_experiments_run_about_what_their_workloads_say(kind, bridges, checkpoints, monkeypatch):
    for constant in ("PER_ACTIVATION", "PER_LOGIT", "PER_COSINE"):  # what is no product is not counted here
        monkeypatch.setattr(workload, constant, 0)
    bridge, run = bridges[kind], Run(sizes_of(checkpoints[kind]), *TOKENS.shape)
    sweeps = {
        lesion.sweep: run.lesions(TOKENS.numel()),
        lens.sweep: run.lens(TOKENS.numel()),
        attention.sweep: run.passes(1, TOKENS.numel()),
        norms.sweep: run.passes(1, TOKENS.numel()),
    }
    for sweep, expected in sweeps.items():
        assert counted(lambda: sweep(bridge, TOKENS)) == pytest.approx(expected, rel=0.2), sweep  # noqa: B023
    assert counted(lambda: neurons.moments(bridge)) == run.moments(run.neurons)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_parameters_are_counted_without_weights_and_once_more_where_folding_parts_them(kind, checkpoints, tmp_path):
    (tmp_path / "config.json").write_bytes((checkpoints[kind] / "config.json").read_bytes())
    sizes, model = sizes_of(tmp_path), AutoModelForCausalLM.from_pretrained(checkpoints[kind])
    assert sizes.n_parameters == model.num_parameters() == models.count_parameters(sources.find(str(checkpoints[kind])))
    is_tied = kind in ("gpt2", "qwen2")
    assert sizes.n_stored - sizes.n_parameters == is_tied * model.get_input_embeddings().weight.numel()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_papers_models_have_as_many_parameters_as_published(name):
    assert sizes_of(name).n_parameters / 1e6 == pytest.approx(PUBLISHED[name], abs=0.06)


def test_every_model_of_the_paper_is_known_by_alias_and_by_id_with_any_revision():
    assert set(architectures.known()) == set(sources.ALIASES.values())
    assert list(PUBLISHED) == list(sources.ALIASES)
    names = ("pythia-410m", "pythia-410m@step3000", "EleutherAI/pythia-410m-deduped@untrained")
    assert len({sizes_of(name) for name in names}) == 1


def test_a_folder_that_is_called_like_an_alias_is_the_folder(checkpoints, tmp_path, monkeypatch):
    (tmp_path / "gpt2").symlink_to(checkpoints["llama"])
    monkeypatch.chdir(tmp_path)
    assert sizes_of("gpt2") == sizes_of(checkpoints["llama"])


def test_a_model_on_the_hub_out_of_reach_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"acme/never-seen .* the Hub cannot be reached.*go online once"):
        sizes_of("acme/never-seen")


def test_a_folder_without_a_usable_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InputError, match="not a causal decoder"):
        sizes_of(tmp_path)


def test_the_bundled_model_is_known():
    assert sizes_of("pocket") == sizes_of(paths.BUNDLED_MODELS / "pocket")
