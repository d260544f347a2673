"""What is committed for the bundled model is what a run makes: tables within rounding, figures all there."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import paths, pipeline
from helpers.command import options
from helpers.judging import claims, runs, scoreboard

SLUGS = [options.slug_of(notebook) for notebook in options.experiment_notebooks()]
COMMITTED = paths.ROOT / "results"
TABLES = sorted(f"{of}/{file.name}" for of in ("pocket", "pocket@untrained") for file in (COMMITTED / of).glob("*.csv"))
BY_LAYER = runs.SLUGS
SHARES = ("relative_accuracy", "top1_agreement", "accuracy", "right_to_wrong", "wrong_to_right")


@pytest.fixture(scope="module")
def fresh(notebooks_output):
    """What this code makes: what the notebooks of this session have left; a run makes what is missing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(paths.OUTPUT_VARIABLE, str(notebooks_output))
        missing = [slug for slug in SLUGS if not (paths.results("pocket") / f"{slug}.csv").exists()]
        if missing:
            assert pipeline.main(["--only", ",".join(missing)]) == 0
        scoreboard.save("pocket")
    return notebooks_output


@pytest.mark.parametrize("table", TABLES)
def test_the_committed_table_is_what_a_run_computes(table, fresh):
    committed, recomputed = (_comparable(pd.read_csv(folder / table)) for folder in (COMMITTED, fresh / "results"))
    assert list(committed) == list(recomputed)
    if "point" in committed:  # the checkpoints are not run in this session
        committed = committed[committed["point"].isin(recomputed["point"])].reset_index(drop=True)
    by_layer = Path(table).stem in BY_LAYER
    n_predictions = 24 * 254
    for column in committed:
        if column.startswith("n_") or not pd.api.types.is_float_dtype(committed[column]):
            pd.testing.assert_series_equal(recomputed[column], committed[column])
            continue
        tolerance = {"atol": 1e-4, "rtol": 1e-4}  # of five significant digits the last may differ by one
        if not by_layer:  # a few sequences, or the folds of a probe: one flipped guess moves these more
            tolerance = {"atol": 1e-2, "rtol": 1e-2}
        elif column.startswith("accuracy_ratio"):  # a share of the correct predictions, not of all
            tolerance["atol"] = 2 / (n_predictions * committed["accuracy_intact"].clip(lower=2 / n_predictions).min())
        elif column.startswith(SHARES):
            tolerance["atol"] = 2 / n_predictions
        np.testing.assert_allclose(recomputed[column], committed[column], err_msg=column, **tolerance)


def _comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Of what is judged only the firm verdicts: where the peak of a flat curve lies is a matter of rounding."""
    if "share_true" not in table:
        return table
    firm = table["verdict"] != claims.UNDECIDED
    return table.loc[firm].filter(["claim", "verdict", "statistic"]).reset_index(drop=True)


def test_every_experiment_has_a_committed_table_and_the_papers_five_one_of_the_twins():
    expected = {f"pocket/{slug}.csv" for slug in SLUGS}
    expected |= {f"pocket@untrained/{slug}.csv" for slug in BY_LAYER}
    assert expected <= set(TABLES)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_committed_figures_are_all_that_a_run_makes(slug, fresh):
    made = {path.name for path in (fresh / "figures" / "pocket").glob(f"{slug}*")}
    committed = {path.name for path in (paths.ROOT / "figures" / "pocket").glob(f"{slug}*")}
    assert {f"{slug}.png", f"{slug}.svg"} <= made == committed


def test_only_outputs_of_the_bundled_model_are_tracked_by_git():
    command = ["git", "-C", str(paths.ROOT), "ls-files", "results", "figures"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("not a git checkout")
    assert result.stdout
    for tracked in result.stdout.split():
        folder, model, file = tracked.split("/")
        assert model.split("@")[0] == "pocket"
        assert file.endswith(".csv" if folder == "results" else (".png", ".svg"))
