"""Log-likelihoods of continuations under many orders at once, each against the raw model on one text at a time."""

import pytest
import torch
from checkpoints import CONTEXT, KINDS, VOCABULARY

from helpers.beyond import continuations, orders
from helpers.errors import InputError
from reference import RawModel

ORDERS = [lesion.order for lesion in orders.lesions(4, ["drop", "swap", "repeat_2"])]
SHAPES = [(3, 1), (9, 4), (1, 1), (1, 12), (5, 5), (9, 4), (30, 2)]


def some_requests(shapes=SHAPES, seed: int = 0) -> list[continuations.Request]:
    """Random tokens, as many of a context and of its continuation as each shape says."""
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(VOCABULARY, (sum(shape),), generator=generator).tolist() for shape in shapes]
    return [(text[:before], text[before:]) for text, (before, _) in zip(texts, shapes, strict=True)]


def one_by_one(raw: RawModel, request: continuations.Request, order: tuple[int, ...]) -> tuple[float, bool]:
    context, continuation = request
    with raw.running(list(order)):
        predicted = raw.log_probabilities(torch.tensor(context + continuation))
    likelihood, greedy = 0.0, True
    for place, token in enumerate(continuation, start=len(context)):
        likelihood += float(predicted[place - 1, token])
        greedy &= int(predicted[place - 1].argmax()) == token
    return likelihood, greedy


def with_a_first_guess(raw: RawModel, context: list[int], order: tuple[int, ...], length: int) -> continuations.Request:
    """A context and what greedy decoding adds to it under an order."""
    text = list(context)
    with raw.running(list(order)):
        for _ in range(length):
            text.append(int(raw.log_probabilities(torch.tensor(text))[-1].argmax()))
    return context, text[len(context) :]


@pytest.mark.parametrize("kind", KINDS)
def test_each_request_is_answered_as_by_the_raw_model_with_its_layers_reordered(kind, bridges, checkpoints):
    raw = RawModel(checkpoints[kind])
    requests = some_requests()
    requests += [with_a_first_guess(raw, requests[0][0], order, length=2) for order in (ORDERS[0], ORDERS[2])]
    likelihoods, greedy = continuations.score(bridges[kind], requests, ORDERS)
    expected = [[one_by_one(raw, request, order) for request in requests] for order in ORDERS]
    for found_likelihoods, found_greedy, of_order in zip(likelihoods, greedy, expected, strict=True):
        assert found_likelihoods.tolist() == pytest.approx([likelihood for likelihood, _ in of_order], rel=1e-4)
        assert found_greedy.tolist() == [is_greedy for _, is_greedy in of_order]
    assert greedy[0, -2] and greedy[2, -1]
    assert not greedy[:, :-2].any()


def test_of_two_tokens_one_right_guess_is_not_enough(bridges, checkpoints):
    raw = RawModel(checkpoints["gpt2"])
    context, (first, second) = with_a_first_guess(raw, [0, 7, 5], ORDERS[0], length=2)
    requests = [(context, [first, second]), (context, [first, second + 1]), (context, [first + 1, second])]
    _, greedy = continuations.score(bridges["gpt2"], requests, ORDERS[:1])
    assert greedy.tolist() == [[True, False, False]]


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_batches_change_nothing(batch_size, bridges, monkeypatch):
    bridge, requests = bridges["llama"], some_requests()
    expected, _ = continuations.score(bridge, requests, ORDERS, batch_size=100)
    monkeypatch.setattr(continuations, "rows_per_call", lambda _bridge, length: max(1, 20 // length))
    seen = []
    found, _ = continuations.score(bridge, requests, ORDERS, batch_size, lambda *progress: seen.append(progress))
    assert abs(found - expected).max() < 1e-4
    assert seen[-1] == (len(requests), len(requests))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_memory_that_runs_out_halves_the_batch(bridges, monkeypatch):
    bridge, requests = bridges["gpt2"], some_requests()
    expected, _ = continuations.score(bridge, requests, ORDERS)
    walk, sizes = continuations.walk, []

    def greedy_for_memory(bridge, tokens, orders, inputs):
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise MemoryError
        return walk(bridge, tokens, orders, inputs)

    monkeypatch.setattr(continuations, "walk", greedy_for_memory)
    found, _ = continuations.score(bridge, requests, ORDERS, batch_size=7)
    assert abs(found - expected).max() < 1e-4
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]


def test_a_text_that_is_too_long_loses_its_beginning(bridges):
    """The last token is only predicted, so that the model takes one more than its context."""
    bridge = bridges["gpt2"]
    ((context, continuation),) = some_requests([(CONTEXT + 30, 3)])
    kept = context[-(CONTEXT + 1 - 3) :]
    (found, expected), _ = (
        scored.T for scored in continuations.score(bridge, [(context, continuation), (kept, continuation)], ORDERS)
    )
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (3, CONTEXT + 1)])
def test_an_answer_that_cannot_be_scored_is_refused(shape, bridges):
    with pytest.raises(InputError, match="choose another task or model"):
        continuations.score(bridges["gpt2"], some_requests([shape]), ORDERS)
