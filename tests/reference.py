"""Every column of the five tables once more: slowly, in float64, on the raw Hugging Face model.

Nothing here uses ``helpers`` or TransformerLens. One sequence at a time, one position at a time; lesions
reorder the model's own list of layers, norms are seen by hooks on its submodules, neurons are read off its
weights. ``position`` t predicts token t + 1; the measures of predictions use t = 1 .. context - 2.
"""

import math
from collections import Counter
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

ANATOMY = {  # model type: the trunk, and inside it the layers, their attention, the final norm; W_out [neuron, d_model]
    "gpt2": ("transformer", "h", "attn", "ln_f", lambda mlp: mlp.c_proj.weight),
    "gpt_neox": ("gpt_neox", "layers", "attention", "final_layer_norm", lambda mlp: mlp.dense_4h_to_h.weight.T),
    "phi": ("model", "layers", "self_attn", "final_layernorm", lambda mlp: mlp.fc2.weight.T),
    "llama": ("model", "layers", "self_attn", "norm", lambda mlp: mlp.down_proj.weight.T),
    "qwen2": ("model", "layers", "self_attn", "norm", lambda mlp: mlp.down_proj.weight.T),
}


class RawModel:
    """A Hugging Face causal language model taken apart by hand."""

    def __init__(self, folder):
        options = {"dtype": torch.float64, "attn_implementation": "eager"}
        self.model = AutoModelForCausalLM.from_pretrained(folder, **options).eval().requires_grad_(False)
        trunk, self.list_name, self.attention_name, norm_name, self.output_weights = ANATOMY[
            self.model.config.model_type
        ]
        self.trunk = getattr(self.model, trunk)
        self.layers = getattr(self.trunk, self.list_name)
        self.norm = getattr(self.trunk, norm_name)
        self.head = self.model.get_output_embeddings()
        self.is_layer_norm = isinstance(self.norm, nn.LayerNorm)

    def run(self, sequence: Tensor, **options):
        return self.model(sequence[None], use_cache=False, **options)

    def log_probabilities(self, sequence: Tensor) -> Tensor:
        """[position, vocabulary]"""
        return self.run(sequence).logits[0].log_softmax(-1)

    def residuals(self, sequence: Tensor) -> list[Tensor]:
        """The embedding and the residual stream after every layer, each [position, d_model]."""
        with recorded(self.norm) as last:
            before = self.run(sequence, output_hidden_states=True).hidden_states[:-1]
        return [state[0] for state in before] + [last["in"]]

    def centred(self, vectors: Tensor) -> Tensor:
        """What LayerNorm sees of them; RMSNorm sees all of them."""
        return vectors - vectors.mean(-1, keepdim=True) if self.is_layer_norm else vectors

    @contextmanager
    def running(self, order: list[int]):
        """Inside the block, the model runs these layers in this order."""
        config, types = self.model.config, getattr(self.model.config, "layer_types", None)
        setattr(self.trunk, self.list_name, nn.ModuleList([self.layers[layer] for layer in order]))
        config.num_hidden_layers = len(order)
        if types is not None:
            config.layer_types = [types[layer] for layer in order]
        try:
            yield
        finally:
            setattr(self.trunk, self.list_name, self.layers)
            config.num_hidden_layers = len(self.layers)
            if types is not None:
                config.layer_types = types


