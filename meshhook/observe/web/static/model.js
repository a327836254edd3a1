// What the page knows of the service: policies with their last two minutes, and what occurred.
//
// The model draws nothing. It is told each message, and keeps which policies have changed.

import { bad, calls } from "./kinds.js";

export const SECONDS = 120;
const ROTATE = 5; // seconds between two readings that differences are taken from
const RECENT = 500; // occurrences that are kept
const FLAPPING = 30; // seconds in which changes of one status are one occurrence
const SILENCE = 3; // seconds after which what is shown is old
const GRAVITY = { failing: 0, degraded: 1, ok: 2 };

export class Policy {
  constructor(told, now) {
    this.kind = told.policy;
    this.name = told.name;
    this.key = `${told.policy}/${told.name}`;
    this.text = `${told.name} ${told.policy.replaceAll("_", " ")}`.toLowerCase();
    this.total = null; // calls a second, for each of the last two minutes' seconds
    this.bad = null;
    this.rate = 0;
    this.read(told, now);
    this.older = this.old = { stats: told.stats, time: now };
    this.counted = calls(this);
    this.failed = bad(this);
  }

  read(told, now) {
    this.status = Object.hasOwn(GRAVITY, told.status) ? told.status : "degraded";
    this.condition = told.condition;
    this.critical = told.critical;
    this.actions = told.actions;
    this.until = told.until === null || told.until === undefined ? null : now + told.until;
    this.stats = told.stats;
    this.at = now;
  }

  /** How many more there are of a counter than 5 to 10 seconds ago. */
  more(counter) {
    return Math.max(0, (this.stats[counter] ?? 0) - (this.older.stats[counter] ?? 0));
  }

  /** Seconds left of what the statistics said when they came, such as "retry_after". */
  remaining(seconds, now) {
    return Math.max(0, seconds - (now - this.at));
  }
}

export class Model {
  constructor() {
    this.policies = new Map();
    this.dirty = new Set();
    this.membersChanged = true;
    this.standingChanged = true; // somebody's status did
    this.instance = null;
    this.canAct = false;
    this.fleet = false;
    this.expected = 0;
    this.time = 0; // of the service, when the last statistics came
    this.received = 0; // the same moment by performance.now()
    this.second = 0;
    this.ticked = 0; // when the last second ended, by the time of the service
    this.cursor = 0; // where the newest full second is in every history
    this.history = new Float32Array(SECONDS).fill(NaN);
    this.rate = 0;
    this.occurrences = []; // the notable ones, oldest first
    this.seen = new Set();
    this.observed = []; // since it was last asked
    this.observations = 0;
    this.dropped = 0;
  }

  /** The time of the service now, in seconds since the epoch. */
  now() {
    return this.time + (performance.now() - this.received) / 1000;
  }

  /** The time that the statistics stand for: it stops when no more come. */
  moment() {
    return Math.min(this.now(), this.time + SILENCE);
  }

  hello({ instance, recent, can_act, fleet }) {
    const isOther = this.instance !== null && this.instance.id !== instance.id;
    // Workers that share an address are there all the time; who began after the last word is new.
    const change = !isOther ? null : instance.started > this.time ? "restarted" : "switched";
    if (isOther) this.#forget();
    this.instance = instance;
    this.canAct = can_act;
    this.fleet = fleet;
    if (!this.time || isOther) this.#setTime(instance.time);
    return { change, fresh: this.#take(recent) };
  }

  /** Take statistics; return what they show to have occurred. */
  stats({ time, full, policies, gone, total }) {
    const elapsed = this.time ? time - this.time : 0;
    this.#setTime(time);
    this.expected = total;
    if (full) this.#removeAllBut(new Set(policies.map((each) => `${each.policy}/${each.name}`)));
    for (const key of gone ?? []) this.#remove(key);
    for (const told of policies) this.#read(told, time);
    const second = Math.floor(time);
    if (second !== this.second) this.#tick(second, time, elapsed);
    return this.observed.splice(0);
  }

  /** Keep what is new of `events`, and return it. */
  events({ events, dropped }) {
    this.dropped += dropped;
    return events;
  }

  /** Keep the occurrences that the page has not seen; return them. */
  #take(occurrences) {
    const fresh = occurrences.filter(({ id }) => !this.seen.has(id));
    for (const each of fresh) this.keep(each);
    return fresh;
  }

