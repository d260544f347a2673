"""What is committed for the bundled model is what a run makes: tables within rounding, figures all there."""

import subprocess

import numpy as np
import pandas as pd
import pytest

from helpers import options, paths, pipeline

SLUGS = [options.slug_of(notebook) for notebook in options.experiment_notebooks()]
COMMITTED = paths.ROOT / "results"
SHARES = ("top1_agreement", "accuracy", "right_to_wrong", "wrong_to_right")


@pytest.fixture(scope="module")
def fresh():
    """Folder of tables computed by this code: those nbval's run of the notebooks has just left, else a run."""
    results = paths.output() / "results"
    missing = [slug for slug in SLUGS if not (results / "pocket" / f"{slug}.csv").exists()]
    if missing:
        assert pipeline.main(["--only", ",".join(missing)]) == 0
    return results


@pytest.mark.parametrize("model", ["pocket", "pocket@untrained"])
@pytest.mark.parametrize("slug", SLUGS)
def test_the_committed_table_is_what_a_run_computes(slug, model, fresh):
    committed = pd.read_csv(COMMITTED / model / f"{slug}.csv")
    recomputed = pd.read_csv(fresh / model / f"{slug}.csv")
    assert list(committed) == list(recomputed)
    n_predictions = 64 * 254
    for column in committed:
        if column.startswith("n_") or not pd.api.types.is_float_dtype(committed[column]):
            assert (committed[column] == recomputed[column]).all(), column
            continue
        tolerance = {"atol": 1e-4, "rtol": 1e-5}
        if column.startswith(SHARES):
            tolerance["atol"] = 2 / n_predictions
        if column.startswith("relative_accuracy"):  # a share of the correct predictions, not of all
            tolerance["atol"] = 2 / (n_predictions * committed["accuracy_intact"].clip(lower=2 / n_predictions).min())
        np.testing.assert_allclose(recomputed[column], committed[column], err_msg=column, **tolerance)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_committed_figures_are_all_that_a_run_makes(slug, fresh):
    made = {path.name for path in (paths.output() / "figures" / "pocket").glob(f"{slug}*")}
    committed = {path.name for path in (paths.ROOT / "figures" / "pocket").glob(f"{slug}*")}
    assert {f"{slug}.png", f"{slug}.svg"} <= made == committed


def test_only_outputs_of_the_bundled_model_are_tracked_by_git():
    command = ["git", "-C", str(paths.ROOT), "ls-files", "results", "figures"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("not a git checkout")
    for tracked in result.stdout.split():
        folder, model, file = tracked.split("/")
        assert model.split("@")[0] == "pocket"
        assert file.endswith(".csv" if folder == "results" else (".png", ".svg"))
