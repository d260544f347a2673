"""The tuned lens finds what an affine map can, and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import some_tokens

from helpers import lens, metrics, models
from helpers.beyond import fits, translators, tuned_lens
from helpers.engine import streams

PLAIN = list(translators.MEASURES)
TUNED = [f"{name}_tuned" for name in PLAIN]


def affine_from(bridge, first: int):
    """Hooks that make every block from ``first`` + 1 on a fixed affine map of what leaves block ``first``."""
    generator, d_model = torch.Generator().manual_seed(0), bridge.cfg.d_model
    left: list[torch.Tensor] = []

    def keep(residual, hook):
        left[:] = [residual.clone()]

    def mapped(matrix, shift):
        def replace(residual, hook):
            left[:] = [left[0] @ matrix + shift]
            return left[0].clone()

        return replace

    hooks = [(f"blocks.{first}.hook_out", keep)]
    for layer in range(first + 1, bridge.cfg.n_layers):
        matrix = torch.randn(d_model, d_model, generator=generator) / d_model**0.5
        hooks.append((f"blocks.{layer}.hook_out", mapped(matrix, torch.randn(d_model, generator=generator))))
    return hooks


def means(table: pd.DataFrame) -> pd.DataFrame:
    return table.groupby("layer").mean()


def test_planted_yes_where_the_rest_is_affine_the_tuned_lens_sees_the_end(bridges):
    """From row 2 on everything is there, in another language each time; the plain lens sees nothing of it."""
    bridge, tokens = bridges["llama"], some_tokens(n_sequences=12, context=60)
    with bridge.hooks(fwd_hooks=affine_from(bridge, first=1)):
        table = tuned_lens.sweep(bridge, tokens)
    kl = means(table)
    assert kl.loc[2:, "kl_nats_tuned"].max() < 1e-3
    assert kl.loc[2:3, "kl_nats"].min() > 0.5
    assert kl.loc[1, "kl_nats_tuned"] > tuned_lens.LEAST_NATS
    judged = tuned_lens.judge(table)
    assert judged["verdict"].tolist() == ["holds", "does not hold", "holds"]
    assert judged.loc["tuned lens", "statistic"] == pytest.approx(0.5 / 3, abs=1e-3)


def test_planted_no_rows_that_hold_nothing_stay_as_far_as_the_best_guess_without_them(bridges):
    """The last block writes noise of its own: no map of an earlier row beats the mean prediction of the judged half."""
    bridge, tokens = bridges["llama"], some_tokens(n_sequences=12, context=60)
    generator = torch.Generator().manual_seed(1)
    finals = []

    def noise(residual, hook):
        finals.append(torch.randn(residual.shape, generator=generator))
        return finals[-1].clone()

    with bridge.hooks(fwd_hooks=[("blocks.3.hook_out", noise)]):
        table = tuned_lens.sweep(bridge, tokens)
    judged_finals = finals[-1][:, 1:-1].flatten(0, 1)
    assert len(judged_finals) == 6 * 58
    log_p = (bridge.ln_final(judged_finals) @ bridge.W_U + bridge.b_U).log_softmax(-1)
    knowing_nothing = (log_p.exp() * (log_p - log_p.exp().mean(0).log())).sum(-1).mean().item()
    kl = means(table)
    assert knowing_nothing > 0.4
    assert kl.loc[:3, "kl_nats_tuned"].min() >= 0.99 * knowing_nothing
    assert kl.loc[4, "kl_nats_tuned"] < 1e-5
    judged = tuned_lens.judge(table)
    assert judged["verdict"].tolist()[1:] == ["holds", "does not hold"]


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_the_plain_columns_are_the_lens_on_the_second_half(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens(n_sequences=5, context=20)
    table = tuned_lens.sweep(bridge, tokens, batch_size=2).set_index(["sequence", "layer"]).sort_index()
    expected = lens.sweep(bridge, tokens).set_index(["sequence", "layer"]).sort_index()
    assert table.index.get_level_values("sequence").unique().tolist() == [2, 3, 4]
    assert (table[PLAIN] - expected.loc[[2, 3, 4], PLAIN]).abs().max(axis=None) < 1e-4
    last = table.xs(bridge.cfg.n_layers, level="layer")
    assert (last[PLAIN].to_numpy() == last[TUNED].to_numpy()).all()


@pytest.mark.parametrize("kind", ["neox_parallel", "llama"])
def test_tuned_columns_are_the_models_own_exit_on_translated_rows(kind, bridges):
    """Slowly: one sequence at a time, logits of the whole vocabulary, the plain definitions."""
    bridge, tokens = bridges[kind], some_tokens(n_sequences=6, context=30)
    table = tuned_lens.sweep(bridge, tokens).set_index(["sequence", "layer"])
    fitting = translators.Residuals.of(bridge, tokens[:3])
    for layer in range(bridge.cfg.n_layers):
        affine = translators.fit(fitting, layer)
        for sequence in (3, 5):
            one = tokens[sequence : sequence + 1]
            residual = bridge(one, stop_at_layer=layer, use_cache=False)[0, 1:-1]
            logits = bridge.unembed(bridge.ln_final(affine(residual)))
            final = bridge(one, use_cache=False)[0, 1:-1]
            row = table.loc[(sequence, layer)]
            expected = metrics.kl_divergence(final, logits), metrics.entropy_bits(logits)
            assert row[TUNED[:2]].tolist() == pytest.approx([each.mean().item() for each in expected], rel=1e-3)
            assert row[TUNED[2]] == pytest.approx(
                metrics.top1_agreement(final, logits).double().mean().item(), abs=0.04
            )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_adam_begins_with_the_regression_and_never_leaves_more_kl(kind, bridges, monkeypatch):
    """The rows of this gpt2 are affine in one another but for little: nothing is left to gain."""
    residuals = translators.Residuals.of(bridges[kind], some_tokens(n_sequences=8, context=60))
    x, final = residuals.row(2), residuals.row(-1)
    regression = fits.fit_affine(x, final / final.square().mean().sqrt())
    kl = {}
    for rounds in (0, 3):
        monkeypatch.setattr(translators, "ROUNDS", rounds)
        kl[rounds] = residuals.measures(translators.fit(residuals, 2)(x))["kl_nats"].mean().item()
    assert kl[0] == pytest.approx(residuals.measures(regression(x))["kl_nats"].mean().item(), rel=1e-3)
    assert kl[3] < 0.99 * kl[0] if kind == "llama" else kl[3] == pytest.approx(kl[0], rel=1e-3)


def test_what_is_differentiated_is_the_kl_but_for_a_constant(bridges):
    bridge, tokens = bridges["phi"], some_tokens(n_sequences=3, context=20)
    residuals = translators.Residuals.of(bridge, tokens)
    places, width = torch.tensor([0, 7, 30]), bridge.cfg.d_model
    maps = [torch.eye(width) + scale * torch.ones(width, width).tril() for scale in (0.0, 0.3)]
    bias, x = torch.arange(width) / width, residuals.row(2)
    losses = [residuals.cross_entropy(matrix, bias, x[places], places).item() for matrix in maps]
    kls = [residuals.measures(x @ matrix + bias)["kl_nats"][places].mean().item() for matrix in maps]
    assert abs(kls[1] - kls[0]) > 1e-2
    assert losses[1] - losses[0] == pytest.approx(kls[1] - kls[0], rel=1e-3)


def test_half_precision_is_fitted_in_float32(bridges, checkpoints):
    half, tokens = models.load(str(checkpoints["neox_parallel"]), dtype="bfloat16"), some_tokens(6, 30)
    exact, rounded = (means(tuned_lens.sweep(bridge, tokens)) for bridge in (bridges["neox_parallel"], half))
    assert rounded["kl_nats"].tolist() == pytest.approx(exact["kl_nats"].tolist(), rel=0.05, abs=0.05)
    assert np.isfinite(rounded).all(axis=None)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        ([9, 4, 3, 2, 1, 0], 0.5),  # a straight line from row 1 on
        ([9, 4, 4, 4, 4, 0], 0.875),  # nothing before the last step
        ([9, 4, 0, 0, 0, 0], 0.125),
        ([1, 4, 5, 3, 2, 0], 0.75),  # a rise does not count
        ([9, 4, 1, 4, 4, 0], 1 / 6),  # for the first time
    ],
)
def test_the_depth_of_half_is_where_a_straight_line_between_rows_crosses_it(kl, expected):
    kl = np.array([kl, np.multiply(kl, 2.5)], float)
    assert tuned_lens.depth_of_half(kl).tolist() == pytest.approx([expected] * 2)
    fine = np.linspace(0, 1, 100_001)
    crossing = fine[np.interp(fine, np.linspace(0, 1, 5), kl[0, 1:]) <= 2.0 + 1e-9][0]
    assert crossing == pytest.approx(expected, abs=1e-4)


def curves(plain: list[float], tuned: list[float], n_sequences: int = 12) -> pd.DataFrame:
    """Rows of sequences that differ a little in height, but not in shape."""
    rows = pd.DataFrame({"layer": range(len(plain)), "kl_nats": plain, "kl_nats_tuned": tuned})
    each = [rows.assign(sequence=n) * [1, 1 + n / 100, 1 + n / 100, 1] for n in range(n_sequences)]
    return pd.concat(each, ignore_index=True).astype({"layer": int, "sequence": int})


@pytest.mark.parametrize(
    ("tuned", "verdicts"),
    [
        ([4.0, 3.0, 3.0, 3.0, 3.0, 0.0], ["holds", "holds", "does not hold"]),
        ([4.0, 2.0, 1.0, 0.5, 0.2, 0.0], ["holds", "does not hold", "holds"]),
        ([4.0, 0.05, 0.04, 0.03, 0.02, 0.0], ["undecided"] * 3),
    ],
    ids=["stays", "was a matter of language", "nothing left"],
)
def test_verdicts_on_planted_curves(tuned, verdicts):
    judged = tuned_lens.judge(curves([5.0, 4.0, 4.0, 4.0, 3.5, 0.0], tuned))
    assert judged["verdict"].tolist() == verdicts
    assert judged["holds if"].tolist() == ["at least 0.6", "at least 0.6", "at most -0.1"]


def test_a_small_difference_is_not_worth_a_verdict():
    """Ten in a hundred of the way or nothing: 0.05 earlier does not hold, however sure it is."""
    judged = tuned_lens.judge(curves([5.0, 4.0, 4.0, 3.0, 1.0, 0.0], [5.0, 4.0, 4.0, 2.6, 1.0, 0.0]))
    assert -0.1 < judged.loc["tuned minus plain", "statistic"] < 0
    assert judged.loc["tuned minus plain", "verdict"] == "does not hold"


def test_the_halves_are_disjoint_in_order_and_bounded(monkeypatch):
    tokens = torch.zeros(11, 12, dtype=torch.long)
    assert [half.tolist() for half in tuned_lens.halves(tokens)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10]]
    monkeypatch.setattr(tuned_lens, "PLACES", 30)
    assert [half.tolist() for half in tuned_lens.halves(tokens)] == [[0, 1, 3], [5, 7, 9]]


def test_one_sequence_leaves_nothing_to_fit_on_and_nothing_is_decided(bridges):
    table = tuned_lens.sweep(bridges["llama"], some_tokens(n_sequences=1))
    assert table["kl_nats"].notna().all()
    assert table["kl_nats_tuned"].isna().tolist() == [True, True, True, True, False]
    judged = tuned_lens.judge(table)
    assert judged["verdict"].tolist()[1:] == ["undecided", "undecided"]


def test_a_row_is_normalised_as_the_model_does(bridges):
    for kind in ("gpt2", "llama"):
        residual = streams.final_residual(bridges[kind], some_tokens())
        found = translators.normalised(bridges[kind], residual)
        torch.testing.assert_close(found, bridges[kind].ln_final(residual), rtol=1e-4, atol=1e-4)
