// The drawer: everything about one policy, and what may be done to it.

import { Acting } from "./acting.js";
import { drawing, h, icon, put, setIcon } from "./dom.js";
import { ago, duration, left, NOTHING, rate, sentence, share, timeOfDay, words } from "./format.js";
import { figures, foot, iconOf } from "./kinds.js";
import { paintFoot } from "./grid.js";
import { draw } from "./spark.js";
import { howOften, tell } from "./timeline.js";

const DURATIONS = new Set(["seconds", "delay", "ttl", "per_item", "p50", "p95", "p99"]);
const SHARES = /(^|_)(rate|chance|ratio|usage)$/;
const PAST = new Set(["seconds_in_state", "since_store_error"]);
const FUTURE = new Set(["retry_after", "reset_after"]);
const TEXTS = new Set(["state", "last_failure", "limit", "algorithm", "mode", "error"]);
const GROUPS = new Set(["window", "latency", "states", "ended_by"]);
const OWN = new Set(["policy", "name"]);
const whole = new Intl.NumberFormat("en-US");

export class Drawer {
  constructor(root, model, closed) {
    this.root = root;
    this.model = model;
    this.closed = closed;
    this.acting = new Acting(model);
    this.key = null;
    this.cells = new Map();
    this.#build();
  }

  #build() {
    this.kindIcon = icon("policy");
    this.kind = h("span", { class: "kind" });
    this.critical = h("span", { class: "critical" }, "critical");
    this.name = h("h2", { id: "drawer-name", class: "name" });
    this.stateIcon = icon("ok");
    this.condition = h("span");
    this.state = h("span", { class: "state" }, this.stateIcon, this.condition);
    this.since = h("span", { class: "since" });
    this.chart = drawing("spark");
    this.top = h("span", { class: "top-of-scale" });
    this.rate = h("b");
    this.figures = h("dl", { class: "figures" });
    this.foot = h("p", { class: "foot" });
    this.fill = h("span");
    this.bar = h("span", { class: "bar" }, this.fill);
    this.events = h("ol", { class: "own-events" });
    this.noEvents = h("p", { class: "empty" }, "Nothing has changed lately.");
    this.statistics = h("div", { class: "statistics" });
    this.gone = h("p", { class: "warning", hidden: "" }, "This policy has gone from the service.");
    this.root.append(
      h("header", {},
        h("div", { class: "head" }, this.kindIcon, this.kind, this.critical,
          h("button", { type: "button", class: "round close", "aria-label": "Close", title: "Close (Esc)", onclick: () => this.close() }, icon("close"))),
        this.name,
        h("div", { class: "standing" }, this.state, this.since)),
      this.gone,
      h("figure", { class: "chart" }, this.chart, this.top,
        h("figcaption", {}, h("span", {}, "2 min ago"),
          h("span", { class: "legend" }, h("i", { class: "all" }), "calls ", h("i", { class: "bad" }), "refused or failed"),
          h("span", {}, this.rate, h("span", { class: "unit" }, "/s")))),
      this.figures, this.foot, this.bar,
      this.acting.root,
      h("section", { "aria-label": "Its transitions" }, h("h3", {}, "Transitions"), this.noEvents, this.events),
      h("section", { "aria-label": "Statistics" }, h("h3", {}, "Statistics"), this.statistics),
    );
  }

  get isOpen() {
    return this.key !== null;
  }

  open(key) {
    if (key === this.key) return;
    this.key = key;
    this.second = -1;
    this.occurred = -1;
    this.cells.clear();
    this.statistics.replaceChildren();
    this.root.hidden = false;
    document.body.dataset.drawer = "open";
    this.paint();
    this.root.scrollTop = 0;
    this.root.focus({ preventScroll: true });
  }

  close() {
    if (this.key === null) return;
    const { key } = this;
    this.key = null;
    this.root.hidden = true;
    delete document.body.dataset.drawer;
    this.closed(key);
  }

  /** Esc closes what is on top: the question first. */
  escape() {
    if (!this.acting.cancel()) this.close();
  }

  paint() {
    const policy = this.model.policies.get(this.key);
    this.gone.hidden = Boolean(policy) || !this.model.second;
    this.acting.root.hidden = !policy;
    if (!policy) {
      put(this.name, this.key.slice(this.key.indexOf("/") + 1));
      return;
    }
    const now = this.model.moment();
    this.#paintHead(policy, now);
    this.#paintFigures(policy, now);
    this.acting.show(policy);
    this.#paintStatistics(policy, now);
    this.#paintEvents(this.model.now());
    if (this.second !== this.model.second) {
      this.second = this.model.second;
      put(this.top, `${rate(draw(this.chart, policy.total, policy.bad, this.model.cursor))}/s`);
    }
  }

  #paintHead(policy, now) {
    setIcon(this.kindIcon, iconOf(policy.kind));
    put(this.kind, words(policy.kind));
    put(this.name, policy.name);
    this.critical.hidden = !policy.critical;
    put(this.root, policy.status, "data-status");
    setIcon(this.stateIcon, policy.status);
    put(this.condition, sentence(policy.condition));
    const inState = policy.stats.seconds_in_state;
    const since = inState === undefined ? "" : `for ${left(inState + (now - policy.at))}`;
    put(this.since, policy.until === null ? since : `${since}, for ${left(policy.until - now)} more`);
  }

  #paintFigures(policy, now) {
    const shown = figures(policy);
    if (this.figures.childElementCount !== shown.length) {
      this.figures.replaceChildren(...shown.map(() => h("div", {}, h("dt", { class: "label" }), h("dd", { class: "value" }))));
    }
    shown.forEach(({ label, value, tone }, index) => {
      const [dt, dd] = this.figures.children[index].children;
      put(dt, label);
      put(dd, value);
      put(dd, tone, "data-tone");
    });
    paintFoot(this, foot(policy, now));
    put(this.rate, rate(policy.rate));
  }

  #paintStatistics(policy, now) {
    const rows = [];
    const read = (values, group) => {
      for (const [name, value] of Object.entries(values)) {
        if (group === "" && (OWN.has(name) || (value === null && GROUPS.has(name)))) continue;
        if (value !== null && typeof value === "object") read(value, name);
        else rows.push([group, name, value]);
      }
    };
    read(policy.stats, "");
    const passed = now - policy.at;
    for (const [group, name, value] of rows) put(this.#cell(group, name), this.#say(name, value, passed));
    const known = new Set(rows.map(([group, name]) => `${group}.${name}`));
    for (const [id, cell] of this.cells) if (!known.has(id)) put(cell, NOTHING);
  }

  #say(name, value, passed) {
    if (value === null || value === undefined) return NOTHING;
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return String(value);
    if (PAST.has(name)) return left(value + passed);
    if (FUTURE.has(name)) return duration(Math.max(0, value - passed));
    if (DURATIONS.has(name)) return duration(value);
    if (SHARES.test(name)) return share(value);
    return whole.format(value);
  }

  #cell(group, name) {
    const id = `${group}.${name}`;
    if (!this.cells.has(id)) {
      const cell = h("dd");
      const isText = group === "" && TEXTS.has(name);
      const section = isText ? "texts" : `group-${group}`;
      let list = this.statistics.querySelector(`[data-group="${CSS.escape(section)}"]`);
      if (!list) {
        list = h("dl", { "data-group": section, class: isText ? "texts" : null });
        if (group) this.statistics.append(h("h4", {}, words(group)));
        if (isText) this.statistics.prepend(list);
        else this.statistics.append(list);
      }
      list.append(h("div", {}, h("dt", {}, words(name)), cell));
      this.cells.set(id, cell);
    }
    return this.cells.get(id);
  }

  #paintEvents(now) {
    const own = this.model.occurrences.filter(({ policy, name }) => `${policy}/${name}` === this.key).slice(-10).reverse();
    const newest = own.length ? `${own[0].id} ${own[0].times}` : "";
    if (newest !== this.occurred) {
      this.occurred = newest;
      this.noEvents.hidden = own.length > 0;
      this.events.replaceChildren(...own.map((each) => {
        const shown = h("span", { class: "ago" });
        shown.time = each.time;
        return h("li", {}, h("time", {}, timeOfDay(each.time)), h("span", {}, tell(each) + howOften(each)), shown);
      }));
    }
    for (const { lastElementChild } of this.events.children) put(lastElementChild, ago(now - lastElementChild.time));
  }
}
