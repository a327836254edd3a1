// The timeline: transitions and what operators did; or all events, folded so that one can read them.

import { put, setIcon, stamp } from "./dom.js";
import { ago, count, dateAndTime, duration, left, plural, timeOfDay, words } from "./format.js";

export const NOTABLE = [
  "circuit_changed",
  "operator_acted",
  "limit_changed",
  "rate_changed",
  "key_taken_over",
  "lease_lost",
  "store_failed",
  "abandoned_call_ended",
  "configuration_reloaded",
  "configuration_rejected",
];
const ROWS = 200;
const FOLD = 2000; // milliseconds that are folded together in the view of all events
const FOLDED = 8; // rows that they may take

const notable = new Set([...NOTABLE, "status_changed", "restarted", "switched"]);
export const isNotable = ({ event }) => notable.has(event);

const OWN = new Set(["id", "time", "event", "policy", "name", "times", "repeated", "status", "keyed"]);

/** What an occurrence says, in words. */
export function tell(occurrence) {
  const { event, old, reason } = occurrence;
  switch (event) {
    case "circuit_changed":
      return `${words(old)} → ${words(occurrence.new)}${occurrence.keyed ? " (one key)" : ""}, ${reason}`;
    case "status_changed":
      return old === occurrence.new
        ? `${words(old)} ⇄ ${words(occurrence.other)}`
        : `${words(old)} → ${words(occurrence.new)}`;
    case "limit_changed":
      return `limit ${old} → ${occurrence.new}, ${words(reason)}`;
    case "rate_changed":
      return `rate ${old} → ${occurrence.new}`;
    case "operator_acted":
      return act(occurrence);
    case "configuration_reloaded":
      return `read anew: ${plural(occurrence.changed, "policy", "policies")} changed`;
    case "configuration_rejected":
      return `not taken over: ${plural(occurrence.problems, "thing is", "things are")} wrong in it, told in the log meshhook.configuration, or by reload()`;
    case "restarted":
      return "the service has started anew: its counters begin at 0";
    case "switched":
      return `another process answers now: ${occurrence.process}`;
    default:
      return [words(event), ...details(occurrence)].join(", ");
  }
}

function act({ action, author, seconds }) {
  if (action === "expired") return "what an operator had set has ended";
  const time = seconds ? ` for ${left(seconds)}` : "";
  return `${words(action)}${time}${author ? ` by ${author}` : ""}`;
}

function details(occurrence) {
  return Object.entries(occurrence)
    .filter(([name, value]) => !OWN.has(name) && value !== null && value !== false)
    .map(([name, value]) => {
      if (name === "reason" || name === "error") return words(value);
      if (value === true) return words(name);
      const isTime = ["delay", "elapsed", "retry_after", "timeout", "late", "age"].includes(name);
      return `${words(name)} ${isTime ? duration(value) : value}`;
    });
}

function iconFor({ event, new: state, status }) {
  if (event === "operator_acted") return "person";
  if (event === "status_changed") return status;
  if (event === "circuit_changed") {
    return { closed: "ok", open: "failing", forced_open: "failing" }[state] ?? "degraded";
  }
  if (event === "configuration_rejected" || event === "store_failed" || event === "lease_lost") return "degraded";
  return isNotable({ event }) ? "change" : "event";
}

export class Timeline {
  constructor(root, model, open) {
    this.model = model;
    this.list = root.querySelector("#entries");
    this.held = root.querySelector("#held");
    this.empty = root.querySelector("#no-entries");
    this.mode = "notable";
    this.text = "";
    this.rows = []; // newest first
    this.waiting = []; // rows to be shown when nobody reads, oldest first
    this.folded = new Map();
    this.foldAt = 0;
    this.list.addEventListener("click", ({ target }) => {
      const key = target.closest(".who")?.key;
      if (key) open(key);
    });
    this.held.addEventListener("click", () => this.release());
    this.list.addEventListener("scroll", () => this.isRead || this.#show(), { passive: true });
  }

  /** Somebody has scrolled down, and rows must not move below their eyes. */
  get isRead() {
    return this.list.scrollTop > 8;
  }

  choose({ mode = this.mode, text = this.text }) {
    this.mode = mode;
    this.text = text;
    this.rebuild();
  }

  rebuild() {
    this.rows = [];
    this.waiting = [];
    this.folded.clear();
    this.list.replaceChildren();
    this.list.scrollTop = 0;
    for (const each of this.model.occurrences.slice(-ROWS)) this.#push(each);
    this.#show();
  }

  add(occurrences) {
    for (const each of occurrences) {
      if (isNotable(each)) this.#push(each);
      else if (this.mode === "all") this.#fold(each);
    }
  }

  #fold(occurrence) {
    const key = `${occurrence.event}/${occurrence.policy}/${occurrence.name}`;
    const there = this.folded.get(key);
    if (there) {
      there.times += 1;
      for (const name of Object.keys(there)) {
        // Only what is so for all of them can be said.
        if (!OWN.has(name) && there[name] !== occurrence[name]) delete there[name];
      }
    } else this.folded.set(key, { ...occurrence, times: 1 });
  }

