// The tiles. Only those in sight are painted, and only what changed of them is touched.

import { h, put, setIcon, stamp } from "./dom.js";
import { rate, sentence, words } from "./format.js";
import { figures, foot, iconOf } from "./kinds.js";
import { gravity } from "./model.js";
import { draw } from "./spark.js";

const CAP = 500; // tiles at first, and more each time somebody asks
const BATCH = 40; // tiles made in one frame
const CALM = 5000; // milliseconds between two orderings by rate, or two flashes of a tile

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => collator.compare(a.name, b.name) || collator.compare(a.kind, b.kind);
const byRate = (a, b) => b.rank - a.rank || byName(a, b);
const byTrouble = (a, b) => gravity(a) - gravity(b) || byRate(a, b);
const ORDERS = { name: byName, rate: byRate, trouble: byTrouble };

export class Grid {
  constructor(root, model, open) {
    this.root = root;
    this.model = model;
    this.choice = { text: "", status: "all", kind: "all", sort: "trouble", group: false };
    this.cap = CAP;
    this.limit = BATCH;
    this.tiles = new Map(); // key -> tile
    this.headings = new Map(); // kind -> element
    this.order = []; // keys, as shown
    this.chosen = 0; // how many the filter lets through
    this.arranged = 0;
    this.current = null; // the tile that Tab leads to
    this.observer = new IntersectionObserver((seen) => this.#see(seen), { rootMargin: "200px" });
    root.addEventListener("click", ({ target }) => {
      const key = target.closest(".tile")?.key;
      if (key) open(key);
    });
    root.addEventListener("focusin", ({ target }) => this.#makeCurrent(target.closest(".tile")));
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  choose(change) {
    Object.assign(this.choice, change);
    this.limit = BATCH;
    this.arranged = 0;
  }

  showMore() {
    this.cap += CAP;
    this.arranged = 0;
  }

  /** Bring the tiles into order where that is due. Returns whether there is more to do. */
  arrange(now = performance.now()) {
    const { model } = this;
    const isDue = now - this.arranged > CALM && !this.root.matches(":hover, :focus-within");
    if (model.membersChanged || model.standingChanged || isDue || !this.arranged) {
      this.#arrange();
      model.membersChanged = model.standingChanged = false;
      this.arranged = now;
    }
    const all = Math.min(this.cap, this.chosen);
    if (this.limit < all) {
      this.limit += BATCH;
      this.arranged = 0;
      return true;
    }
    return false;
  }

  #arrange() {
    const chosen = [...this.model.policies.values()].filter((policy) => this.#matches(policy));
    const order = ORDERS[this.choice.sort];
    for (const policy of chosen) rank(policy);
    chosen.sort(this.choice.group ? (a, b) => collator.compare(a.kind, b.kind) || order(a, b) : order);
    this.chosen = chosen.length;
    const shown = chosen.slice(0, Math.min(this.cap, this.limit));
    this.order = shown.map(({ key }) => key);
    const elements = [];
    let kind = null;
    for (const policy of shown) {
      if (this.choice.group && policy.kind !== kind) elements.push(this.#heading((kind = policy.kind)));
      elements.push(this.#tile(policy).root);
    }
    sync(this.root, elements);
    this.#forget();
    if (!this.root.contains(this.current)) this.#makeCurrent(this.tiles.get(this.order[0])?.root);
  }

  #matches(policy) {
    const { text, status, kind } = this.choice;
    return (status === "all" || policy.status === status)
      && (kind === "all" || policy.kind === kind)
      && (!text || policy.text.includes(text) || words(policy.condition).includes(text));
  }

  #heading(kind) {
    if (!this.headings.has(kind)) this.headings.set(kind, h("h2", { class: "group" }, sentence(kind)));
    return this.headings.get(kind);
  }

  #tile(policy) {
    let tile = this.tiles.get(policy.key);
    if (!tile) {
      tile = stamp("tile");
      Object.assign(tile, { policy, inSight: false, drawn: -1, status: null });
      Object.assign(tile.root, { key: policy.key, tile });
      put(tile.kind, words(policy.kind));
      put(tile.name, policy.name);
      put(tile.name, policy.name, "title");
      setIcon(tile.kindIcon, iconOf(policy.kind));
      this.tiles.set(policy.key, tile);
      this.observer.observe(tile.root);
      paintStanding(tile, policy);
    }
    tile.policy = policy; // of a service that started anew it is another one
    return tile;
  }

  /** Let go of tiles that are not shown; those of policies that went, at once. */
  #forget() {
    const isCrowded = this.tiles.size > this.cap * 2;
    for (const [key, tile] of this.tiles) {
      if (!this.model.policies.has(key) || (isCrowded && !tile.root.isConnected)) {
        this.observer.unobserve(tile.root);
        this.tiles.delete(key);
      }
    }
  }

  #see(seen) {
    for (const { target, isIntersecting } of seen) {
      target.tile.inSight = isIntersecting;
      if (isIntersecting) this.model.dirty.add(target.key);
    }
    this.wake?.();
  }

