"""What every notebook runs: one entry each in ``EXPERIMENTS``, by its slug, and the formulas they name.

Texts of a fixed length are as long as in the notebooks; what depends on the words of a text is the most that it can be.
"""

from collections.abc import Callable
from typing import NamedTuple

from helpers.command.workload import Number, Run

PER_WORD, PER_PLACE, PER_PAIR = 33e-9, 5e-7, 6e-12  # seconds of probes by word and by place, of similarities by product
PLACES = 4096  # of either half of a text that the tuned lens is fitted and judged on
VERBS, SENTENCES, TAGGED = 26_000, 12_600, 2_000  # tokens of 08's examples at most, of 10's, and words with a tag
CLASSES, PROBED = 4, 63  # of next tokens, and neurons that the probes of one ensemble read together
SAMPLE = 1024  # places whose similarities are taken
Formula = Callable[[Run], Number]


class Experiment(NamedTuple):
    """What one notebook runs on the model and its twins together, and how often it loads the twins.

    ``seconds`` are those of probes and similarities, which run on the processor whatever the device; ``kept`` numbers,
    of four bytes each, are in memory at once beside the model and a batch. No ``operations``: no model is loaded.
    """

    operations: Formula | None
    seconds: Formula = lambda run: 0
    kept: Formula = lambda run: 0
    draws: int = 1


def tuned_lens(run: Run) -> Number:
    """Two halves of a text, and for every row three rounds of Adam with their slopes (notebook 03)."""
    half = min(PLACES, run.tokens // 2)
    return run.passes(2, half) + run.reads(12 * run.n, half) + run.maps(half) + run.maps(0)


def words_put_together(run: Run) -> Number:
    """Gathering, words told apart, and attention cut from at most 256 places (notebook 07)."""
    cut = run.some(128) // 2
    passes = run.passes(1, run.tokens / 2) + run.passes(1, run.some(64)) + run.blocks(run.n, cut)
    return passes + run.blocks(1.5 * run.n**2, 256) + run.reads(3 * run.n, 256)


def part(run: Run) -> int:
    """Tokens that are left of a long text (notebook 08)."""
    return run.every(32_768 // run.context)


def ensembles(run: Run) -> Number:
    """What both the model and a twin are asked: of a part of the text, and of at most so many verbs (notebook 08)."""
    return run.passes(1, part(run)) + run.passes(2, min(VERBS, run.tokens)) + run.moments(run.neurons)


def ablations(run: Run) -> Number:
    """88 sets of neurons, from their first layer on, after two more rounds of profiles (notebook 08)."""
    profiles = run.passes(3, part(run)) + run.passes(1, min(VERBS, run.tokens)) + run.moments(2 * run.neurons)
    return profiles + run.blocks(60 * run.n, run.every(8, 128)) + run.reads(88, run.every(8, 128))


def deletions(run: Run) -> Number:
    """Every run of layers, and 220 random sets of them (notebook 09)."""
    return run.blocks(run.n**3 / 6 + 90 * run.n, run.some(4, 128)) + run.reads(run.n**2 / 2 + 220, run.some(4, 128))


def likeness(run: Run) -> Number:
    """A pass of the whole text, and two of what ends in a last token (notebook 09)."""
    return run.passes(1, run.tokens) + run.passes(2, run.some(SAMPLE))


def repeats(run: Run) -> Number:
    """Every block of layers run twice (notebook 12), and the lens's calibration."""
    walk = run.blocks(run.n**2 / 2 + 5 * run.n, run.every(16, 128)) + run.reads(run.n, run.every(16, 128))
    return walk + run.passes(1, run.every(16)) + run.reads(run.n, run.every(16))


def stand_ins(run: Run) -> Number:
    """Maps fitted on half of the text, temperatures on four sequences, and both tested (notebook 12)."""
    fitted = run.blocks(run.n, run.tokens / 2) + run.maps(run.tokens / 2) + run.reads(20 * run.n, run.some(4))
    return fitted + run.blocks(run.n**2, run.every(16, 128)) + run.reads(3 * run.n, run.every(16, 128))


def conditions(run: Run) -> Number:
    """All curves as they are, without BOS's direction, and of a shuffled text (notebook 13)."""
    some = run.some(12, 96)
    return 3 * (run.lesions(some) + run.lens(some)) + run.passes(12, some)


def similarities(run: Run) -> Number:
    """Gram matrices of three kinds of rows, and of 200 half-samples, for the model and one of its twins."""
    grams = 3 * SAMPLE**2 + 200 * (1 + bool(run.twins)) * (min(SAMPLE, run.n_sequences) // 2) ** 2
    return PER_PAIR * 2 * run.n * run.sizes.d_model * grams


def probed_neurons(run: Run) -> Number:
    """Probes of the best neurons, of random ones and of a whole layer, for every class; of twins the best alone."""
    numbers = run.sizes.d_mlp + PROBED * (4 + run.twins)
    return PER_PLACE * CLASSES * numbers * part(run)


EXPERIMENTS: dict[str, Experiment] = {
    "layer_lesion": Experiment(lambda run: run.all * run.lesions(run.tokens) + run.exact * run.passes(1, run.tokens)),
    "local_attention": Experiment(lambda run: run.all * run.passes(1, run.tokens)),
    "logit_lens": Experiment(
        lambda run: run.all * run.lens(run.tokens) + tuned_lens(run),
        kept=lambda run: 2 * run.n * min(PLACES, run.tokens // 2) * run.sizes.d_model,
    ),
    "prediction_suppression_neurons": Experiment(
        lambda run: run.all * run.moments(run.neurons) + run.moments(11_000) + run.passes(2, run.tokens)
    ),
    "mlp_norm": Experiment(lambda run: run.all * run.passes(1, run.tokens)),
    "stages_of_inference": Experiment(None),
    "detokenization": Experiment(lambda run: run.all * words_put_together(run), draws=4),
    "prediction_ensembling": Experiment(
        lambda run: run.all * ensembles(run) + ablations(run),
        seconds=probed_neurons,
        kept=lambda run: 14 * run.sizes.d_mlp * part(run),
        draws=2,
    ),
    "residual_paths": Experiment(
        lambda run: run.all * (deletions(run) + likeness(run)) + 5 * run.lesions(run.some(12, 64)),
        seconds=similarities,
        kept=lambda run: 6 * run.n * SAMPLE**2,
        draws=3,
    ),
    "feature_engineering": Experiment(
        lambda run: run.all * run.passes(1, SENTENCES),
        seconds=lambda run: PER_WORD * (1 + run.all) * run.n * TAGGED * run.sizes.d_model**1.5,
        kept=lambda run: 4 * run.n * TAGGED * run.sizes.d_model,
    ),
    "training_dynamics": Experiment(None),
    "last_layers": Experiment(
        lambda run: run.all * repeats(run) + repeats(run) + stand_ins(run) + run.moments(1.1 * run.neurons),
        kept=lambda run: 11 * run.tokens // 2 * run.sizes.d_model,
        draws=2,
    ),
    "what_shapes_the_curves": Experiment(lambda run: run.all * 2 * run.lesions(run.some(12, 96)) + conditions(run)),
}
