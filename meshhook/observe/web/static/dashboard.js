// The dashboard: joins the link, the model and the views, and paints at most once a frame.

import { h, put, setIcon } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Fleet } from "./fleet.js";
import { count, left, plural, rate, words } from "./format.js";
import { Grid } from "./grid.js";
import { Link } from "./link.js";
import { Model } from "./model.js";
import { draw } from "./spark.js";
import { isNotable, NOTABLE, tell, Timeline } from "./timeline.js";

const FRAME = 8; // milliseconds of a frame that painting tiles may take
const QUIET = 2000; // milliseconds between two announcements
const ANNOUNCED = new Set(["circuit_changed", "operator_acted"]);

const $ = (id) => document.getElementById(id);
const { body } = document;

const model = new Model();
const grid = new Grid($("grid"), model, goTo);
const timeline = new Timeline($("timeline"), model, goTo);
const drawer = new Drawer($("drawer"), model, leave);
const fleet = new Fleet($("fleet"), goTo);
const link = new Link(receive, showLink);
grid.wake = schedule;

// What comes

function receive(kind, data) {
  if (kind === "hello") hello(data);
  else if (kind === "stats") stats(data);
  else occurred(model.events(data));
  schedule();
}

function hello(data) {
  const { change, fresh } = model.hello(data);
  const { id, host, pid, version, time } = data.instance;
  put($("instance"), `${host} · ${pid}`);
  put($("instance"), `meshhook ${version}, process ${pid} on ${host}`, "title");
  $("fleet-link").hidden = !data.fleet;
  if (change) {
    model.keep({ id: `${change} ${id} ${time}`, time, event: change, process: `${pid} on ${host}` });
    timeline.rebuild();
  } else {
    timeline.add(fresh);
  }
}

function occurred(events) {
  for (const each of events) {
    if (isNotable(each)) model.keep(each);
    if (each.event === "operator_acted") drawer.acting.confirm(each);
  }
  timeline.add(events);
  events.filter(({ event }) => ANNOUNCED.has(event)).forEach(announce);
}

function stats(data) {
  const observed = model.stats(data);
  timeline.add(observed);
  observed.forEach(announce);
  summarize();
}

// The summary

const buttons = Object.fromEntries(
  [...document.querySelectorAll("[data-status][aria-pressed]")].map((each) => [each.dataset.status, each]),
);
let kinds = "";

function summarize() {
  const numbers = { all: 0, failing: 0, degraded: 0, ok: 0 };
  const unready = [];
  const seen = new Set();
  for (const policy of model.policies.values()) {
    numbers.all += 1;
    numbers[policy.status] += 1;
    seen.add(policy.kind);
    if (policy.critical && policy.status === "failing") unready.push(policy.name);
  }
  for (const [status, button] of Object.entries(buttons)) {
    put(button.querySelector("b"), count(numbers[status]));
    put(button, String(numbers[status] > 0), "data-any");
  }
  const ready = $("ready");
  put(ready, unready.length ? "failing" : "ok", "data-status");
  setIcon(ready.firstElementChild, unready.length ? "failing" : "ok");
  put(ready.lastElementChild, unready.length ? "not ready" : "ready");
  put(ready, unready.length ? `Failing and critical: ${unready.slice(0, 5).join(", ")}` : "No critical policy fails", "title");
  const trouble = ["failing", "degraded"].filter((each) => numbers[each]).map((each) => `${count(numbers[each])} ${each}`);
  put(document.querySelector("title"), `${trouble.join(", ") || "OK"} · ${model.instance?.host ?? ""} · meshhook`);
  offerKinds([...seen].sort());
}

function offerKinds(seen) {
  if (seen.join() === kinds) return;
  kinds = seen.join();
  const select = $("kind");
  const chosen = select.value;
  select.replaceChildren(h("option", { value: "all" }, "all kinds"), ...seen.map((each) => h("option", { value: each }, words(each))));
  select.value = seen.includes(chosen) ? chosen : "all";
}

// Announcements for those who listen

const unsaid = [];
let saidAt = 0;

function announce(occurrence) {
  unsaid.push(occurrence);
  if (unsaid.length === 1) setTimeout(say, Math.max(0, saidAt + QUIET - performance.now()));
}

function say() {
  const first = unsaid.splice(0);
  saidAt = performance.now();
  const told = first.slice(0, 3).map((each) => `${each.name}, ${words(each.policy)}: ${tell(each)}`);
  if (first.length > 3) told.push(`and ${plural(first.length - 3, "more change")}`);
  put($("announcer"), told.join(". "));
}

// The link

function showLink() {
  const { state, age } = link;
  body.dataset.link = state;
  const badge = $("link");
  put(badge.lastElementChild, { connecting: "connecting", live: "live", quiet: "no news", lost: "link lost" }[state]);
  setIcon(badge.firstElementChild, state === "live" || state === "connecting" ? "live" : "lost");
  const isLost = state === "quiet" || state === "lost";
  $("lost").hidden = !isLost;
  if (!isLost) return;
  put($("lost-what"), state === "quiet" ? "No news from the service." : "The link to the service is lost.");
  const old = age === null ? "Nothing has come yet." : `What you see is ${left(age)} old.`;
  const next = state === "lost" ? (link.wait > 0.5 ? ` Next attempt in ${left(link.wait)}.` : " Trying …") : "";
  const why = link.why ? ` The service says: ${link.why}.` : "";
  put($("lost-age"), old + next + why);
}

