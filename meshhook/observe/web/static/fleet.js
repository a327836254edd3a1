// The fleet: several processes in one table, read every two seconds while it is looked at.

import { h, icon, put, setIcon } from "./dom.js";
import { count, duration, plural, sentence, words } from "./format.js";
import { iconOf } from "./kinds.js";

const EVERY = 2000;
const GRAVITY = { failing: 0, degraded: 1, ok: 2 };
const CAP = 500;

/** "host:pid:start" without the start, which tells nobody anything. */
const short = (id) => String(id).replace(/:[^:]*$/, "");

export class Fleet {
  constructor(root, open) {
    this.root = root;
    this.text = "";
    this.members = new Map();
    this.rows = new Map();
    this.timer = 0;
    this.told = null;
    this.open = open;
    this.notice = h("p", { class: "notice", role: "alert", hidden: "" }, icon("lost"), h("span"));
    this.cards = h("ul", { class: "members", "aria-label": "Members" });
    this.body = h("tbody");
    this.rest = h("p", { class: "more", hidden: "" });
    root.append(
      h("h2", { class: "unseen" }, "Fleet"), this.notice, this.cards,
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Policies of the fleet" },
        h("table", {}, h("thead", {}, h("tr", {},
          ...["Policy", "Condition", "Members", "Calls", "Failures", "Rejected", "Outliers"].map((name, index) =>
            h("th", { scope: "col", class: index > 1 && index < 6 ? "number" : "" }, name)))), this.body)),
      this.rest);
  }

  start() {
    if (this.timer) return;
    this.timer = setInterval(() => document.hidden || this.#read(), EVERY);
    this.#read();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
  }

  choose({ text }) {
    this.text = text;
    if (this.told) this.#paint();
  }

  async #read() {
    if (this.isReading) return;
    this.isReading = true;
    try {
      const answer = await fetch("fleet", { signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(`the service answered ${answer.status}`);
      this.told = await answer.json();
      this.at = performance.now();
      this.#tell("");
      this.#paint();
    } catch (error) {
      const age = this.told ? ` What you see is ${Math.round((performance.now() - this.at) / 1000)} s old.` : "";
      this.#tell(`The fleet cannot be read: ${error.name === "TimeoutError" ? "no answer in 10 s" : error.message}.${age}`);
    } finally {
      this.isReading = false;
    }
  }

  #tell(text) {
    this.notice.hidden = !text;
    put(this.notice.lastElementChild, text);
  }

  #paint() {
    const { members, policies, unreachable } = this.told;
    if (unreachable) {
      this.#tell(`${plural(unreachable, "member")} of ${count(members.length)} cannot be reached: the sums are without ${unreachable === 1 ? "it" : "them"}.`);
    }
    this.cards.replaceChildren(...members.map(card));
    const chosen = policies
      .filter(({ policy, name }) => !this.text || `${name} ${words(policy)}`.toLowerCase().includes(this.text))
      .sort((a, b) => GRAVITY[a.status] - GRAVITY[b.status] || b.differing - a.differing
        || (b.sums.calls ?? 0) - (a.sums.calls ?? 0) || a.name.localeCompare(b.name));
    const shown = chosen.slice(0, CAP);
    const rows = shown.map((each) => this.#row(each, members));
    const keys = new Set(shown.map(({ policy, name }) => `${policy}/${name}`));
    for (const key of this.rows.keys()) if (!keys.has(key)) this.rows.delete(key);
    if (rows.some((row, index) => row !== this.body.children[index]) || rows.length !== this.body.childElementCount) {
      this.body.replaceChildren(...rows);
    }
    this.rest.hidden = chosen.length <= CAP;
    put(this.rest, `${count(CAP)} of ${count(chosen.length)} policies are shown: filter for the others.`);
  }

  #row(told, members) {
    const key = `${told.policy}/${told.name}`;
    if (!this.rows.has(key)) this.rows.set(key, this.#makeRow(told, key));
    const row = this.rows.get(key);
    const [, condition, number, calls, failures, rejected, outliers] = row.children;
    put(row, told.status, "data-status");
    setIcon(condition.querySelector("svg"), told.status);
    put(condition.querySelector(".word"), sentence(told.condition) + (told.differing ? ", differing" : ""));
    put(number, `${count(told.members)} of ${count(members.length)}`);
    put(calls, count(told.sums.calls ?? told.sums.admitted ?? 0));
    put(failures, count((told.sums.failures ?? 0) + (told.sums.timed_out ?? 0)));
    put(rejected, count(told.sums.rejected ?? told.sums.refused ?? 0));
    const text = told.outliers.map(({ id, why }) => `${short(id)}: ${why}`).join("; ");
    put(outliers, text || "–");
    return row;
  }

  #makeRow(told, key) {
    return h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "who", onclick: () => this.open(key) }, told.name),
        h("span", { class: "kind" }, icon(iconOf(told.policy)), words(told.policy))),
      h("td", {}, h("span", { class: "state" }, icon("ok"), h("span", { class: "word" }))),
      ...[0, 1, 2, 3].map(() => h("td", { class: "number" })), h("td", { class: "outliers" }));
  }
}

function card({ url, id, reachable, error, status, ready, policies, seconds }) {
  const word = reachable ? `${sentence(status)}, ${ready ? "ready" : "not ready"}` : `Not reachable: ${error}`;
  return h("li", { class: "member", "data-status": reachable ? status : "gone" },
    h("strong", {}, id ? short(id) : url),
    h("span", { class: "state" }, icon(reachable ? status : "lost"), h("span", {}, word)),
    h("span", { class: "kind" }, id ? url : "", reachable ? ` · ${plural(policies, "policy", "policies")} · answers in ${duration(seconds)}` : ""));
}
