"""What is true of every table that is written and read again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import paths, tables

HALF_A_DIGIT = 0.5e-4  # of five significant digits, relative
NUMBERS = st.one_of(
    st.just(float("nan")), st.just(0.0), st.floats(1e-200, 1e200), st.floats(1e-200, 1e200).map(lambda value: -value)
)
WORDS = st.text(st.characters(categories=["L", "P", "S"]), min_size=1, max_size=8).map(lambda word: f"w{word}")


@st.composite
def measured(draw) -> pd.DataFrame:
    """A table by layer with a column of numbers, one of counts and one of words."""
    layers = draw(st.lists(st.integers(0, 60), min_size=1, max_size=12))
    columns = {"x": NUMBERS, "n": st.integers(-(10**9), 10**9), "word": WORDS}
    return pd.DataFrame({"layer": layers} | {name: [draw(each) for _ in layers] for name, each in columns.items()})


@given(measured())
def test_what_is_loaded_is_what_was_saved_to_the_digits_written(table):
    saved = tables.save("slug", "toy", table)
    loaded = tables.load("slug", "toy")
    pd.testing.assert_frame_equal(loaded, saved, rtol=0, atol=0, check_dtype=False)
    assert loaded["x"].tolist() == pytest.approx(table["x"].tolist(), rel=HALF_A_DIGIT, abs=0, nan_ok=True)
    for exact in ("layer", "n", "word"):
        assert loaded[exact].tolist() == table[exact].tolist()


@given(measured())
def test_a_table_saved_again_as_it_was_loaded_has_the_same_bytes(table):
    tables.save("slug", "toy", table)
    file = paths.results("toy") / "slug.csv"
    first = file.read_bytes()
    tables.save("slug", "toy", tables.load("slug", "toy"))
    assert file.read_bytes() == first


@given(arrays(float, (20,), elements=st.floats(-1e12, 1e12)))
def test_rounding_keeps_order_and_sign_and_rounds_once(values):
    table = pd.DataFrame({"x": np.sort(values), "n": range(20)})
    rounded = tables.rounded(table)
    assert rounded["x"].is_monotonic_increasing
    assert (np.sign(rounded["x"]) == np.sign(table["x"])).all()
    pd.testing.assert_frame_equal(tables.rounded(rounded), rounded)
    pd.testing.assert_frame_equal(tables.rounded(-table)[["x"]], -rounded[["x"]])


@given(measured())
def test_depth_runs_with_the_layers_from_0_to_1(table):
    keyed = tables.with_keys(table, "toy")
    assert keyed["depth"].between(0, 1).all()
    assert keyed.sort_values("layer")["depth"].is_monotonic_increasing
    last = keyed["layer"] == keyed["layer"].max()
    assert (keyed.loc[last, "depth"] == (keyed["layer"].max() > 0)).all()
    assert (keyed.loc[keyed["layer"] == 0, "depth"] == 0).all()
    evenly = np.diff(np.unique(keyed["depth"])), np.diff(np.unique(keyed["layer"]))
    assert evenly[0] == pytest.approx(evenly[1] / max(1, keyed["layer"].max()))


@given(measured(), st.permutations(["layer", "x", "n", "word"]))
def test_keys_come_first_and_the_rest_as_it_was_given(table, order):
    given_order = [column for column in order if column != "layer"]
    assert list(tables.with_keys(table[order], "toy")) == ["model", "layer", "depth", *given_order]
    own_depth = table[order].assign(depth=0.3)
    assert tables.with_keys(own_depth, "toy")["depth"].tolist() == [0.3] * len(table)
    assert list(tables.with_keys(table[given_order], "toy")) == ["model", *given_order]


@given(measured(), st.dictionaries(st.sampled_from(["corpus", "seed", "dtype"]), st.integers() | WORDS))
def test_details_are_kept_exactly_with_what_they_were_computed_from(table, provenance):
    details = table.copy()
    tables.save("slug", "toy", table, details, **provenance)
    loaded = tables.load_details("slug", "toy")
    pd.testing.assert_frame_equal(loaded, table, rtol=0, atol=0)
    assert loaded.attrs == {"slug": "slug", "model": "toy", **provenance}
