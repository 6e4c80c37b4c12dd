// A small line chart of the last minutes, one line a name.

/** Points of a line. */
const POINTS = 90;
/** Lines that are told apart; the rest is left out. */
const LINES = 5;
/** @type {[string, number[]][]} */
const NOTHING = [["", []]];
const WIDTH = 300;
const HEIGHT = 80;

/** @param {string} name @param {Record<string, string | number>} attributes */
function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

/** A chart, and how a value for each of its lines is added. */
export function chart() {
  const element = document.createElement("figure");
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const legend = document.createElement("ul");
  const top = Object.assign(document.createElement("p"), { className: "top" });
  element.append(document.createElement("figcaption"), top, picture, legend);
  /** @type {Map<string, number[]>} */
  const lines = new Map();

  /** @param {Record<string, number>} values by the name of their line */
  function add(values) {
    for (const name of Object.keys(values)) if (!lines.has(name) && lines.size < LINES) lines.set(name, []);
    for (const [name, line] of lines) {
      line.push(values[name] ?? 0);
      if (line.length > POINTS) line.shift();
    }
    draw();
  }

  function draw() {
    const highest = Math.max(1, ...[...lines.values()].flat());
    top.textContent = number(highest);
    const drawn = [...lines.values()].map((line, i) => {
      const points = line.map((value, j) => {
        const x = WIDTH - (line.length - 1 - j) * (WIDTH / (POINTS - 1));
        return `${x.toFixed(1)},${(HEIGHT - 2 - (value / highest) * (HEIGHT - 4)).toFixed(1)}`;
      });
      return svg("polyline", { points: points.join(" "), class: `line-${i}`, "vector-effect": "non-scaling-stroke" });
    });
    picture.replaceChildren(...drawn);
    const entries = [...(lines.size ? lines : NOTHING)].map(([name, line], i) => {
      const entry = document.createElement("li");
      entry.className = `line-${i}`;
      entry.textContent = `${name} ${number(line.at(-1) ?? 0)}`.trim();
      return entry;
    });
    legend.replaceChildren(...entries);
  }

  return { element, add };
}

/** @param {number} value */
function number(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/\.?0+$/, "");
}
