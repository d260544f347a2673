"""The curves are those of the five experiments; a shuffled text is the same tokens; the shape is judged by ranks."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import some_tokens
from scipy.stats import spearmanr

from helpers import attention, lens, lesion, norms
from helpers.beyond import what_shapes_the_curves
from helpers.judging.claims import DOES_NOT_HOLD, HOLDS, UNDECIDED


def test_curves_are_the_columns_of_the_experiments(bridges):
    bridge, tokens = bridges["neox_parallel"], some_tokens()
    found = what_shapes_the_curves.curves(bridge, tokens).set_index(["curve", "layer", "sequence"])["value"]
    drops = lesion.sweep(bridge, tokens).query("intervention == 'drop'")
    expected = {
        "drop_kl_nats": drops["kl_nats"],
        "drop_agreement": drops["top1_agreement"],
        "attention_share_no_bos": attention.sweep(bridge, tokens)["attention_share_no_bos"],
        "lens_entropy_bits": lens.sweep(bridge, tokens)["entropy_bits"],
        "mlp_to_residual": norms.sweep(bridge, tokens)["mlp_to_residual"],
    }
    for curve, values in expected.items():
        assert sorted(found[curve]) == pytest.approx(sorted(values), abs=1e-6)
    assert set(found.index.get_level_values("curve")) == set(what_shapes_the_curves.CURVES)
    assert found["lens_kl_nats"].index.get_level_values("layer").max() == 4


def test_depth_runs_from_0_to_1_for_blocks_and_for_lens_rows(bridges):
    table = what_shapes_the_curves.summarise(what_shapes_the_curves.curves(bridges["llama"], some_tokens()))
    depths = table.groupby("curve")["depth"].agg(["min", "max", "size"])
    assert (depths["min"] == 0).all() and (depths["max"] == 1).all()
    assert depths.loc["lens_kl_nats", "size"] == 5 and depths.loc["mlp_norm", "size"] == 4


def test_a_shuffled_text_is_the_same_tokens_in_another_order_behind_bos():
    tokens = some_tokens(4, 50)
    found = what_shapes_the_curves.shuffled(tokens, seed=1)
    assert torch.equal(found[:, 0], tokens[:, 0])
    assert torch.equal(found.sort(1).values, tokens.sort(1).values)
    assert ((found != tokens).float().mean(1) > 0.8).all()
    assert torch.equal(found, what_shapes_the_curves.shuffled(tokens, seed=1))
    assert not torch.equal(found, what_shapes_the_curves.shuffled(tokens, seed=2))
    alike = what_shapes_the_curves.shuffled(torch.arange(50).expand(2, 50))
    assert not torch.equal(alike[0], alike[1])


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed):
    one, other = np.random.default_rng(seed).integers(0, 6, (2, 4, 9)).astype(float)
    expected = [spearmanr(*pair).statistic for pair in zip(one, other, strict=True)]
    assert what_shapes_the_curves.rank_correlation(one, other).tolist() == pytest.approx(expected)
    assert np.isnan(what_shapes_the_curves.rank_correlation(one, np.ones((4, 9)))).all()


def rows(values: list[float], noise: float = 0.01) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sequence": sequence,
            "curve": curve,
            "layer": layer,
            "depth": 0.0,
            "value": value + generator.normal(0, noise),
        }
        for curve in what_shapes_the_curves.CURVES
        for layer, value in enumerate(values)
        for sequence in range(12)
    )


U = [9.0, 3.0, 2.0, 1.0, 1.5, 2.5, 4.0]
CASES = {
    "twice as high": ([2 * value for value in U], HOLDS, 2.0),
    "upside down": ([10 - value for value in U], DOES_NOT_HOLD, None),
    "the first layer only": ([9.0, 1.0, 2.0, 3.0, 2.5, 1.5, 0.5], DOES_NOT_HOLD, None),
    "flat": ([1.0] * 7, UNDECIDED, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_shape_is_told_from_another(case):
    values, verdict, level = CASES[case]
    found = what_shapes_the_curves.same_shape(rows(U), rows(values, noise=0.0 if case == "flat" else 0.01))
    assert found["verdict"].tolist() == [verdict] * len(what_shapes_the_curves.CURVES)
    if level:
        assert found["level"].tolist() == pytest.approx([level] * len(found), abs=0.01)
