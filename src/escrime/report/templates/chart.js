// The chart that answers when touched: accuracy against ε, drawn from the JSON beside it.
const SVG = (() => {
  const box = document.createElement("div");
  box.innerHTML = "<svg></svg>"; // the parser knows the namespace
  return box.firstChild.namespaceURI;
})();

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (parent) parent.append(element);
  return element;
}

const PAPER = "the paper’s points", WORST = "worst case up to ε", BANDS = "95% intervals";
// Dashes and markers tell apart what colors do not: threat levels, and what stands beside the curves.
const CIRCLE = "M-4 0A4 4 0 1 1 4 0A4 4 0 1 1-4 0Z", CROSS = "M-4-4L4 4M-4 4L4-4", STAR = "M0-7L2-2L7 0L2 2L0 7L-2 2L-7 0L-2-2Z";
const DASHES = { transfer: "7 4", [WORST]: "3 3", [PAPER]: "1 4" };
const SHAPES = { "transfer": "M-4-4H4V4H-4Z", "adaptive": "M0-5.2L5.2 0L0 5.2L-5.2 0Z", "black-box": CROSS, "white-box": CIRCLE, [PAPER]: CROSS };

const MANY = 6; // curves; more than these need room
const shown = value => value.toFixed(1) + "%";
const range = ([, , low, high]) => low === null ? "" : `${low.toFixed(1)} to ${high.toFixed(1)}%`;
const epsText = eps => String(+eps.toFixed(6));
const same = (a, b) => Math.abs(a - b) <= 6e-10;
const at = (points, eps) => points.find(point => same(point[0], eps));
const shapeOf = name => SHAPES[name] || (name.endsWith(" attack") ? STAR : CIRCLE);
const thin = name => name === WORST || name === PAPER;
const lined = name => !name || !name.endsWith(" attack");

class Chart {
  constructor(root) {
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.root = root;
    this.plot = root.querySelector(".plot");
    this.live = root.querySelector(".live");
    this.reading = root.querySelector(".reading");
    this.form = root.querySelector(".controls");
    // Names of what is switched off; bands over bands show nothing but gray, and the table holds their numbers.
    this.off = new Set(this.data.views.some(view => view.curves.length > MANY) ? [BANDS] : []);
    this.view = this.data.views[0];
    this.active = 0; // the curve that the arrow keys follow
    this.eps = null;
    root.hidden = false;
    this.build();
    this.show(this.view);
    new ResizeObserver(() => this.render()).observe(this.plot);
  }

  // An ε as it was written, such as 4/255.
  epsText(eps) {
    return this.view.written.find(([value]) => same(value, eps))?.[1] ?? epsText(eps);
  }