// Painting

let isScheduled = false;

function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(paint);
}

function paint() {
  isScheduled = false;
  const deadline = performance.now() + FRAME;
  const toArrange = grid.arrange();
  const toPaint = grid.paint(deadline);
  timeline.paint(model.now());
  if (drawer.isOpen) drawer.paint();
  put($("total-rate"), rate(model.rate));
  if (painted !== model.second) {
    painted = model.second;
    draw($("total-spark"), model.history, null, model.cursor);
    showDropped();
  }
  showRest();
  if (toArrange || toPaint) schedule();
}
let painted = -1;

function showDropped() {
  $("dropped").hidden = !model.dropped;
  if (model.dropped) {
    put($("dropped"), `${plural(model.dropped, "event")} dropped: more came than the stream carries. The statistics count them all.`);
  }
}

function showRest() {
  const shown = grid.order.length;
  $("more").hidden = shown >= grid.chosen;
  put($("more").firstElementChild, `${count(shown)} of ${count(grid.chosen)} policies are shown.`);
  const isEmpty = grid.chosen === 0 && link.state !== "connecting";
  $("empty").hidden = !isEmpty;
  if (isEmpty) put($("empty"), model.policies.size ? "No policy fits the filter." : "The service has no policies yet.");
}

setInterval(() => {
  showLink();
  schedule();
}, 1000);

// Choices

function choose(change) {
  grid.choose(change);
  if ("text" in change) {
    timeline.choose(change);
    fleet.choose(change);
  }
  schedule();
}

$("tools").addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("input", ({ target }) => choose({ text: target.value.trim().toLowerCase() }));
$("kind").addEventListener("change", ({ target }) => choose({ kind: target.value }));
$("sort").addEventListener("change", ({ target }) => choose({ sort: target.value }));
$("group").addEventListener("change", ({ target }) => choose({ group: target.checked }));
$("more").lastElementChild.addEventListener("click", () => {
  grid.showMore();
  schedule();
});
for (const [status, button] of Object.entries(buttons)) {
  button.addEventListener("click", () => {
    for (const each of Object.values(buttons)) each.setAttribute("aria-pressed", String(each === button));
    choose({ status });
  });
}
for (const button of document.querySelectorAll("[data-mode]")) {
  button.addEventListener("click", () => {
    for (const each of document.querySelectorAll("[data-mode]")) each.setAttribute("aria-pressed", String(each === button));
    timeline.choose({ mode: button.dataset.mode });
    model.dropped = 0;
    link.open(button.dataset.mode === "all" ? null : NOTABLE);
    schedule();
  });
}
$("lost-retry").addEventListener("click", () => link.open());

// The theme

const dark = matchMedia("(prefers-color-scheme: dark)");

$("theme").addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const isDark = dataset.theme ? dataset.theme === "dark" : dark.matches;
  dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("meshhook.theme", dataset.theme);
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
});

/** What sticks below the top has to know how high that is. */
const bars = new ResizeObserver(() => {
  const { style } = document.documentElement;
  const head = document.querySelector(".top").offsetHeight;
  style.setProperty("--head", `${head}px`);
  style.setProperty("--top", `${head + $("lost").offsetHeight}px`);
});
bars.observe(document.querySelector(".top"));
bars.observe($("lost"));

// Where one is: #/timeline, #/fleet, #/circuit_breaker/payments

function goTo(key) {
  const at = key.indexOf("/");
  location.hash = `#/policy/${encodeURIComponent(key.slice(0, at))}/${encodeURIComponent(key.slice(at + 1))}`;
}

function leave(key) {
  $("main").inert = false;
  if (location.hash.startsWith("#/policy/")) location.hash = view === "policies" ? "#/" : `#/${view}`;
  const tile = grid.tiles.get(key)?.root;
  (tile?.isConnected ? tile : $("text")).focus({ preventScroll: true });
}

let view = "policies";
const phone = matchMedia("(width < 640px)");

function route() {
  const [, first = "", kind, name] = location.hash.split("/");
  if (first === "policy" && name) {
    drawer.open(`${decoded(kind)}/${decoded(name)}`);
  } else {
    view = first === "timeline" || first === "fleet" ? first : "policies";
    drawer.close();
  }
  body.dataset.view = view;
  for (const each of document.querySelectorAll(".views a")) {
    if (each.dataset.view === view) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  // On a phone the drawer covers everything, and nothing below it can be reached.
  $("main").inert = drawer.isOpen && phone.matches;
  if (view === "fleet") fleet.start();
  else fleet.stop();
  schedule();
}
addEventListener("hashchange", route);

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// The keyboard

addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (drawer.isOpen) drawer.escape();
    else if (event.target === $("text")) {
      $("text").value = "";
      choose({ text: "" });
    }
  } else if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $("text").focus();
    $("text").select();
  }
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (grid.current ?? $("text")).focus();
});

route();
link.open(NOTABLE);
