"""What is written can be read again, in full or not at all."""

import numpy as np
import pandas as pd
import pytest

from helpers import paths, tables
from helpers.errors import InputError


def table_of(*layers: int, **columns) -> pd.DataFrame:
    return pd.DataFrame({"layer": layers, **(columns or {"x": np.sqrt(np.arange(len(layers)) + 2)})})


def files(model: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.results(model).iterdir()}


def test_a_table_is_written_with_five_significant_digits():
    tables.save("slug", "toy", table_of(0, 1, 2, x=[1 / 3, 2e6 / 3, 2e-9 / 3]))
    lines = files("toy")["slug.csv"].decode().splitlines()
    assert lines == ["model,layer,depth,x", "toy,0,0,0.33333", "toy,1,0.5,6.6667e+05", "toy,2,1,6.6667e-10"]


def test_a_loaded_table_is_exactly_the_one_that_saving_returned():
    given = table_of(0, 1, 2, x=[np.pi, np.nan, -1e-7])
    saved = tables.save("slug", "toy", given)
    pd.testing.assert_frame_equal(tables.load("slug", "toy"), saved, rtol=0, atol=0, check_dtype=False)
    pd.testing.assert_series_equal(saved["x"], given["x"], rtol=5e-5, atol=0)
    assert saved["x"][0] == 3.1416


def test_an_unknown_value_is_an_empty_cell():
    tables.save("slug", "toy", table_of(0, 1, x=[np.nan, 1.0]))
    assert files("toy")["slug.csv"].decode().splitlines()[1] == "toy,0,0,"
    assert tables.load("slug", "toy")["x"].isna().tolist() == [True, False]


def test_keys_come_first_and_in_one_order():
    table = pd.DataFrame({"x": [1.0], "intervention": ["drop"], "layer": [0]})
    assert list(tables.with_keys(table, "toy")) == ["model", "layer", "depth", "intervention", "x"]


@pytest.mark.parametrize(
    ("layers", "depths"),
    [
        ([0, 1, 2, 3, 4], [0, 0.25, 0.5, 0.75, 1]),  # five blocks, or the lens rows of four
        ([0, 1], [0, 1]),  # the lens rows of one block
        ([0], [0]),  # one block
        ([0, 1, 2, 0, 1], [0, 0.5, 1, 0, 0.5]),  # drops, then swaps: each at the depth of its first layer
    ],
)
def test_depth_runs_from_0_to_1(layers, depths):
    assert tables.with_keys(table_of(*layers), "toy")["depth"].tolist() == depths


def test_details_keep_all_digits_and_the_parameters_of_the_run():
    details = pd.DataFrame({"sequence": [0, 1], "layer": [0, 0], "x": [1 / 3, np.pi]})
    tables.save("slug", "toy", table_of(0), details, corpus="bundled", context=256)
    tables.save("slug", "toy", table_of(0), details, detail="neurons")
    folder = paths.results("toy")
    read = pd.read_parquet(folder / "slug.sequences.parquet")
    pd.testing.assert_frame_equal(read, details)
    assert read.attrs == {"slug": "slug", "model": "toy", "corpus": "bundled", "context": 256}
    assert (folder / "slug.neurons.parquet").is_file()


def test_details_are_numbered_anew_however_they_were_chosen():
    details = pd.DataFrame({"sequence": [2, 0, 1], "x": [0.5, 0.25, 0.125]}, index=[7, 3, 5])
    tables.save("slug", "toy", table_of(0), details)
    read = tables.load_details("slug", "toy")
    assert read.to_dict("list") == {"sequence": [2, 0, 1], "x": [0.5, 0.25, 0.125]}
    assert read.index.tolist() == [0, 1, 2]


def test_the_same_call_gives_the_same_bytes():
    details = pd.DataFrame({"sequence": [0, 1], "x": [1 / 3, np.pi]})
    tables.save("slug", "toy", table_of(0, 1), details, seed=0)
    first = files("toy")
    tables.save("slug", "toy", table_of(0, 1), details.copy(), seed=0)
    assert files("toy") == first
    assert set(first) == {"slug.csv", "slug.sequences.parquet"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(monkeypatch):
    tables.save("slug", "toy", table_of(0, 1))
    before = files("toy")

    def fails_halfway(self, path, **options):
        path.write_text("model,lay")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fails_halfway)
    with pytest.raises(InputError, match="disk full"):
        tables.save("slug", "toy", table_of(0, 1, 2))
    assert files("toy") == before


def test_a_table_that_was_never_made_is_none():
    assert tables.load("slug", "toy") is None
    assert tables.load_details("slug", "toy") is None


def test_shards_are_kept_apart_and_joined_in_their_order():
    for number, seeds in ((2, [1, 0]), (1, [1, 0]), (3, [])):
        rows = pd.DataFrame({"sequence": [number] * len(seeds), "seed": seeds, "x": 1 / 3}, index=[5, 7][: len(seeds)])
        tables.save_shard("slug", "toy@step1", number, 3, rows, f"of part {number}")
    assert [path.name for path in sorted((paths.results("toy@step1") / "shards").iterdir())] == [
        f"slug-{number}of3.parquet" for number in (1, 2, 3)
    ]
    joined = tables.load_shards("slug", "toy@step1", 3)
    assert joined.to_dict("list") == {"sequence": [1, 2, 1, 2], "seed": [0, 0, 1, 1], "x": [1 / 3] * 4}
    assert joined.index.tolist() == [0, 1, 2, 3]
    assert tables.shard_inputs("slug", "toy@step1", 2, 3) == "of part 2"


def test_a_shard_that_is_missing_or_damaged_is_none_and_cannot_be_joined():
    rows = pd.DataFrame({"sequence": [3, 1], "x": [0.5, 0.25]}, index=[4, 2])
    tables.save_shard("slug", "toy", 2, 2, rows, "inputs")
    message = "^no slug-1of2.parquet of toy: measure it with ./run_all.sh --shards 2$"
    with pytest.raises(InputError, match=message):
        tables.load_shards("slug", "toy", 2)
    assert tables.shard_inputs("slug", "toy", 1, 2) is None
    tables.save_shard("slug", "toy", 1, 2, rows.iloc[:1], "inputs")
    assert tables.load_shards("slug", "toy", 2)["sequence"].tolist() == [3, 3, 1]
    (paths.results("toy") / "shards" / "slug-1of2.parquet").write_bytes(b"PAR1 cut short")
    assert tables.shard_inputs("slug", "toy", 1, 2) is None


def test_saving_does_not_change_what_it_was_given():
    given = table_of(0, 1)
    tables.save("slug", "toy", given)
    assert list(given) == ["layer", "x"]


def test_tables_call_a_model_what_its_folder_is_called(tmp_path):
    saved = tables.save("slug", "owner/name@step1", table_of(0))
    assert saved["model"].tolist() == ["owner--name@step1"]
    assert (tmp_path / "results" / "owner--name@step1" / "slug.csv").is_file()


@pytest.mark.parametrize("content", [b"", b"\x80\xff", b'a,b\n"1'], ids=["empty", "binary", "cut off"])
def test_a_damaged_table_is_named(content):
    tables.save("slug", "toy", table_of(0), table_of(0))
    for name, load in {"slug.csv": tables.load, "slug.sequences.parquet": tables.load_details}.items():
        (paths.results("toy") / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"toy/{name} is damaged: remove it"):
            load("slug", "toy")
