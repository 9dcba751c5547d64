// A chart of one or two lines over the last minutes, as SVG, with a reading where the pointer is. It begins with half
// a minute and grows with what there is to show.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 44;
const BOTTOM = 18;
const TOP = 8;
const SPAN_MIN_MS = 30_000;
// Distances of the marks on the time axis, in seconds; few enough of them to read.
const STEPS_S = [10, 15, 30, 60, 120];
const MARKS_MAX = 5;

export class Chart {
  // `names`: what the lines are called, in the order of the values; `format`: a value as text; `base`: of the units.
  constructor(place, names, { format, base }, spanMaxMs) {
    Object.assign(this, { place, names, format, base, spanMaxMs, points: [], pointer: null });
    this.svg = element("svg", { role: "img" });
    this.reading = document.createElement("p");
    this.reading.className = "reading";
    this.reading.hidden = true;
    place.append(this.svg, this.reading);
    place.addEventListener("pointermove", (event) => this.point(event.clientX - place.getBoundingClientRect().left));
    place.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  add(atMs, values) {
    this.points.push({ atMs, values });
    const oldest = atMs - this.spanMaxMs;
    while (this.points.length > 2 && this.points[1].atMs < oldest) this.points.shift();
    this.draw();
  }

  point(x) {
    this.pointer = x;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.place;
    const last = this.points.at(-1);
    if (!last || width === 0) return;
    const top = nice(Math.max(1, ...this.points.flatMap((point) => point.values)), this.base);
    const spanMs = Math.min(this.spanMaxMs, Math.max(SPAN_MIN_MS, last.atMs - this.points[0].atMs));
    const start = last.atMs - spanMs;
    const x = (atMs) => LEFT + ((atMs - start) / spanMs) * (width - LEFT);
    const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const at = Math.round(y(top * share)) + 0.5;
      parts.push(element("line", { class: "grid", x1: LEFT, x2: width, y1: at, y2: at }));
      parts.push(element("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, this.format(top * share)));
    }
    const step = STEPS_S.find((seconds) => spanMs / 1000 / seconds <= MARKS_MAX) ?? STEPS_S.at(-1);
    for (let seconds = 0; seconds * 1000 < spanMs - 1; seconds += step) {
      const text = seconds === 0 ? "now" : seconds % 60 ? `−${seconds} s` : `−${seconds / 60} min`;
      const anchor = seconds === 0 ? "end" : "middle";
      parts.push(element("text", { x: x(last.atMs - seconds * 1000), y: height - 2, "text-anchor": anchor }, text));
    }
    this.names.forEach((name, index) => {
      const line = this.points.map((p) => `${x(p.atMs).toFixed(1)},${y(p.values[index]).toFixed(1)}`).join(" ");
      const floor = y(0).toFixed(1);
      const [first, end] = [x(this.points[0].atMs), x(last.atMs)];
      parts.push(element("polygon", { class: `area ${name}`, points: `${first},${floor} ${line} ${end},${floor}` }));
      parts.push(element("polyline", { class: `line ${name}`, points: line }));
    });
    parts.push(...this.cursor(x, height));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", this.text(last));
    // What is left of the axis belongs to the oldest point, which may be older than the chart.
    const clip = element("clipPath", { id: `clip-${this.place.id}` });
    clip.append(element("rect", { x: LEFT, y: 0, width: Math.max(0, width - LEFT), height }));
    const lines = parts.filter((part) => ["polygon", "polyline"].includes(part.tagName));
    const group = element("g", { "clip-path": `url(#clip-${this.place.id})` });
    group.append(...lines);
    this.svg.replaceChildren(clip, ...parts.filter((part) => !lines.includes(part)), group);
  }

  // The line at the pointer; the reading is placed beside it.
  cursor(x, height) {
    const inside = this.points.filter((point) => x(point.atMs) >= LEFT);
    this.reading.hidden = this.pointer === null || inside.length === 0;
    if (this.reading.hidden) return [];
    const distance = (point) => Math.abs(x(point.atMs) - this.pointer);
    const near = inside.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    const at = x(near.atMs);
    this.reading.textContent = `${new Date(near.atMs).toLocaleTimeString()}  ${this.text(near)}`;
    const room = this.place.clientWidth - this.reading.offsetWidth;
    this.reading.style.left = `${Math.max(LEFT, Math.min(at + 8, room))}px`;
    return [element("line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: height - BOTTOM })];
  }

  text(point) {
    if (this.names.length === 1) return this.format(point.values[0]);
    return this.names.map((name, index) => `${name} ${this.format(point.values[index])}`).join("   ");
  }
}

// The next of 1, 2, 4, 10, 20, 40, … of a unit: its half is a short number too.
function nice(value, base) {
  const unit = base ** Math.floor(Math.log(value) / Math.log(base));
  const steps = [1, 2, 4, 10, 20, 40, 100, 200, 400, base];
  return steps.map((step) => step * unit).find((step) => step >= value) ?? value;
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
