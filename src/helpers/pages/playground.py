"""The playground of ``notebooks/playground.ipynb``: type a sentence, move a slider over the layers of a model.

Everything about a sentence is computed when it is typed; moving the slider only draws. Nothing is written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import ipywidgets as widgets
from transformer_lens.model_bridge import TransformerBridge

from helpers import models
from helpers.beyond import one_text, orders
from helpers.engine.sources import ALIASES
from helpers.errors import InputError
from helpers.pages import panels
from helpers.pages.sentence import Sentence

TEXT = "The old man opened the door, and the old man said nothing."
WRITTEN_ON = 12
MEAN = -1  # in the place of a head; None would be no choice
EVERY_HEAD = ("mean of all", MEAN)
KEPT = {"continuous_update": False, "style": {"description_width": "70px"}}


class Playground(widgets.VBox):
    """Controls ``text``, ``model``, ``layer``, ``head``, ``token`` and ``write_on``, and the pictures that follow them.

    ``bridge`` is the model in use and ``sentence`` what it makes of the text. What cannot be used (no such model, a
    text too long) is said in ``message``, and everything else stays as it was.
    """

    def __init__(self, model: str = "pocket", text: str = TEXT, device: str = "auto", dtype: str = "float32") -> None:
        self.device, self.dtype = device, dtype
        wide = widgets.Layout(width="95%")
        self.text = widgets.Text(text, description="Text", layout=wide, **KEPT)
        self.model = widgets.Combobox(value=model, options=["pocket", *ALIASES], description="Model", **KEPT)
        self.layer = widgets.IntSlider(0, 0, 0, description="Layer", style=KEPT["style"])
        self.head = widgets.Dropdown(options=[EVERY_HEAD], description="Head", style=KEPT["style"])
        self.token = widgets.Dropdown(description="Token", style=KEPT["style"])
        self.write_on = widgets.Button(description="Write on", tooltip=f"{WRITTEN_ON} more tokens, each the best guess")
        self.message, self.losses, self.next_token, self.lens, self.attention, self.written = (
            widgets.HTML(layout=widgets.Layout(max_width="100%", overflow="auto")) for _ in range(6)
        )
        self._draws = True
        self._show(self._load())
        for control, changed in ((self.model, self._changed_model), (self.text, self._changed_text)):
            control.observe(changed, "value")
        for control in (self.layer, self.head, self.token):
            control.observe(lambda _change: self._draw(), "value")
        self.write_on.on_click(lambda _button: self._write_on())
        controls = [
            widgets.HBox([self.model, self.layer]),
            self.text,
            widgets.HBox([self.token, self.head, self.write_on]),
        ]
        across = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        pictures = [self.losses, self.next_token, widgets.Box([self.lens, self.attention], layout=across)]
        super().__init__([widgets.HTML(panels.STYLE), *controls, self.message, self.written, *pictures])

    def __repr__(self) -> str:
        """What a stored notebook shows in the place of the widgets."""
        return f"Run this cell to play: {self.model.value}, {self.sentence.text!r}"

    def _show(self, bridge: TransformerBridge) -> None:
        """Compute all that is shown of the text there is, and draw it for the text's last token."""
        sentence = Sentence.of(bridge, self.text.value)  # where this fails, nothing has changed
        self.bridge, self.sentence = bridge, sentence
        places, heads = range(len(sentence.tokens)), range(sentence.n_heads)
        with self._without_drawing():
            self.layer.max = sentence.n_layers - 1
            if len(self.head.options) != 1 + len(heads):
                self.head.options = [EVERY_HEAD, *((str(head), head) for head in heads)]
            self.token.options = [(f"{place}: {sentence.tokens[place]}", place) for place in places]
            self.token.value = places[-1]
        self._draw()

    def _changed_model(self, change: dict) -> None:
        with self._saying(f"Loading {change['new']} ..."):
            self._show(self._load())

    def _changed_text(self, _change: dict) -> None:
        with self._saying("Computing ..."):
            self._show(self.bridge)

    def _load(self) -> TransformerBridge:
        return models.load(self.model.value.strip(), self.device, self.dtype)

    def _draw(self) -> None:
        if not self._draws:
            return
        layer, position = self.layer.value, self.token.value
        self.losses.value = panels.losses(self.sentence, layer, position)
        self.next_token.value = panels.next_token(self.sentence, layer, position)
        self.lens.value = panels.lens(self.sentence, layer, position)
        head = None if self.head.value == MEAN else self.head.value
        self.attention.value = panels.attention(self.sentence, layer, head, position)
        self.written.value = ""

    def _write_on(self) -> None:
        """The text goes on as the intact model writes it, and as it does with the chosen layer dropped or swapped."""
        layer = self.layer.value
        with self._saying("Writing ..."):
            tokens = one_text.encode(self.bridge, self.sentence.text)
            every = orders.lesions(self.bridge.cfg.n_layers)
            chosen = [lesion for lesion in every if lesion.layer in (None, layer)]
            written = {
                panels.done(lesion.intervention, layer): one_text.continuation(
                    self.bridge, tokens, WRITTEN_ON, lesion.order
                )
                for lesion in chosen
            }
            self.written.value = panels.continuations(written)

    @contextmanager
    def _without_drawing(self) -> Iterator[None]:
        """Controls are set one after another, and drawn once."""
        self._draws = False
        try:
            yield
        finally:
            self._draws = True

    @contextmanager
    def _saying(self, doing: str) -> Iterator[None]:
        """Say what takes a while, and what went wrong; nothing once it is done."""
        self.message.value = escape(doing)
        try:
            yield
            self.message.value = ""
        except InputError as error:
            self.message.value = f"<b>{escape(str(error))}</b>"
