// Everything shown follows from one choice: sentence, layer, head, lesion and token. Drawn again is only what changes.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const N = data.n_layers;
const MEAN = -1; // in the place of a head
const STRONGEST = 0.6; // opacity of a cell at 100 %: the text on it stays legible in light and dark
const FULL = 3; // nats at which a token's colour is strongest
const choice = { sentence: 0, layer: 0, head: MEAN, lesion: "drop", token: 1 };
let attention = new Uint8Array(); // of the chosen sentence: layer, head, query, key <= query

const sentence = () => data.sentences[choice.sentence];
const between = (value, low, high) => Math.min(Math.max(value, low), high);
const lesion = () => (choice.lesion === "swap" && choice.layer === N - 1 ? "drop" : choice.lesion);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const percent = (permille) => (permille === 0 ? "< 0.1 %" : `${(permille / 10).toFixed(1)} %`);

/** The best guesses at one place of a table of guesses, whose last two axes are position and rank. */
function guesses(table, line, position) {
  const start = (line * sentence().tokens.length + position) * data.k;
  const places = Array.from({ length: data.k }, (_, rank) => start + rank);
  return places.map((place) => [data.vocabulary[table.token[place]], table.permille[place]]);
}

function listed(items) {
  return items.map(([token, permille]) => {
    const item = make("li", {}, token, make("span", { className: "share", textContent: percent(permille) }));
    item.style.setProperty("--p", `${permille / 10}%`);
    return item;
  });
}

/** Attention of the chosen layer and head, or the mean of its heads, from one position to one before it: 0 to 1. */
function looked(query, key) {
  const length = sentence().tokens.length;
  const triangle = (length * (length + 1)) / 2;
  const at = (head) => attention[(choice.layer * data.n_heads + head) * triangle + (query * (query + 1)) / 2 + key];
  if (choice.head !== MEAN) return at(choice.head) / 255;
  let sum = 0;
  for (let head = 0; head < data.n_heads; head++) sum += at(head);
  return sum / data.n_heads / 255;
}

function show(heading, said, items) {
  const list = items.length ? [make("ol", {}, ...listed(items))] : [];
  find("details").replaceChildren(make("p", {}, make("strong", { textContent: heading })), make("p", { textContent: said }), ...list);
}

const named = (position) => `“${sentence().tokens[position]}” (${position})`;

const details = {
  lens(line, position) {
    const row = N - line; // the embedding is at the bottom
    const where = row === 0 ? "row 0, the embedding" : row === N ? `row ${N}, the model itself` : `row ${row}, after layer ${row - 1}`;
    show(named(position), `Guesses of the token after it; ${where}:`, guesses(sentence().lens, row, position));
  },
  attention(query, key) {
    const keys = Array.from({ length: query + 1 }, (_, other) => [named(other), Math.round(1000 * looked(query, other))]);
    const best = keys.sort((a, b) => b[1] - a[1]).slice(0, data.k);
    show(named(query), `gives ${named(key)} ${percent(Math.round(1000 * looked(query, key)))} of its attention. Most goes to:`, best);
  },
  tokens(position) {
    if (position === 0) return show(named(0), "begins every text, and nothing predicts it.", []);
    const change = lossChange(position);
    const layer = lesion() === "drop" ? `layer ${choice.layer} dropped` : `layers ${choice.layer} and ${choice.layer + 1} swapped`;
    show(named(position), `${layer}: loss ${signed(change)} nats. Guessed in its place, then:`,
      guesses(sentence()[lesion()], choice.layer, position - 1));
  },
};

const lossChange = (position) =>
  sentence().loss_change[lesion()][choice.layer * (sentence().tokens.length - 1) + position - 1];
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

function drawTokens() {
  const focused = document.activeElement?.dataset?.position;
  const had = find("tokens").contains(document.activeElement);
  find("tokens").replaceChildren(...sentence().tokens.map((token, position) => {
    const button = make("button", { type: "button" }, token);
    button.dataset.position = position;
    button.setAttribute("aria-pressed", position === choice.token);
    if (position > 0) {
      const change = lossChange(position);
      button.append(make("small", { textContent: signed(change) }));
      button.className = change > 0 ? "worse" : "better";
      button.style.setProperty("--p", STRONGEST * between(Math.abs(change) / FULL, 0, 1));
    } else button.append(make("small", { textContent: "\u00a0" }));
    return button;
  }));
  if (had) find("tokens").querySelector(`[data-position="${focused}"]`)?.focus();
}

