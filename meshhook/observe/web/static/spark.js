// Rates of the last two minutes as a line: all calls, and below them what went wrong.
//
// Three paths each, in units of seconds and percent; the browser stretches them, and the style sheet
// has the colours. A canvas each would be a layer each, which costs more than all the rest.

import { SECONDS } from "./model.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

/** Make the paths in an empty svg element. */
export function prepare(svg) {
  svg.setAttribute("viewBox", `0 0 ${SECONDS - 1} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const part of ["area", "bad", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", part);
    svg.append(path);
  }
}

/** The next of 1, 2, 5, 10, 20 ...: a scale that does not move with every call. */
function scale(most) {
  if (!(most > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].find((each) => each * power >= most) * power;
}

function highest(history) {
  let most = 0;
  for (const value of history) if (value > most) most = value;
  return most;
}

/** Draw; the newest second is at `cursor`. Returns what the top stands for. */
export function draw(svg, total, bad, cursor) {
  if (!svg.firstChild) prepare(svg);
  const [area, wrong, line] = svg.children;
  const top = total ? scale(highest(total)) : 1;
  const runs = total ? known(total, cursor, top) : [];
  set(line, runs.map(outline).join(""));
  set(area, runs.map(closed).join(""));
  set(wrong, bad && highest(bad) > 0 ? known(bad, cursor, top).map(closed).join("") : "");
  return top;
}

function set(path, shape) {
  if (path.shape !== shape) path.setAttribute("d", (path.shape = shape));
}

/** The points of each run of seconds that are known: `[x, y, y, ...]`, from the oldest on. */
function known(history, cursor, top) {
  const runs = [];
  let run = null;
  for (let second = 0; second < SECONDS; second += 1) {
    const value = history[(cursor + 1 + second) % SECONDS];
    if (Number.isNaN(value)) {
      run = null;
      continue;
    }
    if (!run) runs.push((run = [second]));
    run.push(Math.round(HEIGHT - (value / top) * (HEIGHT - 4)));
  }
  return runs;
}

function outline([from, first, ...rest]) {
  return `M${from} ${first}${rest.map((y, index) => `L${from + index + 1} ${y}`).join("")}`;
}

function closed(run) {
  const [from] = run;
  return `M${from} ${HEIGHT}L${outline(run).slice(1)}V${HEIGHT}Z`;
}
