// Figures as people read them, and elements with a text.

const UNITS = ["", "k", "M", "G", "T", "P"];

// 950, 1.2k, 35k, 4.7M
export function count(value) {
  return scaled(value, 1000, UNITS);
}

// 512 B, 1.5 KiB
export function bytes(value) {
  return scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB", " PiB"]);
}

export function percent(value) {
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} %`;
}

function scaled(value, step, units) {
  let unit = 0;
  let left = value;
  // What rounds up to a whole step is shown as one of the next unit.
  while (left >= step - 0.5 && unit < units.length - 1) {
    left /= step;
    unit += 1;
  }
  const digits = unit > 0 && left < 9.95 ? 1 : 0;
  return `${Number(left.toFixed(digits))}${units[unit]}`;
}

export function shown(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