function drawSentences() {
  const isLast = choice.layer === N - 1;
  const pair = `layers ${choice.layer} and ${choice.layer + 1}`;
  const done = lesion() === "drop" ? `without layer ${choice.layer}` : `with ${pair} swapped`;
  const instead = choice.lesion === "swap" && isLast ? " (The last layer has no next one to be swapped with, so it is dropped.)" : "";
  find("loss-said").textContent = `The model ${done}.${instead}`;
  find("next-said").textContent = `The best guesses of what follows ${named(choice.token)}, and their probabilities.`;
  find("drop-heading").textContent = `layer ${choice.layer} dropped`;
  find("swap-heading").textContent = isLast ? "nothing to swap with" : `${pair} swapped`;
  const whose = choice.head === MEAN ? `the mean of all heads of layer ${choice.layer}` : `head ${choice.head} of layer ${choice.layer}`;
  find("attention-said").textContent = `Where ${whose} looks: the row is the token that looks, the column the token that is `
    + "looked at. Numbers are percent of the row's attention, written from 10 on.";
  find("layer-shown").textContent = `${choice.layer} of 0–${N - 1}`;
  find("layer").setAttribute("aria-valuetext", `layer ${choice.layer}`);
}

function drawNext() {
  find("next-intact").replaceChildren(...listed(guesses(sentence().lens, N, choice.token)));
  find("next-drop").replaceChildren(...listed(guesses(sentence().drop, choice.layer, choice.token)));
  const swapped = choice.layer < N - 1 ? listed(guesses(sentence().swap, choice.layer, choice.token)) : [];
  find("next-swap").replaceChildren(...swapped);
}

/** A table of cells that the arrow keys walk through; `fill(cell, row, column)` gives each its content. */
function drawGrid(id, rows, columns, corner, fill) {
  const head = make("tr", {}, make("th", { scope: "col", textContent: corner }));
  head.append(...columns.map((name) => make("th", { scope: "col", textContent: name })));
  const body = rows.map((name, row) => {
    const line = make("tr", {}, make("th", { scope: "row", textContent: name }));
    line.append(...columns.map((_, column) => {
      const cell = make("td", { tabIndex: row + column === 0 ? 0 : -1 });
      Object.assign(cell.dataset, { row, column });
      fill(cell, row, column);
      return cell;
    }));
    return line;
  });
  find(id).replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

function drawLens() {
  const { lens, tokens } = sentence();
  const lines = Array.from({ length: N + 1 }, (_, line) => (line === 0 ? `output ${N}` : line === N ? "embedding 0" : `${N - line}`));
  drawGrid("lens", lines, tokens, "row", (cell, line, position) => {
    const [token, permille] = guesses(lens, N - line, position)[0];
    cell.append(token);
    if (token === tokens[position + 1]) {
      cell.className = "right";
      cell.append(make("span", { className: "unseen", textContent: ", right" }));
    }
    cell.style.setProperty("--p", (STRONGEST * permille) / 1000);
  });
}

function drawAttention() {
  const { tokens } = sentence();
  drawGrid("attention", tokens, tokens, "looks at", (cell, query, key) => {
    if (key > query) return Object.assign(cell, { className: "ahead", tabIndex: -1 });
    const share = looked(query, key);
    cell.textContent = share >= 0.095 ? Math.round(100 * share) : "";
    cell.setAttribute("aria-label", `${Math.round(100 * share)} %`);
    cell.style.setProperty("--p", STRONGEST * share);
  });
}

/** Marks the chosen token and what enters and leaves the chosen layer. */
function mark() {
  for (const marked of document.querySelectorAll(".marked")) marked.classList.remove("marked");
  for (const row of [choice.layer, choice.layer + 1]) find("lens").tBodies[0].rows[N - row].classList.add("marked");
  for (const line of find("lens").rows) line.cells[choice.token + 1].classList.add("marked");
  find("attention").tBodies[0].rows[choice.token].cells[0].classList.add("marked");
}

/** Take over a change of the choice, brought within bounds, and draw what depends on it. */
function choose(change, redraw = false) {
  const before = { ...choice };
  Object.assign(choice, change);
  choice.sentence = between(choice.sentence, 0, data.sentences.length - 1);
  choice.layer = between(choice.layer, 0, N - 1);
  choice.head = between(choice.head, MEAN, data.n_heads - 1);
  choice.token = between(choice.token, 0, sentence().tokens.length - 1);
  const changed = (name) => redraw || before[name] !== choice[name];
  if (changed("sentence")) {
    attention = Uint8Array.from(atob(sentence().attention), (character) => character.charCodeAt(0));
    drawLens();
  }
  if (["sentence", "layer", "head"].some(changed)) drawAttention();
  drawTokens();
  drawSentences();
  drawNext();
  mark();
  for (const name of ["sentence", "layer", "head"]) find(name).value = choice[name];
  for (const option of document.getElementsByName("lesion")) option.checked = option.value === choice.lesion;
  const address = `#${new URLSearchParams(choice)}`;
  if (location.hash !== address) location.replace(address);
}

/** What the address asks for, as far as it can be had. */
function asked() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const whole = ["sentence", "layer", "head", "token"].filter((name) => /^-?\d+$/.test(wanted.get(name) ?? ""));
  const change = Object.fromEntries(whole.map((name) => [name, Number(wanted.get(name))]));
  return ["drop", "swap"].includes(wanted.get("lesion")) ? { ...change, lesion: wanted.get("lesion") } : change;
}