  /** Paint what changed until the deadline. Returns whether something is left. */
  paint(deadline) {
    const { dirty } = this.model;
    const now = this.model.moment();
    for (const key of dirty) {
      dirty.delete(key);
      const tile = this.tiles.get(key);
      if (!tile) continue;
      paintStanding(tile, tile.policy);
      if (tile.inSight) this.#paint(tile, tile.policy, now);
      if (performance.now() > deadline) return dirty.size > 0;
    }
    return false;
  }

  #paint(tile, policy, now) {
    put(tile.rate, rate(policy.rate));
    figures(policy).forEach(({ label, value, tone }, index) => {
      put(tile[`label${index}`], label);
      put(tile[`value${index}`], value);
      put(tile[`value${index}`], tone, "data-tone");
    });
    paintFoot(tile, foot(policy, now));
    if (tile.drawn !== this.model.second) {
      tile.drawn = this.model.second;
      draw(tile.spark, policy.total, policy.bad, this.model.cursor);
    }
  }

  #makeCurrent(tile) {
    if (!tile || tile === this.current) return;
    this.current?.setAttribute("tabindex", "-1");
    tile.setAttribute("tabindex", "0");
    this.current = tile;
  }

  #move(event) {
    const from = event.target.closest(".tile");
    if (!from || event.altKey || event.ctrlKey || event.metaKey) return;
    const tiles = [...this.root.querySelectorAll(".tile")];
    const at = tiles.indexOf(from);
    const to = {
      ArrowRight: () => tiles[at + 1],
      ArrowLeft: () => tiles[at - 1],
      ArrowDown: () => below(tiles.slice(at + 1), from),
      ArrowUp: () => below(tiles.slice(0, at).reverse(), from),
      Home: () => tiles[0],
      End: () => tiles.at(-1),
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.scrollIntoView({ block: "nearest" });
  }
}

/** Rates that are about the same have the same rank, and keep it for a while: tiles must not dance. */
function rank(policy) {
  const magnitude = Math.log2(policy.rate + 1);
  if (!(Math.abs(magnitude - policy.rank) < 0.8)) policy.rank = Math.round(magnitude);
}

/** The nearest of `tiles`, which are in order of distance, in another row and the same column. */
function below(tiles, from) {
  const row = tiles.find((each) => each.offsetTop !== from.offsetTop)?.offsetTop;
  const inRow = tiles.filter((each) => each.offsetTop === row);
  const distance = (each) => Math.abs(each.offsetLeft - from.offsetLeft);
  return inRow.reduce((best, each) => (!best || distance(each) < distance(best) ? each : best), null);
}

function paintStanding(tile, policy) {
  const standing = `${policy.status} ${policy.condition} ${policy.critical}`;
  if (tile.standing === standing) return;
  const isChange = tile.standing !== undefined && tile.status !== policy.status;
  Object.assign(tile, { standing, status: policy.status });
  put(tile.root, policy.status, "data-status");
  setIcon(tile.stateIcon, policy.status);
  put(tile.condition, sentence(policy.condition));
  tile.critical.hidden = !policy.critical;
  const critical = policy.critical ? ", critical" : "";
  const label = `${policy.name}, ${words(policy.kind)}${critical}, ${policy.status}: ${words(policy.condition)}`;
  put(tile.root, label, "aria-label");
  if (isChange) flash(tile);
}

/** Draw the eye to a tile; not again and again to one that changes all the time. */
function flash(tile) {
  const now = performance.now();
  if (now - (tile.flashed ?? -CALM) < CALM) return;
  tile.flashed = now;
  tile.root.classList.remove("flash");
  requestAnimationFrame(() => tile.root.classList.add("flash"));
}

/** Paint the line below the figures, and its bar. */
export function paintFoot(parts, { text, quantiles, share, tone }) {
  const shown = quantiles ? quantiles.map((each) => each.join(" ")).join(" ") : text;
  if (put(parts.foot, shown, "data-text")) {
    parts.foot.replaceChildren(
      ...(quantiles
        ? quantiles.map(([name, value]) => h("span", {}, h("span", { class: "label" }, name), ` ${value}`))
        : [text]),
    );
  }
  put(parts.foot, tone ?? "", "data-tone");
  parts.bar.hidden = share === undefined;
  if (share === undefined) return;
  put(parts.bar, tone ?? "", "data-tone");
  const scale = `scaleX(${Math.min(1, Math.max(0, share)).toFixed(3)})`;
  if (parts.fill.scale !== scale) parts.fill.style.transform = parts.fill.scale = scale;
}

/** Make `elements` the children of `root`, with few moves, and keep the focus where it is. */
function sync(root, elements) {
  const focused = document.activeElement;
  let at = root.firstElementChild;
  for (const element of elements) {
    if (at && at !== element && at.nextElementSibling === element) {
      const passed = at;
      at = element;
      passed.remove();
    }
    if (at === element) at = at.nextElementSibling;
    else root.insertBefore(element, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
  if (focused !== document.activeElement && root.contains(focused)) focused.focus({ preventScroll: true });
}
