"""Planted labels are found where they were planted, nothing leaks between words, and verdicts need evidence."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from helpers import figures, stats
from helpers.beyond import feature_engineering, feature_verdicts
from helpers.beyond.word_tasks import PART_OF_SPEECH, WORD_SENSE, Task
from helpers.judging import claims
from helpers.text import annotated_text

N_WORDS, PER_WORD, WIDTH = 60, 8, 12


def noise(n_rows: int, seed: int) -> np.ndarray:
    shape = (n_rows, N_WORDS * PER_WORD, WIDTH)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def words() -> np.ndarray:
    return np.repeat([f"word{number:02d}" for number in range(N_WORDS)], PER_WORD)


def tags_task(strengths: list[float], seed: int = 0) -> Task:
    """Three tags; in row l, tag t shifts feature t by ``strengths[l]``."""
    tags = np.random.default_rng(seed).integers(3, size=N_WORDS * PER_WORD)
    features = noise(len(strengths), seed)
    features[:, np.arange(len(tags)), tags] += np.array(strengths, np.float32)[:, None]
    return Task(PART_OF_SPEECH, features, np.array(["ADJ", "NOUN", "VERB"])[tags], words(), words())


def senses_task(strengths: list[float], seed: int = 1) -> Task:
    """Half the pairs of each word are alike, and have larger features in row l by ``strengths[l]``."""
    same = np.tile([True, False], N_WORDS * PER_WORD // 2)
    features = noise(len(strengths), seed) + np.array(strengths, np.float32)[:, None, None] * same[None, :, None]
    return Task(WORD_SENSE, features, same, words(), words(), similarity=features.sum(-1))


def summary(task: Task) -> pd.DataFrame:
    return feature_engineering.summarise(feature_engineering.predict(task)).set_index(["probe", "layer"])


def test_planted_tags_are_read_off_their_row_and_noise_is_at_chance():
    table = summary(tags_task([0, 8, 0]))
    assert table["chance"].tolist() == pytest.approx([1 / 3] * 6)
    assert table.loc[("logistic", 1), "balanced_accuracy"] > 0.99
    at_chance = table.drop(("logistic", 1))
    assert at_chance["balanced_accuracy"].tolist() == pytest.approx([1 / 3] * len(at_chance), abs=0.09)
    assert ("shuffled", 1) in at_chance.index
    assert table["auc"].isna().all()  # a tag is no question of yes or no


def test_planted_senses_are_read_off_their_row_and_noise_is_at_chance():
    table = summary(senses_task([0, 3, 0]))
    for probe in ("logistic", "cosine"):
        assert table.loc[(probe, 1), "auc"] > 0.99
    assert table.loc[("logistic", 1), "balanced_accuracy"] > 0.97
    assert table.loc["cosine", "balanced_accuracy"].isna().all()
    at_chance = table.drop([("logistic", 1), ("cosine", 1)])
    assert at_chance["auc"].tolist() == pytest.approx([0.5] * len(at_chance), abs=0.1)


def test_features_that_are_smaller_for_the_same_sense_fool_the_cosine_and_not_the_probe():
    table = summary(senses_task([-3, -3]))
    assert table.loc[("cosine", 1), "auc"] < 0.01
    assert table.loc[("logistic", 1), "auc"] > 0.99


def test_what_marks_a_word_does_not_help_with_another():
    """Every word has one tag, and one feature that is its own: a probe could only know it by heart."""
    tags = np.repeat(np.random.default_rng(0).permutation(N_WORDS) % 3, PER_WORD)
    features = np.repeat(np.eye(N_WORDS, dtype=np.float32), PER_WORD, axis=0)[None]
    task = Task(PART_OF_SPEECH, features, np.array(["ADJ", "NOUN", "VERB"])[tags], words(), words())
    assert summary(task).loc[("logistic", 0), "balanced_accuracy"] < 1 / 3 + 0.1
    seen_before = Task(PART_OF_SPEECH, features, task.labels, words(), np.arange(N_WORDS * PER_WORD))
    assert summary(seen_before).loc[("logistic", 0), "balanced_accuracy"] > 0.99


def test_shuffled_senses_stay_balanced_within_every_word():
    answers = feature_engineering.predict(senses_task([0, 0]))
    shuffled = answers[answers["probe"] == "shuffled"]
    assert (shuffled.groupby(["layer", "word"])["label"].value_counts() == PER_WORD / 2).all()
    by_row = shuffled.pivot(index="example", columns="layer", values="label")
    assert (by_row[0] != by_row[1]).any() and (
        by_row[0] != answers[answers["probe"] == "cosine"].iloc[0]["label"]
    ).any()


@pytest.mark.parametrize("make", [tags_task, senses_task])
def test_intervals_are_those_of_a_slow_bootstrap_over_words(make, monkeypatch):
    monkeypatch.setattr(stats, "RESAMPLES", 60)
    task = make([0.5, 1.0])
    answers = feature_engineering.predict(task, seed=3)
    answers = answers[(answers["probe"] == "logistic") & (answers["layer"] == 1)].reset_index(drop=True)
    table = feature_engineering.summarise(answers, seed=3).iloc[0]
    right, names = answers["correct"].to_numpy() == 1, np.unique(task.words)
    classes = sorted(set(task.labels))
    others = np.array([classes[classes.index(label) - 1] for label in task.labels])  # any wrong answer
    of_word = {name: np.flatnonzero(task.words == name) for name in names}
    if task.name == WORD_SENSE:
        own = {name: roc_auc_score(task.labels[some], answers["score"][some]) for name, some in of_word.items()}
    accuracies, aucs = [], []
    for draw in np.random.default_rng(3).integers(len(names), size=(60, len(names))):
        examples = np.concatenate([of_word[name] for name in names[draw]])
        accuracies.append(
            balanced_accuracy_score(task.labels[examples], np.where(right, task.labels, others)[examples])
        )
        if task.name == WORD_SENSE:
            aucs.append(np.mean([own[name] for name in names[draw]]))
    for measure, values in (("balanced_accuracy", accuracies), ("auc", aucs)):
        if values:
            expected = np.percentile(values, [2.5, 97.5]).tolist()
            assert table[[f"{measure}_low", f"{measure}_high"]].tolist() == pytest.approx(expected)
            assert table[f"{measure}_low"] < table[measure] < table[f"{measure}_high"]


def both(tags: list[float], senses: list[float]) -> pd.DataFrame:
    tasks = tags_task(tags), senses_task(senses)
    return pd.concat([feature_engineering.predict(task) for task in tasks], ignore_index=True)


EARLY, LATE = [0, 2, 3, 2, 1, 0.5, 0.2, 0.1, 0.1, 0.1], [0, 0.1, 0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 1]
RAMP = [0.15 * row for row in range(10)]
MIDDLE, NOTHING = [0, 0, 0.2, 0.5, 0.9, 0.9, 0.5, 0.2, 0, 0], [0] * 10


def falling(last: float) -> pd.DataFrame:
    """An entropy that is 10 bits up to the fifth row and falls from there to ``last``."""
    bits = np.interp(np.arange(10), [0, 5, 9], [10, 10, last])
    return pd.DataFrame(
        [{"layer": row, "word": word, "entropy_bits": bits[row]} for row in range(10) for word in set(words())]
    )


@pytest.mark.parametrize(("tags", "senses", "verdict"), [(EARLY, LATE, claims.HOLDS), (LATE, EARLY, "does not hold")])
def test_the_order_of_planted_peaks_is_found(tags, senses, verdict):
    order = feature_verdicts.order(both(tags, senses))
    assert order["sense_by"].tolist() == ["logistic", "cosine"]
    assert order["verdict"].tolist() == [verdict] * 2
    assert order["part_of_speech"].tolist() == pytest.approx([np.argmax(tags) / 9] * 2, abs=0.12)
    assert order["word_sense"].tolist() == pytest.approx([np.argmax(senses) / 9] * 2, abs=0.15)


@pytest.mark.parametrize(
    ("tags", "senses", "absent"),
    [
        (EARLY, NOTHING, "word_sense"),
        (NOTHING, LATE, "part_of_speech"),
        (NOTHING, NOTHING, "part_of_speech is not told"),
    ],
)
def test_nothing_is_said_about_the_order_of_noise(tags, senses, absent):
    order = feature_verdicts.order(both(tags, senses))
    assert order["verdict"].tolist() == [claims.UNDECIDED] * 2
    assert order["reason"].str.startswith(absent).all()


def paper(senses: list[float], last: float = 1) -> pd.DataFrame:
    predictions = feature_engineering.predict(senses_task(senses), with_shuffled=False)
    return feature_verdicts.word_in_context(predictions, falling(last)).set_index("claim")


def test_a_planted_peak_in_the_middle_holds_and_the_entropy_there_is_still_high():
    verdicts = paper(MIDDLE)
    assert verdicts["verdict"].tolist() == [claims.HOLDS] * 2
    assert verdicts["depth"].tolist() == pytest.approx([4 / 9] * 2, abs=0.08)
    assert verdicts.loc[feature_verdicts.STILL_HIGH, "statistic"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("senses", "verdict"), [(EARLY, claims.DOES_NOT_HOLD), (RAMP, claims.DOES_NOT_HOLD), (NOTHING, "undecided")]
)
def test_a_peak_at_an_end_is_none_of_the_middle_and_noise_is_undecided(senses, verdict):
    verdicts = paper(senses)
    assert verdicts.loc[feature_verdicts.PEAK, "verdict"] == verdict
    assert verdicts.loc[feature_verdicts.STILL_HIGH, "verdict"] == claims.UNDECIDED
    assert ("not told by more than 0.02 above chance" in verdicts.loc[feature_verdicts.PEAK, "reason"]) == (
        senses == NOTHING
    )


def test_the_share_of_the_fall_that_is_left_is_read_between_rows():
    entropy = np.array([[99, 10, 8, 4, 6.0], [0, 5, 5, 5, 5]])
    left = feature_verdicts.entropy_left(entropy, np.array([0.625, 0.5]))
    assert left[0] == pytest.approx((6 - 4) / (10 - 4)) and np.isnan(left[1])


def test_an_entropy_that_has_passed_its_low_has_nothing_left_to_fall():
    entropy = np.array([[9, 8, 2, 4, 6.0], [9, 8, 2, 4, 3.0]])
    left = feature_verdicts.entropy_left(entropy, np.array([0.75, 0.75]))
    assert left.tolist() == pytest.approx([0, (4 - 3) / (8 - 2)])


def test_halves_are_those_of_words_chosen_by_hand():
    answers = feature_engineering.predict(senses_task([0.5, 1, 0.2]), with_shuffled=False)
    answers = answers[answers["probe"] == "logistic"]
    halves = feature_engineering.in_halves(feature_engineering.resampled_accuracy, answers, seed=4)
    names, sides = np.unique(words()), np.random.default_rng(4).permutation(N_WORDS) % 2
    for side in (0, 1):
        of_half = answers[answers["word"].isin(names[sides == side])]
        for row, some in of_half.groupby("layer"):
            expected = some.groupby("label")["correct"].mean().mean()
            assert halves.estimate[side, row] == pytest.approx(expected)


def test_words_with_one_label_only_do_not_count_for_the_auc():
    answers = feature_engineering.predict(senses_task([0.5, 1]), with_shuffled=False)
    answers = answers[answers["probe"] == "cosine"].copy()
    two_kinds = feature_engineering.resampled_auc(answers[answers["word"] != "word00"], 0).estimate
    answers.loc[answers["word"] == "word00", "label"] = "True"
    found = feature_engineering.resampled_auc(answers, 0)
    assert found.estimate.tolist() == pytest.approx(two_kinds.tolist()) and found.is_finite


def test_the_entropys_interval_is_over_words():
    entropy = falling(1).assign(entropy_bits=lambda rows: rows["entropy_bits"] + rows["word"].str[-2:].astype(int))
    table = feature_engineering.summarise_entropy(entropy)
    by_row = entropy.groupby("layer")["entropy_bits"]
    assert table["entropy_bits"].tolist() == pytest.approx(by_row.mean().tolist())
    error = by_row.std() / N_WORDS**0.5
    width = (table["entropy_bits_high"] - table["entropy_bits_low"]).to_numpy() / (2 * 1.96 * error)
    assert width.tolist() == pytest.approx([1] * 10, abs=0.1)


def test_a_probe_that_could_not_be_trained_leaves_empty_cells():
    task = tags_task([8, 8])
    few = Task(
        task.name, task.features[:, :16], task.labels[:16], task.words[:16], task.groups[:16]
    )  # two words, five folds
    table = summary(few)
    assert table[["balanced_accuracy", "balanced_accuracy_low", "auc"]].isna().all(axis=None)
    assert len(table) == 4


@pytest.mark.slow
def test_the_bundled_model_on_the_bundled_sentences(bridges):
    """The embedding knows no sense, and more of grammar than chance gives; no group is in training and test."""
    data = annotated_text.tagged_sentences().head(60), annotated_text.sense_pairs()
    answers = feature_engineering.sweep(bridges["pocket"], *data, context=256)
    for _, some in answers[answers["task"] == PART_OF_SPEECH].groupby(["layer", "probe"]):
        assert some["correct"].notna().all()
    table = feature_engineering.summarise(answers).set_index(["task", "probe", "layer"])
    embedding = table.loc[(WORD_SENSE, "logistic", 0)]
    bounds = embedding[["balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"]]
    assert bounds.tolist() == pytest.approx([0.5] * 3)
    assert table.loc[(WORD_SENSE, "cosine", 0), ["auc", "auc_low", "auc_high"]].tolist() == [0.5] * 3
    tags = table.loc[(PART_OF_SPEECH, "logistic", 0)]
    assert tags["balanced_accuracy_low"] > tags["chance"]
    assert set(table.index.get_level_values("layer")) == set(range(bridges["pocket"].cfg.n_layers + 1))


def test_the_figure_shows_the_table_the_entropy_and_the_twin_in_grey():
    plt.switch_backend("agg")
    table, twin = (
        feature_engineering.summarise(both(EARLY, senses)).assign(model="toy", depth=lambda rows: rows["layer"] / 9)
        for senses in (LATE, EARLY)
    )
    entropy = feature_engineering.summarise_entropy(falling(1)).assign(depth=lambda rows: rows["layer"] / 9)
    shown = [(PART_OF_SPEECH, "balanced_accuracy"), (WORD_SENSE, "balanced_accuracy"), (WORD_SENSE, "auc")]
    for control in (None, twin):
        figure = figures.feature_engineering(table, entropy, control)
        assert len(figure.axes) == 4
        for number, (ax, (task, column)) in enumerate(zip(figure.axes, shown, strict=False)):
            for source, grey in ((table, False), (twin, True)):
                curves = source[(source["task"] == task) & ~(grey & (source["probe"] == "shuffled"))]
                curves = curves[(curves["probe"] == "cosine") == (number == 2)]
                expected = sorted(rows[column].tolist() for _, rows in curves.groupby("probe"))
                drawn = [line for line in ax.lines if len(line.get_xdata()) == 10]
                drawn = sorted(list(line.get_ydata()) for line in drawn if (line.get_color() == figures.GREY) == grey)
                assert drawn == ([] if grey and control is None else expected)
            assert [1 / 3, 1 / 2][task == WORD_SENSE] in [line.get_ydata()[0] for line in ax.lines]
        (line,) = figure.axes[3].lines
        assert list(line.get_ydata()) == entropy["entropy_bits"].tolist()
    plt.close("all")


def test_a_figure_without_a_cosine_has_one_panel_less():
    plt.switch_backend("agg")
    table = feature_engineering.summarise(both(EARLY, LATE)).assign(model="toy", depth=0.0)
    entropy = feature_engineering.summarise_entropy(falling(1)).assign(depth=0.0)
    assert len(figures.feature_engineering(table[table["probe"] != "cosine"], entropy).axes) == 3
    plt.close("all")