/** Pointing and moving inspect a cell, a click or Enter chooses the token of its column (lens) or row (attention). */
function listen(id, chosen) {
  const place = (event) => {
    const cell = event.target.closest("td:not(.ahead)");
    return cell && [cell, Number(cell.dataset.row), Number(cell.dataset.column)];
  };
  const inspect = (event) => place(event) && details[id](...place(event).slice(1));
  find(id).addEventListener("pointerover", inspect);
  find(id).addEventListener("focusin", inspect);
  find(id).addEventListener("click", (event) => place(event) && choose(chosen(...place(event).slice(1))));
  find(id).addEventListener("keydown", (event) => {
    if (!place(event)) return;
    const [cell, row, column] = place(event);
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -column], End: [0, sentence().tokens.length], Enter: [0, 0], " ": [0, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    if (step[0] === 0 && step[1] === 0 && event.key !== "Home") return choose(chosen(row, column));
    const line = find(id).tBodies[0].rows[row + step[0]] ?? cell.parentElement;
    const cells = [...line.cells].filter((other) => other.matches("td:not(.ahead)"));
    const next = cells[between(column + step[1], 0, cells.length - 1)];
    Object.assign(cell, { tabIndex: -1 });
    Object.assign(next, { tabIndex: 0 });
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

find("sentence").append(...data.sentences.map(({ text }, value) => make("option", { value, textContent: text })));
find("head").append(make("option", { value: MEAN, textContent: "mean of all" }));
find("head").append(...Array.from({ length: data.n_heads }, (_, value) => make("option", { value, textContent: value })));
for (const name of ["sentence", "layer", "head"])
  find(name).addEventListener("input", (event) => choose({ [name]: Number(event.target.value) }));
for (const option of document.getElementsByName("lesion"))
  option.addEventListener("change", (event) => choose({ lesion: event.target.value }));
listen("lens", (_row, position) => ({ token: position }));
listen("attention", (query) => ({ token: query }));
const button = (event) => event.target.closest("button");
for (const kind of ["pointerover", "focusin"])
  find("tokens").addEventListener(kind, (event) => button(event) && details.tokens(Number(button(event).dataset.position)));
find("tokens").addEventListener("click", (event) => button(event) && choose({ token: Number(button(event).dataset.position) }));
window.addEventListener("hashchange", () => choose(asked()));
find("controls").addEventListener("submit", (event) => event.preventDefault());
choose(asked(), true);
