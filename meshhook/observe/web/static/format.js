// Numbers, durations and moments as text: short, and as wide from one moment to the next.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

export const NOTHING = "–";

export function words(name) {
  return String(name).replaceAll("_", " ");
}

export function sentence(name) {
  if (name === "ok") return "OK";
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** 1,204 up to 9,999, then 12.0k, 3.4M, 1.2G. */
export function count(number) {
  if (!Number.isFinite(number)) return NOTHING;
  if (Math.abs(number) < 1e4) return whole.format(number);
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(number) >= size) {
      const scaled = number / size;
      return (scaled < 100 ? scaled.toFixed(1) : whole.format(scaled)) + unit;
    }
  }
}

/** Something per second: 0, 0.4, 4.2, 42, 1,024, 12.0k. */
export function rate(number) {
  if (!Number.isFinite(number)) return NOTHING;
  if (number < 0.05) return "0";
  return number < 9.95 ? number.toFixed(1) : count(number);
}

/** A share of 0 to 1 in percent; what is little but there is not shown as nothing. */
export function share(number) {
  if (number === null || !Number.isFinite(number)) return NOTHING;
  const percent = number * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.1) return "<0.1 %";
  if (percent > 99.9 && percent < 100) return ">99.9 %";
  return percent < 9.95 ? `${percent.toFixed(1)} %` : `${Math.round(percent)} %`;
}

/** How long something takes: 250 µs, 12 ms, 1.2 s, 2 min 5 s, 3 h 2 min. */
export function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return NOTHING;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${Math.max(1, Math.round(seconds * 1e6))} µs`;
  if (seconds < 0.00995) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  return left(seconds);
}

/** How much time is left or has gone, in whole seconds, which do not flicker. */
export function left(seconds) {
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  const [size, unit, rest, name] = all < 3600 ? [60, "min", 1, "s"]
    : all < 86400 ? [3600, "h", 60, "min"] : [86400, "d", 3600, "h"];
  const more = Math.floor((all % size) / rest);
  return `${Math.floor(all / size)} ${unit}${more ? ` ${more} ${name}` : ""}`;
}

/** How long ago, in one unit. */
export function ago(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  if (all < 2) return "now";
  if (all < 60) return `${all} s ago`;
  if (all < 3600) return `${Math.floor(all / 60)} min ago`;
  return all < 86400 ? `${Math.floor(all / 3600)} h ago` : `${Math.floor(all / 86400)} d ago`;
}

export function timeOfDay(epoch) {
  return clock.format(epoch * 1000);
}

export function dateAndTime(epoch) {
  return moment.format(epoch * 1000);
}