  build() {
    this.svg = draw("svg", { tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": this.plot.dataset.label }, this.plot);
    this.tip = make("div", { class: "tip", hidden: "" });
    this.plot.append(this.tip);
    for (const name of ["pointermove", "pointerdown"]) this.svg.addEventListener(name, event => this.touch(event));
    this.svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") this.tip.hidden = true; });
    this.svg.addEventListener("keydown", event => this.key(event));
    this.svg.addEventListener("focus", () => { if (this.svg.matches(":focus-visible")) this.point(this.active, this.eps ?? 0, true); });
    this.svg.addEventListener("blur", () => { this.tip.hidden = true; });
    this.form.addEventListener("submit", event => event.preventDefault());
    this.form.addEventListener("change", event => {
      if (event.target.name === "view") return this.show(this.data.views[event.target.value]);
      this.off[event.target.checked ? "delete" : "add"](event.target.value);
      this.render();
    });
  }

  show(view) {
    this.view = view;
    this.active = 0;
    this.grid = [...new Set(view.curves.flatMap(curve => curve.points.map(point => point[0])))].sort((a, b) => a - b);
    this.last = this.grid.at(-1);
    const wanted = this.eps ?? this.data.eps ?? this.last / 3;
    this.eps = this.grid.reduce((best, eps) => Math.abs(eps - wanted) < Math.abs(best - wanted) ? eps : best);
    this.controls();
    this.render();
  }

  // Check boxes that switch defenses, threat levels and extras on and off.
  controls() {
    const { curves, marks } = this.view, groups = [];
    const box = (name, ...sample) => {
      const input = make("input", { type: "checkbox", value: name });
      input.checked = !this.off.has(name);
      return make("label", {}, input, ...sample, name);
    };
    // One box alone offers no choice, unless it was switched off in another view.
    const offers = boxes => boxes.length > 1 || boxes[0]?.querySelector("input:not(:checked)");
    const group = (title, ...boxes) => offers(boxes) && groups.push(make("fieldset", {}, make("legend", {}, title), ...boxes));
    if (this.data.views.length > 1) {
      const select = make("select", { name: "view" });
      this.data.views.forEach((view, i) => {
        const option = make("option", { value: i }, view.title);
        option.selected = view === this.view;
        select.append(option);
      });
      groups.push(make("label", { class: "choice" }, "Attack and score ", select));
    }
    const defenses = new Map(curves.map(curve => [curve.defense, curve.color]));
    group(this.view.kinds || "Defense", ...[...defenses].map(([name, color]) => box(name, this.sample(color))));
    const threats = [...new Set(curves.map(curve => curve.threat))];
    group(this.view.kinds ? "Threat" : "Attacker", ...threats.map(name => box(name, this.sample("muted", name))));
    const names = [...new Set(marks.map(mark => mark.name))];
    groups.push(make("fieldset", {}, make("legend", {}, "Also show"), box(BANDS), ...names.map(name => box(name, this.sample("muted", name)))));
    const focused = document.activeElement?.name === "view" && this.form.contains(document.activeElement);
    this.form.replaceChildren(...groups);
    if (focused) this.form.querySelector("select").focus();
  }

  // A piece of the curve for a label: its color, dashes and marker.
  sample(color, name) {
    const svg = draw("svg", { class: "sample", viewBox: "-14 -8 28 16", "aria-hidden": "true", style: `stroke: var(--${color}); fill: var(--${color})` });
    if (lined(name)) draw("line", { x1: -14, x2: 14, y1: 0, y2: 0, class: thin(name) ? "thin" : "line", "stroke-dasharray": DASHES[name] || "" }, svg);
    if (name && name !== WORST) draw("path", { d: shapeOf(name) }, svg);
    return svg;
  }

  visible(item) {
    return !this.off.has(item.defense) && (item.threat === null || !this.off.has(item.threat)) && !this.off.has(item.name);
  }

  render() {
    const width = Math.max(260, this.plot.clientWidth), narrow = width < 520;
    const [most, share] = this.view.curves.length > MANY ? [600, 1] : [440, 0.72];
    const height = Math.round(Math.min(most, Math.max(260, width * share)));
    const frame = this.frame = { left: 40, right: 14, top: 26, bottom: 40, width, height };
    this.x = eps => frame.left + (width - frame.left - frame.right) * (0.02 + 0.96 * (this.last ? eps / this.last : 0));
    this.y = value => height - frame.bottom - (height - frame.top - frame.bottom) * value / 100;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    this.axes(narrow);
    if (!this.off.has(BANDS)) this.view.curves.filter(curve => this.visible(curve)).forEach(curve => this.band(curve));
    const marks = this.view.marks.filter(mark => this.visible(mark));
    marks.filter(mark => lined(mark.name)).forEach(mark => this.mark(mark));
    this.view.curves.forEach((curve, i) => { if (this.visible(curve)) this.curve(curve, i); });
    marks.filter(mark => !lined(mark.name)).forEach(mark => this.mark(mark)); // single points, which curves would cover
    this.cursor = draw("g", { class: "cursor" }, this.svg);
    if (!this.visible(this.view.curves[this.active])) this.active = Math.max(0, this.view.curves.findIndex(curve => this.visible(curve)));
    this.read();
    this.tip.hidden = true;
  }

  axes(narrow) {
    const { left, right, bottom, width, height } = this.frame;
    for (let value = 0; value <= 100; value += 20) {
      draw("line", { x1: left, x2: width - right, y1: this.y(value), y2: this.y(value), class: "grid" }, this.svg);
      draw("text", { x: left - 7, y: this.y(value) + 4, class: "tick end" }, this.svg).textContent = value;
    }
    const of = this.view.fractions ? 255 : 1, step = ticks(this.last * of, narrow ? 4 : 7);
    for (let count = 0; count <= this.last * of * 1.0001; count += step) {
      const eps = count / of, text = epsText(count) + (of > 1 && count ? `/${of}` : "");
      draw("text", { x: this.x(eps), y: height - bottom + 17, class: "tick middle" }, this.svg).textContent = text;
      draw("line", { x1: this.x(eps), x2: this.x(eps), y1: this.y(0), y2: this.y(0) + 4, class: "grid" }, this.svg);
    }
    draw("text", { x: width - right, y: height - 4, class: "tick end" }, this.svg).textContent = this.view.axis;
    draw("text", { x: 4, y: 12, class: "tick" }, this.svg).textContent = this.view.measure;
  }

  path(points, value = 1) {
    return points.map((point, i) => `${i ? "L" : "M"}${this.x(point[0]).toFixed(1)} ${this.y(point[value]).toFixed(1)}`).join("");
  }

  band(curve) {
    const back = [...curve.points].reverse();
    draw("path", { d: this.path(curve.points, 3) + this.path(back, 2).replace("M", "L") + "Z", style: `fill: var(--${curve.color})`, class: "band" }, this.svg);
  }

  mark(mark) {
    const worst = mark.name === WORST, paper = mark.name === PAPER;
    const group = draw("g", { class: paper ? "mark paper" : "mark", style: `stroke: var(--${mark.color}); fill: var(--${mark.color})`, "data-name": mark.name }, this.svg);
    if (lined(mark.name)) draw("path", { d: this.path(mark.points), class: "thin", "stroke-dasharray": DASHES[mark.name] }, group);
    if (!worst) this.dots(mark.points, shapeOf(mark.name), group);
  }

  curve(curve, i) {
    const group = draw("g", { class: "curve", style: `stroke: var(--${curve.color}); fill: var(--${curve.color})`, "data-curve": i, "data-defense": curve.defense, "data-threat": curve.threat }, this.svg);
    draw("path", { d: this.path(curve.points), class: "line", "stroke-dasharray": DASHES[curve.threat] || "" }, group);
    this.dots(curve.points, shapeOf(curve.threat), group);
  }

  dots(points, shape, group) {
    for (const [eps, value] of points) draw("path", { d: shape, transform: `translate(${this.x(eps).toFixed(1)} ${this.y(value).toFixed(1)})` }, group);
  }

  touch(event) {
    const box = this.svg.getBoundingClientRect();
    const px = (event.clientX - box.left) * this.frame.width / box.width, py = (event.clientY - box.top) * this.frame.height / box.height;
    const open = this.open();
    if (!open.length) return;
    // The nearest ε first, then the nearest curve that was measured there.
    const measured = this.grid.filter(eps => open.some(i => at(this.view.curves[i].points, eps)));
    const eps = measured.reduce((best, one) => Math.abs(this.x(one) - px) < Math.abs(this.x(best) - px) ? one : best);
    const there = open.filter(i => at(this.view.curves[i].points, eps));
    const far = i => Math.abs(this.y(at(this.view.curves[i].points, eps)[1]) - py);
    this.point(there.reduce((best, one) => far(one) < far(best) ? one : best), eps, true);
  }

  key(event) {
    const open = this.open(), grid = open.length ? this.view.curves[this.active].points.map(point => point[0]) : [];
    if (!grid.length) return;
    const nearest = grid.reduce((best, eps) => Math.abs(eps - this.eps) < Math.abs(best - this.eps) ? eps : best);
    const i = grid.indexOf(nearest), j = open.indexOf(this.active);
    const moves = {
      ArrowRight: () => [this.active, grid[Math.min(i + 1, grid.length - 1)]], ArrowLeft: () => [this.active, grid[Math.max(i - 1, 0)]],
      Home: () => [this.active, grid[0]], End: () => [this.active, grid.at(-1)],
      ArrowDown: () => [open[(j + 1) % open.length], nearest], ArrowUp: () => [open[(j + open.length - 1) % open.length], nearest],
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.point(...moves[event.key](), true);
  }

  open() {
    return this.view.curves.map((_, i) => i).filter(i => this.visible(this.view.curves[i]));
  }

  point(active, eps, tell) {
    const moved = active !== this.active || eps !== this.eps;
    this.active = active;
    const points = this.view.curves[active].points.map(point => point[0]);
    this.eps = points.reduce((best, one) => Math.abs(one - eps) < Math.abs(best - eps) ? one : best);
    this.read();
    if (tell && (moved || !this.live.textContent)) this.live.textContent = this.sentence();
    this.tell();
  }

  sentence() {
    const curve = this.view.curves[this.active], point = at(curve.points, this.eps);
    return point ? `${curve.defense}, ${curve.threat}, at ε = ${this.epsText(this.eps)}: ${shown(point[1])} ${this.view.measure.replace("% ", "")}, 95% interval ${range(point)}, n = ${point[4]}` : "";
  }

  // The cursor line, its dots, and the table of every visible curve at this ε.
  read() {
    const { top, bottom, height } = this.frame, x = this.x(this.eps);
    this.cursor.replaceChildren();
    const text = this.epsText(this.eps), levels = (this.eps * 255).toPrecision(3).replace(/\.?0+$/, "");
    const unit = !this.view.levels ? ` in ${this.view.norm}` : text.includes("/") ? "" : ` (${levels}/255)`;
    const table = make("table", {}, make("caption", {}, `${this.view.title} at ε = ${text}${unit}`));
    const head = ["", this.view.measure.replace("% ", ""), "95% interval", "n"].map(text => make("th", { scope: "col" }, text));
    const rows = make("tbody");
    table.append(make("thead", {}, make("tr", {}, ...head)), rows);
    this.reading.replaceChildren(table);
    if (!this.open().length) {
      rows.append(make("tr", {}, make("td", { colspan: 4 }, "Every curve is switched off.")));
      return;
    }
    draw("line", { x1: x, x2: x, y1: top, y2: height - bottom, class: "rule" }, this.cursor);
    for (const i of this.open()) {
      const curve = this.view.curves[i], point = at(curve.points, this.eps);
      const row = make("tr", i === this.active ? { class: "active" } : {});
      row.append(make("th", { scope: "row" }, this.sample(curve.color, curve.threat), `${curve.defense}, `, make("span", { class: "whole" }, curve.threat)));
      row.append(...(point ? [make("td", { class: "value" }, shown(point[1])), make("td", {}, range(point)), make("td", {}, point[4])] : [make("td", { colspan: 3 }, "not measured here")]));
      rows.append(row);
      const beside = this.beside(curve);
      if (beside) {
        row.className += " above";
        rows.append(make("tr", { class: "beside" }, make("td", { colspan: 4 }, beside)));
      }
      if (point) draw("circle", { cx: x, cy: this.y(point[1]), r: i === this.active ? 7.5 : 5.5, style: `stroke: var(--${curve.color})`, class: i === this.active ? "on" : "" }, this.cursor);
    }
  }

  // What else is known of a curve at this ε, in one line.
  beside(curve) {
    const words = [];
    for (const mark of this.view.marks) {
      const mine = mark.defense === curve.defense && (mark.threat === curve.threat || mark.threat === null);
      const point = mine && this.visible(mark) && at(mark.points, this.eps);
      if (!point) continue;
      const more = [range(point), point[4] === at(curve.points, this.eps)?.[4] ? "" : `n\u00a0=\u00a0${point[4]}`].filter(Boolean).join(", ");
      words.push(`${mark.name === PAPER ? "the paper" : mark.name} ${shown(point[1])}${mark.name === WORST || !more ? "" : ` (${more})`}`);
    }
    return words.join(" · ");
  }

  // A note beside the touched point.
  tell() {
    const curve = this.view.curves[this.active], point = at(curve.points, this.eps);
    this.tip.hidden = !point;
    if (!point) return;
    this.tip.replaceChildren(make("strong", {}, shown(point[1])), ` ${this.view.measure.replace("% ", "")}`, make("br"), `95%: ${range(point)}, n = ${point[4]}`, make("br"), `${curve.defense}, ${curve.threat}, ε = ${this.epsText(this.eps)}`);
    this.tip.style.borderColor = `var(--${curve.color})`;
    const scale = this.svg.getBoundingClientRect().width / this.frame.width;
    const x = this.x(this.eps) * scale, y = this.y(point[1]) * scale, wide = this.plot.clientWidth;
    const left = x + 14 + this.tip.offsetWidth > wide ? x - 14 - this.tip.offsetWidth : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(left, wide - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${Math.max(0, y - this.tip.offsetHeight - 12)}px`;
  }
}

// A round step that gives about `count` ticks up to `last`.
function ticks(last, count) {
  const rough = (last || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 2.5, 5, 10].find(factor => factor * power >= rough * 0.999);
}

document.querySelectorAll(".chart").forEach(root => { root.chart = new Chart(root); });
