"""No claim of the paper is lost: each is judged by a claim or a notebook that there is, or says why not."""

import pytest

from helpers import paths
from helpers.judging import coverage, wordings

CLAIMS = coverage.read()


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.claim[:40] for claim in CLAIMS])
def test_every_claim_of_the_paper_is_judged_somewhere_or_says_why_not(claim):
    assert claim.how in coverage.HOW and claim.place
    if claim.how == "judged":
        assert bool(claim.claims) != bool(claim.notebook)
    else:
        assert claim.why and not claim.claims
    assert claim.notebook or claim.how != "shown"


def test_what_is_named_is_there():
    judged = {name for claim in CLAIMS for name in claim.claims}
    ours = {claim.name for claim in wordings.read() if claim.source.startswith("ours")}
    known = {claim.name for claim in wordings.read()}
    assert judged <= known
    assert known - judged <= ours | {"same_neuron_counts"}  # which repeats a plot
    for claim in CLAIMS:
        assert not claim.notebook or (paths.NOTEBOOKS / f"{claim.notebook}.ipynb").exists(), claim.notebook


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("72 to 95", "abstract"),
        ("CKA", "5"),
        ("merge the pieces", "5.1"),
        ("Word-in-Context", "5.2"),
        ("-ing", "5.3"),
        ("repeating a block", "5.4"),
        ("overlap", "6"),
    ],
)
def test_the_papers_own_experiments_are_in_the_table(words, place):
    rows = coverage.table()
    (row,) = rows[rows["claim"].str.contains(words, regex=False)].to_dict("records")
    assert row["place"].startswith(place)


def test_the_markdown_has_a_row_for_every_claim():
    lines = coverage.markdown().splitlines()
    assert len(lines) == len(CLAIMS) + 2
    assert all(line.count("|") == 5 for line in lines)
