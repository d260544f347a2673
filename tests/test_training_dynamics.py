"""Checkpoints in the order of training, their verdicts side by side, and since when a claim holds."""

import pandas as pd
import pytest

from helpers import norms, paths, stats, tables
from helpers.beyond import training_dynamics
from helpers.beyond.training_dynamics import AFTER, BEFORE, NEVER, Point
from helpers.errors import InputError
from helpers.judging import claims, scoreboard, twins

N_LAYERS = 6


def run_norms(model: str, last: float) -> None:
    """Leave the tables of an experiment whose last layer's MLP is ``last`` times as loud as the others."""
    rows = [
        {"sequence": sequence, "layer": layer, "mlp_norm": level * (1 + 0.01 * sequence)}
        for sequence in range(10)
        for layer in range(N_LAYERS)
        for level in [last if layer == N_LAYERS - 1 else 1.0]
    ]
    measured = pd.DataFrame(rows)
    for column in ("attention_norm", "residual_norm"):
        measured[column] = 1.0
    for part in ("mlp", "attention"):
        measured[f"{part}_to_residual"] = measured[f"{part}_norm"]
    tables.save(norms.SLUG, model, stats.summarise(measured), measured)


@pytest.fixture
def trained():
    """A run whose last MLP grows loud between its second and its third moment."""
    for model, last in {"m": 3.0, "m@step20": 3.0, "m@step3": 0.5, "other@step1": 3.0, "m@untrained": 0.5}.items():
        run_norms(model, last)


def test_revisions_are_found_and_ordered_by_step(trained):
    assert training_dynamics.revisions("m") == ["step3", "step20"]
    assert training_dynamics.revisions("m", ["m@main", "m@step100", "other@step2"]) == [
        "step3",
        "step20",
        "step100",
        "main",
    ]
    assert training_dynamics.revisions("nothing") == []


@pytest.mark.parametrize(
    "revision, step", [("step1000", 1000), ("stage1-step50-tokens4B", 50), ("v2", 2), ("step_7", 7)]
)
def test_the_step_is_the_number_behind_the_word(revision, step):
    assert training_dynamics.step_of(revision)[0] == step


def test_points_run_from_the_twin_to_the_model_itself(trained):
    along = training_dynamics.points("m")
    assert [point.label for point in along] == [BEFORE, "step3", "step20", AFTER]
    assert [point.model for point in along] == [twins.name("m"), "m@step3", "m@step20", "m"]
    assert training_dynamics.points("m", ["step20"], control="none") == [Point("step20", "m@step20"), Point(AFTER, "m")]


def test_a_model_without_checkpoints_or_twin_is_a_single_point():
    run_norms("alone", 2.0)
    assert training_dynamics.points("alone") == [Point(AFTER, "alone")]


def test_a_checkpoint_that_was_not_run_is_named_with_the_command(trained):
    with pytest.raises(InputError, match=r"m@step7: \./run_all\.sh --model m --checkpoints step7"):
        training_dynamics.points("m", ["step7"])


def test_verdicts_are_those_of_each_model_alone(trained):
    along = training_dynamics.points("m")
    judged = training_dynamics.verdicts(along)
    for point in along:
        alone = scoreboard.evaluate(point.model)
        own = judged[judged["point"] == point.label].reset_index(drop=True)
        pd.testing.assert_frame_equal(own[list(alone)], alone)
    table = training_dynamics.by_point(judged)
    assert list(table) == [point.label for point in along]
    assert set(table.index) == set(judged["wording"])
    assert training_dynamics.by_point(judged, "statistic").shape == table.shape, "what is unknown has its place, too"
    partial = judged.drop(judged.index[-1])
    assert set(table.index) - set(training_dynamics.by_point(partial).index) == {judged["wording"].iloc[-1]}


def test_a_planted_effect_is_dated(trained):
    table = training_dynamics.by_point(training_dynamics.verdicts(training_dynamics.points("m")))
    since = training_dynamics.since(table)
    assert "step20" in set(since), "the loud last MLP"
    assert BEFORE not in set(since[table[BEFORE] != claims.HOLDS])


def test_since_asks_for_an_unbroken_row_to_the_end():
    held, broken, lost = [False, True, True], [True, False, True], [True, True, False]
    table = pd.DataFrame([held, broken, lost, [True] * 3, [False] * 3], columns=list("abc"))
    table = table.replace({True: claims.HOLDS, False: claims.UNDECIDED})
    assert training_dynamics.since(table).to_list() == ["b", "c", NEVER, "a", NEVER]


def test_a_local_folder_and_its_checkpoints_have_one_name(tmp_path, checkpoints):
    model = str(checkpoints["gpt2"])
    run_norms(f"{model}@step5", 1.0)
    assert training_dynamics.revisions(model) == ["step5"]
    assert paths.model_folder(f"{model}@step5").endswith("@step5")