  keep(occurrence) {
    if (this.seen.has(occurrence.id)) return;
    this.seen.add(occurrence.id);
    this.occurrences.push(occurrence);
    if (this.occurrences.length > RECENT * 2) {
      for (const { id } of this.occurrences.splice(0, RECENT)) this.seen.delete(id);
    }
  }

  #setTime(time) {
    this.time = time;
    this.received = performance.now();
  }

  #forget() {
    this.policies.clear();
    this.dirty.clear();
    this.seen.clear();
    this.membersChanged = this.standingChanged = true;
    this.second = 0;
  }

  #read(told, time) {
    const key = `${told.policy}/${told.name}`;
    const policy = this.policies.get(key);
    if (!policy) {
      this.policies.set(key, new Policy(told, time));
      this.membersChanged = true;
    } else {
      const { status, condition } = policy;
      policy.read(told, time);
      if (status !== policy.status || condition !== policy.condition) this.standingChanged = true;
      if (status !== policy.status) this.#observe(policy, condition, time);
    }
    this.dirty.add(key);
  }

  /** Only circuits tell of their transitions; of the others they are seen here. */
  #observe(policy, old, time) {
    if (policy.kind === "circuit_breaker") return;
    const last = policy.observed;
    if (last && time - last.time < FLAPPING) {
      if (GRAVITY[policy.status] < GRAVITY[last.status]) last.status = policy.status;
      if (policy.condition !== last.old) last.other = policy.condition;
      Object.assign(last, { new: policy.condition, times: last.times + 1 });
      return;
    }
    this.observations += 1;
    policy.observed = {
      id: `seen ${this.observations}`, time, event: "status_changed", policy: policy.kind, name: policy.name,
      old, new: policy.condition, other: policy.condition, status: policy.status, times: 1,
    };
    this.keep(policy.observed);
    this.observed.push(policy.observed);
  }

  #remove(key) {
    if (this.policies.delete(key)) this.membersChanged = true;
    this.dirty.delete(key);
  }

  #removeAllBut(keys) {
    for (const key of [...this.policies.keys()]) if (!keys.has(key)) this.#remove(key);
  }

  /** A second is over: write down what came in it, for every policy. */
  #tick(second, time, elapsed) {
    const span = this.second ? Math.min(SECONDS, Math.max(1, second - this.second)) : 1;
    const passed = this.second ? Math.max(0.5, time - this.ticked) : 1;
    const isGap = elapsed > SILENCE;
    let sum = 0;
    for (let step = 0; step < span; step += 1) {
      this.cursor = (this.cursor + 1) % SECONDS;
      const gone = isGap && step < span - 1;
      sum = 0;
      for (const policy of this.policies.values()) {
        const value = this.#write(policy, passed, gone);
        sum += value;
      }
      this.history[this.cursor] = gone ? NaN : sum;
    }
    this.second = second;
    this.ticked = time;
    for (const policy of this.policies.values()) {
      policy.counted = calls(policy);
      policy.failed = bad(policy);
      this.#settle(policy, second);
    }
    this.rate = mean(this.history, this.cursor);
  }

  #write(policy, passed, gone) {
    const total = Math.max(0, calls(policy) - policy.counted) / passed;
    const failed = Math.max(0, bad(policy) - policy.failed) / passed;
    if (!policy.total) {
      if (!total && !failed) return 0;
      // What was before the page was opened, nobody knows.
      policy.total = this.history.map((value) => (Number.isNaN(value) ? NaN : 0));
      policy.bad = policy.total.slice();
    }
    policy.total[this.cursor] = gone ? NaN : total;
    policy.bad[this.cursor] = gone ? NaN : failed;
    return total;
  }

  #settle(policy, second) {
    if (policy.total) {
      const before = policy.rate;
      policy.rate = mean(policy.total, this.cursor);
      if (policy.rate || before || policy.total[this.cursor]) this.dirty.add(policy.key);
    }
    if (second % ROTATE === 0) {
      policy.older = policy.old;
      policy.old = { stats: policy.stats, time: policy.at };
    }
    if (policy.until !== null || policy.status !== "ok") this.dirty.add(policy.key);
  }
}

/** The mean of the newest five seconds that are known. */
function mean(history, cursor) {
  let sum = 0;
  let known = 0;
  for (let step = 0; step < 5; step += 1) {
    const value = history[(cursor - step + SECONDS) % SECONDS];
    if (!Number.isNaN(value)) {
      sum += value;
      known += 1;
    }
  }
  return known ? sum / known : 0;
}

export function gravity(policy) {
  return GRAVITY[policy.status] * 2 + (policy.critical ? 0 : 1);
}
