// Rates of the last two minutes, drawn on a canvas: all calls, and below them what went wrong.

import { SECONDS } from "./model.js";

const colours = {};

/** Read the colours of the theme anew. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["line", "area", "bad", "grid"]) {
    // An unregistered property is text; a canvas wants a colour of one theme.
    colours[name] = resolve(style.getPropertyValue(`--spark-${name}`));
  }
}

function resolve(value) {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = value;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** The next of 1, 2, 5, 10, 20 ...: a scale that does not move with every call. */
export function scale(most) {
  if (!(most > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].find((each) => each * power >= most) * power;
}

export function highest(history) {
  let most = 0;
  for (const value of history) if (value > most) most = value;
  return most;
}

/** Draw; the newest second is at `cursor`. Returns what the top of the canvas stands for. */
export function draw(canvas, total, bad, cursor) {
  const density = Math.min(devicePixelRatio || 1, 2);
  const width = Math.round(canvas.clientWidth * density);
  const height = Math.round(canvas.clientHeight * density);
  if (!width || !height) return 1;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const thick = 1.25 * density;
  const top = total ? scale(highest(total)) : 1;
  const x = (age) => width - thick - (age * (width - 2 * thick)) / (SECONDS - 1);
  const y = (value) => height - thick - (value / top) * (height - 2 * thick);
  pen.fillStyle = colours.grid;
  pen.fillRect(0, height - density, width, density);
  if (!total) return top;
  pen.lineWidth = thick;
  pen.lineJoin = "round";
  area(pen, total, cursor, x, y, height, colours.area, colours.line);
  if (bad && highest(bad) > 0) area(pen, bad, cursor, x, y, height, colours.bad, colours.bad);
  return top;
}

function area(pen, history, cursor, x, y, height, fill, stroke) {
  let age = SECONDS - 1;
  while (age >= 0) {
    while (age >= 0 && Number.isNaN(at(history, cursor, age))) age -= 1;
    if (age < 0) return;
    const line = new Path2D();
    const begin = age;
    line.moveTo(x(age), y(at(history, cursor, age)));
    for (age -= 1; age >= 0 && !Number.isNaN(at(history, cursor, age)); age -= 1) {
      line.lineTo(x(age), y(at(history, cursor, age)));
    }
    const filled = new Path2D(line);
    filled.lineTo(x(age + 1), height);
    filled.lineTo(x(begin), height);
    pen.fillStyle = fill;
    pen.fill(filled);
    pen.strokeStyle = stroke;
    pen.stroke(line);
  }
}

function at(history, cursor, age) {
  return history[(cursor - age + SECONDS) % SECONDS];
}
