"""The nearest by cosine: against a loop, and where one sees the answer."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from helpers.beyond import nearest


def test_the_nearest_neighbour_is_the_one_a_loop_finds():
    generator = torch.Generator().manual_seed(0)
    residual, reference = torch.randn(6, 5, generator=generator) + 3, torch.randn(9, 5, generator=generator) + 3
    allowed = torch.rand(6, 9, generator=generator) < 0.7
    right = allowed & (torch.rand(6, 9, generator=generator) < 0.5)
    found = nearest.by_neighbour(residual, reference, allowed, right)
    mean = reference.mean(0)
    for word in range(6):
        places = [place for place in range(9) if allowed[word, place]]
        near = max(places, key=lambda at: cosine_similarity(residual[word] - mean, reference[at] - mean, dim=0).item())
        assert found["neighbour"][word].item() == float(right[word, near])
        assert found["neighbour_chance"][word].item() == pytest.approx(right[word, places].float().mean().item())


def test_equally_near_ones_count_in_part():
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-3.0, 0.0]])
    right = torch.tensor([[True, False, False, True]])
    found = nearest.by_neighbour(torch.tensor([[2.0, 0.0]]), reference, torch.ones_like(right), right)
    assert found["neighbour"].item() == pytest.approx(1 / 3)


def test_embeddings_are_ranked_by_cosine_not_by_length():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 50.0]])
    residual = torch.tensor([[2.0, 0.1], [1.0, 0.8], [1.0, 0.3]])
    is_word = torch.tensor([[True, False, False], [False, True, False], [False, False, True]])
    found = nearest.by_embedding(residual, embeddings, is_word)
    assert found["embedding"].tolist() == [1, 1, 0]
    assert found["embedding_rank"].tolist() == [0, 0, 1]
    assert found["embedding_chance"].tolist() == pytest.approx([1 / 3] * 3)
