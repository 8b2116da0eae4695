"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg", SIZE = 1000, LISTED = 200;
const byId = (id) => document.getElementById(id);
const n = data.tokens.length, marks = Array.from({ length: n }, () => []), hidden = new Set();
const texts = data.tokens.map((token, i) => `${data.left[i]} ${token} ${data.right[i]}`.toLowerCase());
let matching = new Set(data.tokens.keys()), current = -1, pinned = -1, lines = new Map();

function element(parent, name, attributes = {}, text = null) {
  const svg = parent.namespaceURI === NS || name === "svg";
  const made = svg ? document.createElementNS(NS, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return parent.appendChild(made);
}

function dot(parent, category, x, y, r) {
  const look = { fill: category < 0 ? data.grey : data.colors[category], class: "dot" };
  const shape = category < 0 ? "circle" : data.shapes[category];
  if (shape === "circle") return element(parent, "circle", { ...look, cx: x, cy: y, r });
  const s = r * 1.25;
  const path = shape === "square" ? `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z` : `M${x} ${y - s}L${x + s} ${y + r}H${x - s}z`;
  return element(parent, "path", { ...look, d: path });
}

function watch(mark, i) {
  mark.dataset.i = i;
  marks[i].push(mark);
}

function drawMap(svg, panel) {
  const r = Math.max(5, Math.min(14, 260 / Math.sqrt(n)));
  const order = [...data.tokens.keys()].sort((a, b) => data.category[a] - data.category[b]);
  for (const i of order) watch(dot(svg, data.category[i], panel.x[i], panel.y[i], r), i);
}

function drawForms(svg, panel) {
  const forms = new Map();
  data.tokens.forEach((token) => forms.set(token, (forms.get(token) || 0) + 1));
  const sorted = [...forms].sort((a, b) => b[1] - a[1]);
  sorted.forEach(([token, count], place) => {
    const y = (place + 1) * SIZE / (sorted.length + 1);
    const mark = element(svg, "circle", { class: "dot form", cx: 250, cy: y, r: 20 });
    mark.dataset.i = data.tokens.indexOf(token);
    data.tokens.forEach((other, i) => { if (other === token) marks[i].push(mark); });
    if (sorted.length > 1) element(svg, "text", { class: "caption", x: 250, y: y + 60 }, `${token} ${count}`);
  });
  panel.words = sorted.length === 1 ? `all ${n.toLocaleString("en")} are one vector: no context yet` : `${sorted.length} vectors: no context yet`;
}

function drawHeat(svg, panel) {
  panel.cosines.forEach((row, i) => row.forEach((cosine, j) => {
    const rect = element(svg, "rect", { x: j, y: i, width: 1, height: 1, fill: data.scale[Math.max(0, Math.min(100, cosine))] });
    element(rect, "title", {}, `cosine ${(cosine / 100).toFixed(2)}`);
    if (i === j) watch(rect, i); else rect.dataset.i = i;
  }));
}

function drawPanel(panel) {
  const narrow = !panel.cosines && panel.free;
  const figure = element(byId("panels"), "figure", narrow ? { class: "narrow" } : {});
  const caption = element(figure, "figcaption", {}, panel.name);
  const box = panel.cosines ? `0 0 ${n} ${n}` : narrow ? `0 0 500 ${SIZE}` : `-20 -20 ${SIZE + 40} ${panel.height + 40}`;
  const svg = element(figure, "svg", { viewBox: box, role: "img", "aria-label": `${panel.name}: ${n} occurrences of ${data.word}` });
  (panel.cosines ? drawHeat : narrow ? drawForms : drawMap)(svg, panel);
  if (panel.words) caption.textContent += `: ${panel.words}`;
  svg.addEventListener("pointerover", (event) => over(event.target));
  svg.addEventListener("click", (event) => { if (event.target.dataset.i !== undefined) pin(Number(event.target.dataset.i)); });
}

function over(target) {
  if (pinned < 0 && target.dataset.i !== undefined) show(Number(target.dataset.i));
}

function show(i) {
  if (current >= 0) { marks[current].forEach((mark) => mark.classList.remove("on")); lines.get(current)?.classList.remove("on"); }
  current = i;
  const sentence = byId("sentence");
  sentence.replaceChildren();
  byId("place").textContent = "Point at an occurrence, or step through them with the arrow keys.";
  if (i < 0) return;
  marks[i].forEach((mark) => { mark.classList.add("on"); if (!mark.classList.contains("form")) mark.parentNode.appendChild(mark); });
  lines.get(i)?.classList.add("on");
  sentence.append(data.left[i] + " ");
  element(sentence, "mark", {}, data.tokens[i]);
  sentence.append(" " + data.right[i]);
  const label = data.category[i] >= 0 ? `, ${data.title}: ${data.names[data.category[i]]}` : "";
  byId("place").textContent = `sentence ${data.keys[i]}, token ${data.positions[i] + 1}${label}`;
}

function pin(i) {
  pinned = i === pinned ? -1 : i;
  byId("shown").classList.toggle("pinned", pinned >= 0);
  if (i >= 0) show(i);
}

function visible() {
  return [...matching].filter((i) => !hidden.has(data.category[i]));
}

function refresh() {
  const wanted = byId("search").value.toLowerCase().trim();
  matching = new Set([...data.tokens.keys()].filter((i) => texts[i].includes(wanted)));
  marks.forEach((own, i) => own.forEach((mark) => {
    if (mark.classList.contains("form")) return;
    mark.classList.toggle("off", hidden.has(data.category[i]) && mark.tagName !== "rect");
    mark.classList.toggle("dim", !matching.has(i));
  }));
  const found = visible();
  byId("matches").textContent = wanted ? `${found.length} of ${n} match` : "";
  list(found);
}

function list(found) {
  lines = new Map();
  byId("listed").textContent = found.length > LISTED ? `First ${LISTED} of ${found.length} occurrences` : `${found.length} occurrences`;
  byId("lines").replaceChildren();
  for (const i of found.slice(0, LISTED)) {
    const button = element(element(byId("lines"), "li"), "button", { type: "button", dir: "auto" });
    const left = element(button, "span", { class: "left" });
    element(left, "bdi", {}, data.left[i].slice(-90));
    element(button, "b", {}, data.tokens[i]);
    element(element(button, "span"), "bdi", {}, data.right[i].slice(0, 90));
    button.addEventListener("pointerenter", () => { if (pinned < 0) show(i); });
    button.addEventListener("focus", () => { if (pinned < 0) show(i); });
    button.addEventListener("click", () => pin(i));
    lines.set(i, button);
  }
  lines.get(current)?.classList.add("on");
}

function toggles() {
  const counts = new Map();
  data.category.forEach((c) => counts.set(c, (counts.get(c) || 0) + 1));
  for (const category of [...counts.keys()].sort((a, b) => (a < 0) - (b < 0) || a - b)) {
    if (counts.size === 1 && category < 0) return;
    const button = element(byId("labels"), "button", { type: "button", "aria-pressed": "true" });
    dot(element(button, "svg", { viewBox: "0 0 20 20" }), category, 10, 10, 8);
    element(button, "bdi", {}, `${category < 0 ? data.none : data.names[category]} (${counts.get(category)})`);
    button.addEventListener("click", () => {
      if (!hidden.delete(category)) hidden.add(category);
      button.setAttribute("aria-pressed", String(!hidden.has(category)));
      refresh();
    });
  }
}

function step(way) {
  const found = visible();
  if (!found.length) return;
  const place = found.indexOf(current);
  const next = found[place < 0 ? (way > 0 ? 0 : found.length - 1) : (place + way + found.length) % found.length];
  if (pinned >= 0) pin(pinned);
  show(next);
  lines.get(next)?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.id === "search", button = event.target.tagName === "BUTTON";
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowDown" || (event.key === "ArrowRight" && !typing)) step(1);
  else if (event.key === "ArrowUp" || (event.key === "ArrowLeft" && !typing)) step(-1);
  else if (event.key === "Enter" && !button && current >= 0) pin(current);
  else if (event.key === "Escape") { pinned = -1; byId("shown").classList.remove("pinned"); show(-1); if (typing) { event.target.value = ""; refresh(); } }
  else if (event.key === "/" && !typing) byId("search").focus();
  else return;
  event.preventDefault();
});
byId("search").addEventListener("input", refresh);
byId("heading").textContent = data.heading;
byId("about").textContent = data.about;
data.panels.forEach(drawPanel);
toggles();
refresh();
show(-1);
document.body.dataset.ready = "1";