@contextmanager
def recorded(module: nn.Module):
    """What goes into and comes out of a module for the only sequence of the batch."""
    seen = {}

    def record(_, args, kwargs, out):
        seen["in"] = (args[0] if args else kwargs["hidden_states"])[0]
        seen["out"] = (out[0] if isinstance(out, tuple) else out)[0]

    handle = module.register_forward_hook(record, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def familiar_tokens(raw: RawModel, n_sequences: int, context: int, seed: int = 0) -> Tensor:
    """Sequences in which some tokens are what the model would guess, early or late in its layers.

    A random model is almost never right about random text, and accuracies of 0 test nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary, n_rows = raw.head.weight.shape[0], len(raw.layers) + 1
    tokens = torch.randint(vocabulary, (n_sequences, context), generator=generator)
    tokens[:, 0] = 0
    for sequence in tokens:
        for position in range(2, context):
            row = int(torch.randint(-1, n_rows, (), generator=generator))
            if row >= 0:
                guesses = raw.head(raw.norm(raw.residuals(sequence[:position])[row]))
                sequence[position] = guesses[-1].argmax()
    return tokens


def layer_lesion(raw: RawModel, tokens: Tensor) -> pd.DataFrame:
    layers = list(range(len(raw.layers)))
    orders = {("drop", layer): layers[:layer] + layers[layer + 1 :] for layer in layers}
    for layer in layers[:-1]:
        orders["swap", layer] = [*layers[:layer], layer + 1, layer, *layers[layer + 2 :]]
    following = [label for sequence in tokens.tolist() for label in sequence[2:]]
    commonest = max(sorted(set(following)), key=following.count)
    rows = []
    for number, sequence in enumerate(tokens):
        intact = raw.log_probabilities(sequence)
        for (intervention, layer), order in orders.items():
            with raw.running(order):
                lesioned = raw.log_probabilities(sequence)
            keys = {"sequence": number, "layer": layer, "intervention": intervention}
            each = []
            for t in predicting(sequence):
                p, q, label = intact[t], lesioned[t], sequence[t + 1]
                each.append(
                    {
                        "kl_nats": kl(p, q),
                        "relative_accuracy": float(p.argmax() == q.argmax()),
                        "top1_agreement": float(p.argmax() == q.argmax()),
                        "accuracy": float(q.argmax() == label),
                        "accuracy_intact": float(p.argmax() == label),
                        "accuracy_commonest": float(label == commonest),
                        "kl_noise_nats": 0.0,
                        "loss_change_nats": float(p[label] - q[label]),
                        "entropy_change_bits": entropy(q) - entropy(p),
                    }
                )
            rows.append(keys | mean(each))
    return pd.DataFrame(rows)


def logit_lens(raw: RawModel, tokens: Tensor) -> pd.DataFrame:
    rows = []
    counts = Counter(int(sequence[t + 1]) for sequence in tokens for t in predicting(sequence))
    commonest = {token for _, token in sorted((-count, token) for token, count in counts.items())[:10]}
    for number, sequence in enumerate(tokens):
        residuals = raw.residuals(sequence)
        final = raw.log_probabilities(sequence)
        eps = getattr(raw.norm, "eps", None) or raw.norm.variance_epsilon
        scale = (raw.centred(residuals[-1]).square().mean(-1, keepdim=True) + eps).sqrt()

        def at_final_scale(residual, scale=scale):
            return (raw.centred(residual) / scale * raw.norm.weight @ raw.head.weight.T).log_softmax(-1)

        final_shared = at_final_scale(residuals[-1])
        before = None
        for layer, residual in enumerate(residuals):
            guess, shared = raw.head(raw.norm(residual)).log_softmax(-1), at_final_scale(residual)
            each, right = [], []
            for t in predicting(sequence):
                right.append(bool(guess[t].argmax() == sequence[t + 1]))
                each.append(
                    {
                        "kl_nats": kl(final[t], guess[t]),
                        "entropy_bits": entropy(guess[t]),
                        "top1_probability": float(guess[t].max().exp()),
                        "top1_agreement": float(guess[t].argmax() == final[t].argmax()),
                        "top1_commonest": float(int(guess[t].argmax()) in commonest),
                        "accuracy": float(right[-1]),
                        "right_to_wrong": math.nan if before is None else float(before[t - 1] and not right[-1]),
                        "wrong_to_right": math.nan if before is None else float(right[-1] and not before[t - 1]),
                        "kl_nats_final_scale": kl(final_shared[t], shared[t]),
                        "entropy_bits_final_scale": entropy(shared[t]),
                    }
                )
            before = right
            rows.append({"sequence": number, "layer": layer} | mean(each))
    return pd.DataFrame(rows)


def local_attention(raw: RawModel, tokens: Tensor) -> pd.DataFrame:
    rows = []
    for number, sequence in enumerate(tokens):
        patterns = raw.run(sequence, output_attentions=True).attentions
        for layer, pattern in enumerate(patterns):
            heads = [local_attention_of(head) | attention_by_distance_of(head) for head in pattern[0].tolist()]
            rows.append({"sequence": number, "layer": layer} | mean(heads))
    return pd.DataFrame(rows)


def local_attention_of(pattern: list[list[float]]) -> dict[str, float]:
    """One head, cell by cell."""
    cells, shares, local, beyond_bos = [], [], 0.0, 0.0
    for query, weights in enumerate(pattern):
        previous = [weights[query - offset] for offset in (1, 2, 3, 4, 5) if query - offset >= 0]
        cells += previous
        if query >= 5:
            shares.append(sum(previous))
        if query >= 6:
            local += sum(previous)
            beyond_bos += sum(weights[1:])
    return {
        "attention_per_offset": sum(cells) / len(cells),
        "attention_share": sum(shares) / len(shares),
        "attention_share_no_bos": local / beyond_bos,
    }


def attention_by_distance_of(pattern: list[list[float]]) -> dict[str, float]:
    """One head, query by query: what those with enough predecessors give to the preceding 1, 2, 4, 8, 16 tokens."""
    shares = {}
    for distance in (1, 2, 4, 8, 16):
        each = [sum(weights[query - distance : query]) for query, weights in enumerate(pattern) if query >= distance]
        shares[f"attention_share_{distance}"] = sum(each) / len(each) if each else math.nan
    return shares


def mlp_norm(raw: RawModel, tokens: Tensor) -> pd.DataFrame:
    rows = []
    for number, sequence in enumerate(tokens):
        residuals = raw.residuals(sequence)
        for layer, block in enumerate(raw.layers):
            with recorded(block.mlp) as mlp, recorded(getattr(block, raw.attention_name)) as attention:
                raw.run(sequence)
            each = []
            for position in range(1, len(sequence)):
                written = [raw.centred(part[position]) for part in (mlp["out"], attention["out"], residuals[layer])]
                of_mlp, of_attention, of_residual = (float(vector.norm()) for vector in written)
                each.append(
                    {
                        "mlp_norm": of_mlp,
                        "attention_norm": of_attention,
                        "residual_norm": of_residual,
                        "mlp_to_residual": of_mlp / of_residual,
                        "attention_to_residual": of_attention / of_residual,
                    }
                )
            rows.append({"sequence": number, "layer": layer} | mean(each))
    return pd.DataFrame(rows)


def neurons(raw: RawModel) -> pd.DataFrame:
    """Kurtosis and skew of every neuron's cosines with the tokens' unembedding vectors."""
    tokens = raw.centred(raw.head.weight * raw.norm.weight)
    tokens = tokens - tokens.mean(0)
    rows = []
    for layer, block in enumerate(raw.layers):
        for neuron, direction in enumerate(raw.centred(raw.output_weights(block.mlp))):
            cosines = tokens @ direction / (tokens.norm(dim=-1) * direction.norm())
            deviations = (cosines - cosines.mean()) / cosines.std(correction=0)
            moments = {"kurtosis": float((deviations**4).mean()), "skew": float((deviations**3).mean())}
            rows.append({"layer": layer, "neuron": neuron, **moments})
    return pd.DataFrame(rows)


def prediction_suppression_neurons(moments: pd.DataFrame, threshold: float = 10) -> pd.DataFrame:
    rows = []
    for layer, some in moments.groupby("layer"):
        special = some[some["kurtosis"] > threshold]
        predicting, suppressing = (special["skew"] > 0).sum(), (special["skew"] < 0).sum()
        rows.append({"layer": layer, "n_neurons": len(some), "n_prediction": predicting, "n_suppression": suppressing})
    return pd.DataFrame(rows)


def predicting(sequence: Tensor) -> range:
    """Positions whose predictions count: not BOS, and not the last, which has no label."""
    return range(1, len(sequence) - 1)


def kl(p: Tensor, q: Tensor) -> float:
    """KL(p || q) in nats, of two vectors of log-probabilities."""
    return float((p.exp() * (p - q)).sum())


def entropy(p: Tensor) -> float:
    """In bits, of a vector of log-probabilities."""
    return float(-(p.exp() * p).sum()) / math.log(2)


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