  #unfold() {
    const all = [...this.folded.values()].filter((each) => this.#matches(each));
    this.folded.clear();
    all.sort((a, b) => b.times - a.times);
    const rest = all.slice(FOLDED);
    if (rest.length) {
      const times = rest.reduce((sum, each) => sum + each.times, 0);
      const policies = new Set(rest.map(({ policy, name }) => `${policy}/${name}`)).size;
      this.waiting.push({ time: rest[0].time, event: "more", times: 0, text: `and ${plural(times, "more event")} of ${plural(policies, "policy", "policies")}` });
    }
    this.waiting.push(...all.slice(0, FOLDED).reverse());
  }

  #push(occurrence) {
    if (!this.#matches(occurrence)) return;
    this.waiting.push(occurrence);
    if (this.waiting.length > ROWS) this.waiting.shift();
  }

  #matches({ policy = "", name = "", event }) {
    return !this.text || `${name} ${words(policy)} ${words(event)}`.toLowerCase().includes(this.text);
  }

  /** Show what waits, unless somebody reads; bring the times up to date. Once a frame at most. */
  paint(now) {
    if (this.folded.size && performance.now() - this.foldAt > FOLD) {
      this.foldAt = performance.now();
      this.#unfold();
    }
    if (this.waiting.length && !this.isRead) this.#show();
    this.held.hidden = !this.waiting.length;
    if (this.waiting.length) put(this.held, `${count(Math.min(this.waiting.length, ROWS))} new, above`);
    const second = Math.floor(now);
    if (second === this.second) return;
    this.second = second;
    for (const row of this.rows) {
      put(row.ago, ago(now - row.occurrence.time));
      paintTimes(row);
    }
  }

  release() {
    this.list.scrollTop = 0;
    this.#show();
  }

  #show() {
    const waiting = this.waiting.splice(0).slice(-ROWS);
    const made = waiting.map((each) => this.#row(each)).reverse();
    this.list.prepend(...made.map(({ root }) => root));
    this.rows.unshift(...made);
    for (const { root } of this.rows.splice(ROWS)) root.remove();
    this.empty.hidden = this.rows.length > 0;
    this.held.hidden = true;
  }

  #row(occurrence) {
    const row = stamp("entry");
    row.occurrence = occurrence;
    put(row.time, timeOfDay(occurrence.time));
    put(row.time, new Date(occurrence.time * 1000).toISOString(), "datetime");
    put(row.time, dateAndTime(occurrence.time), "title");
    put(row.ago, ago(this.model.now() - occurrence.time));
    const shown = iconFor(occurrence);
    setIcon(row.icon, shown);
    put(row.root, shown, "data-icon");
    row.who.hidden = !occurrence.name;
    if (occurrence.name) {
      row.who.key = `${occurrence.policy}/${occurrence.name}`;
      row.who.disabled = occurrence.policy === "configuration";
      put(row.who, occurrence.name);
      put(row.kind, words(occurrence.policy));
    }
    paintTimes(row);
    return row;
  }
}

function paintTimes({ told, occurrence }) {
  put(told, `${occurrence.text ?? tell(occurrence)}${howOften(occurrence)}`);
}

/** " ×3" for what occurred three times; of some kinds the service tells one for many. */
export function howOften({ times = 1, repeated = 0 }) {
  return times + repeated > 1 ? ` ×${count(times + repeated)}` : "";
}
