"""One text, token by token: each table against the Hugging Face model, or the blocks run on their own."""

import pytest
import torch
from checkpoints import KINDS
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import blocks, lesion
from helpers.beyond import one_text
from helpers.errors import InputError

SENTENCE = "The old man's dog barked."
SOME = ["gpt2", "neox_parallel", "llama"]


def raw(folder):
    """The Hugging Face model, whose layers, norm and unembedding nothing has folded or centred."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)


def best(probabilities, k):
    """Position, rank and probability of the best ``k`` at every position, one number at a time."""
    found = []
    for position, row in enumerate(probabilities):
        order = sorted(range(len(row)), key=lambda token: -row[token].item())[:k]
        found += [(position, rank, token, row[token].item()) for rank, token in enumerate(order, start=1)]
    return found


def agree(table, expected, names):
    """Whether a table has these guesses: positions, ranks and tokens as they are, probabilities nearly."""
    assert list(zip(table["position"], table["rank"], table["token"], strict=True)) == [
        (position, rank, names[token]) for position, rank, token, _ in expected
    ]
    assert table["probability"].tolist() == pytest.approx([probability for *_, probability in expected], abs=1e-4)


def names_of(bridge):
    """What each id is called, asked of the tokenizer one by one."""
    ids = range(bridge.cfg.d_vocab)
    names = [bridge.tokenizer.decode([token]) if token < len(bridge.tokenizer) else f"[{token}]" for token in ids]
    seen = [name.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥") for name in names]
    return ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) for name in seen]


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_a_text_is_bos_and_its_tokens(kind, bridges):
    bridge = bridges[kind]
    tokens = one_text.encode(bridge, SENTENCE)
    assert tokens[0].tolist() == [0, *bridge.tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]]
    assert bridge.tokenizer.decode(tokens[0, 1:]) == SENTENCE


def test_an_empty_text_and_one_that_is_too_long_are_refused(bridges):
    bridge = bridges["gpt2"]
    with pytest.raises(InputError, match=r"the text is empty: write a few words$"):
        one_text.encode(bridge, "")
    assert one_text.encode(bridge, "a" + " a" * (bridge.cfg.n_ctx - 2)).shape == (1, bridge.cfg.n_ctx)
    with pytest.raises(InputError, match=rf"{bridge.cfg.n_ctx + 1} tokens with BOS, and the model takes"):
        one_text.encode(bridge, "a" + " a" * (bridge.cfg.n_ctx - 1))


def test_every_token_is_spelled_so_that_it_can_be_seen(bridges):
    bridge = bridges["neox_parallel"]
    tokens = one_text.encode(bridge, "Two\n lines,\ta\x0b tab")
    spelled = one_text.spellings(bridge, tokens)
    assert len(spelled) == tokens.shape[1] and spelled[0] == "BOS"
    assert "".join(spelled[1:]) == "Two↵·lines,⇥a\\x0b·tab"
    last = bridge.cfg.d_vocab - 1  # a row of the embedding without a token
    assert one_text.spellings(bridge, torch.tensor([5, 0, last]))[1:] == [
        bridge.tokenizer.convert_ids_to_tokens(0),
        f"[{last}]",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_lens_reads_what_the_models_own_norm_and_unembedding_say(kind, bridges, checkpoints):
    bridge, model = bridges[kind], raw(checkpoints[kind])
    tokens = one_text.encode(bridge, SENTENCE)
    table, names = one_text.lens_guesses(bridge, tokens, k=3), names_of(bridge)
    trunk = model.base_model
    norm = next(module for name, module in trunk.named_children() if "norm" in name or name == "ln_f")
    seen = []
    handle = norm.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    run = model(tokens, output_hidden_states=True)
    handle.remove()
    states = [*run.hidden_states[:-1], seen[0]]
    assert table["row"].unique().tolist() == list(range(len(states)))
    for row, state in enumerate(states):
        logits = model.get_output_embeddings()(norm(state))[0]
        agree(table[table["row"] == row], best(logits.softmax(-1), 3), names)
    agree(table[table["row"] == len(states) - 1], best(run.logits[0].softmax(-1), 3), names)


@pytest.mark.parametrize("kind", SOME)
def test_patterns_are_those_of_the_model(kind, bridges, checkpoints):
    bridge = bridges[kind]
    tokens = one_text.encode(bridge, SENTENCE)
    expected = raw(checkpoints[kind])(tokens, output_attentions=True).attentions
    torch.testing.assert_close(one_text.patterns(bridge, tokens), torch.cat(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", SOME)
def test_guesses_and_losses_under_every_lesion_are_those_of_that_lesion_alone(kind, bridges):
    bridge = bridges[kind]
    tokens, layers = one_text.encode(bridge, SENTENCE), list(range(bridge.cfg.n_layers))
    guesses, losses = one_text.lesioned_guesses(bridge, tokens, k=2), one_text.loss_by_token(bridge, tokens)
    orders = {("drop", layer): [other for other in layers if other != layer] for layer in layers}
    orders |= {("swap", i): [*layers[:i], i + 1, i, *layers[i + 2 :]] for i in layers[:-1]}
    intact = guesses[guesses["intervention"] == "intact"]
    agree(intact, best(bridge(tokens, use_cache=False)[0].softmax(-1), 2), names_of(bridge))
    assert intact["layer"].isna().all()
    assert len(guesses) == len(intact) * (1 + len(orders)) and len(losses) == len(orders) * (tokens.shape[1] - 1)

    def log_probabilities(order):
        return blocks.run_order(bridge, tokens, order)[0].log_softmax(-1)

    before = log_probabilities(layers)
    for (intervention, layer), order in orders.items():
        chosen, lost = (
            table[(table["intervention"] == intervention) & (table["layer"] == layer)] for table in (guesses, losses)
        )
        after = log_probabilities(order)
        agree(chosen, best(after.exp(), 2), names_of(bridge))
        assert lost["position"].tolist() == list(range(1, tokens.shape[1]))
        assert lost["token"].tolist() == one_text.spellings(bridge, tokens)[1:]
        for row in lost.itertuples():
            place = row.position - 1, tokens[0, row.position]
            assert row.loss_nats == pytest.approx(-after[place].item(), abs=1e-3)
            assert row.loss_change_nats == pytest.approx((before[place] - after[place]).item(), abs=1e-3)
    assert losses["loss_change_nats"].abs().max() > 0.1, "no lesion changes anything"


def test_what_a_hook_drops_is_what_the_table_calls_dropped(bridges):
    bridge, layer = bridges["gpt2"], 2
    tokens = one_text.encode(bridge, SENTENCE)
    hooked = bridge.run_with_hooks(tokens, fwd_hooks=lesion.drop_hooks(layer), use_cache=False)
    table = one_text.lesioned_guesses(bridge, tokens, k=1)
    table = table[(table["intervention"] == "drop") & (table["layer"] == layer)]
    agree(table, best(hooked[0].softmax(-1), 1), names_of(bridge))


def test_more_guesses_than_tokens_are_all_tokens(bridges):
    bridge = bridges["gpt2"]
    tokens = one_text.encode(bridge, "The")
    table = one_text.lens_guesses(bridge, tokens, k=10**6)
    assert len(table) == (bridge.cfg.n_layers + 1) * 2 * bridge.cfg.d_vocab
    assert table.groupby(["row", "position"])["probability"].sum().to_numpy() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", SOME)
def test_an_intact_continuation_is_the_models_own(kind, bridges, checkpoints):
    bridge, folder = bridges[kind], checkpoints[kind]
    tokens = one_text.encode(bridge, SENTENCE)
    longer = raw(folder).generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    expected = AutoTokenizer.from_pretrained(folder).decode(longer[0, tokens.shape[1] :])
    found = one_text.continuation(bridge, tokens, 6)
    assert found and found == expected
    assert one_text.continuation(bridge, tokens, 6, range(4)) == expected
    assert one_text.continuation(bridge, tokens, 6, [1, 2, 3]) != expected


def test_a_continuation_runs_its_order_at_every_step(bridges):
    bridge, order = bridges["neox_parallel"], [0, 2, 1, 3, 3]
    longer = tokens = one_text.encode(bridge, SENTENCE)
    for _ in range(3):
        longer = torch.cat([longer, blocks.run_order(bridge, longer, order)[:, -1:].argmax(-1)], dim=1)
    assert one_text.continuation(bridge, tokens, 3, order) == bridge.tokenizer.decode(longer[0, tokens.shape[1] :])


def test_a_continuation_ends_where_the_model_ends_the_text(bridges, monkeypatch):
    bridge = bridges["gpt2"]
    tokens = one_text.encode(bridge, SENTENCE)
    guesses = iter([7, 8, 0, 9])
    monkeypatch.setattr(one_text, "_logits", lambda *_: torch.eye(bridge.cfg.d_vocab)[[next(guesses)]])
    assert one_text.continuation(bridge, tokens, 4) == bridge.tokenizer.decode([7, 8])
    assert next(guesses) == 9, "nothing runs after the end"


def test_layers_that_are_not_there_and_too_long_continuations_are_refused(bridges):
    bridge = bridges["gpt2"]
    tokens = one_text.encode(bridge, SENTENCE)
    with pytest.raises(InputError, match=r"no layer 4: the model has layers 0 to 3$"):
        one_text.continuation(bridge, tokens, 3, [0, 4])
    with pytest.raises(InputError, match="use a shorter text or continuation"):
        one_text.continuation(bridge, tokens, bridge.cfg.n_ctx)
