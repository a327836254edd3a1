// How each kind of policy is read: what came in, what went wrong, and the figures of its tile.
//
// A kind that is not in here, of a newer service, is shown by what every kind has.

import { count, duration, left, plural, rate, share, words } from "./format.js";

const part = (number, all) => (all > 0 ? number / all : null);
// A figure draws attention from one in a hundred on, and more from one in ten.
const worry = (portion) => (portion >= 0.1 ? "bad" : portion >= 0.01 ? "warn" : "");
const some = (number) => (number > 0 ? "warn" : "");

const figure = (label, value, mood = "") => ({ label, value, tone: mood });
const counted = (label, policy, counter) =>
  figure(label, count(policy.stats[counter]), some(policy.more(counter)));
const shared = (label, portion, mood = worry(portion ?? 0)) => figure(label, share(portion), mood);

const KINDS = {
  circuit_breaker: {
    calls: (stats) => stats.calls + stats.rejected,
    bad: (stats) => stats.failures + stats.rejected,
    figures(policy) {
      const { window, states } = policy.stats;
      const failing = window ? window.failure_rate : part(policy.more("failures"), policy.more("calls"));
      const third = states
        ? figure("open keys", `${openKeys(states)} of ${count(sum(Object.values(states)))}`, some(openKeys(states)))
        : shared("slow", window?.slow_rate ?? null);
      return [shared("failing", failing), third, counted("rejected", policy, "rejected")];
    },
    meter(policy, now) {
      if (policy.stats.retry_after === null) return null;
      const remaining = policy.remaining(policy.stats.retry_after, now);
      const whole = policy.stats.retry_after + policy.stats.seconds_in_state;
      const text = remaining > 0 ? `tries again in ${left(remaining)}` : "tries again with the next call";
      return { text, share: part(remaining, whole) ?? 0, tone: "bad" };
    },
    note: ({ stats }) => [stats.opened ? `opened ${plural(stats.opened, "time")}` : "has never opened by itself"],
  },
  timeout: {
    calls: (stats) => stats.calls + stats.rejected,
    bad: (stats) => stats.timed_out + stats.failures + stats.rejected,
    figures: (policy) => [
      shared("timing out", part(policy.more("timed_out"), policy.more("calls"))),
      figure("running on", count(policy.stats.abandoned), some(policy.stats.abandoned)),
      counted("rejected", policy, "rejected"),
    ],
    note: ({ stats }) => [
      stats.seconds === null ? null : `limit ${duration(stats.seconds)}`,
      stats.per_item ? `${duration(stats.per_item)} per item` : null,
      words(stats.mode),
    ],
  },
  retry: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.failures,
    figures: (policy) => [
      shared("giving up", part(policy.more("failures"), policy.more("calls"))),
      figure("retries/call", perCall(policy)),
      figure("recovered", count(policy.stats.recovered)),
    ],
    note({ stats }) {
      const [reason, times] = Object.entries(stats.ended_by).reduce((most, each) => (each[1] > most[1] ? each : most));
      return times ? [`most given up: ${words(reason)}`] : ["no call was given up"];
    },
  },
  rate_limit: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.rejected,
    figures: (policy) => [
      shared("rejecting", part(policy.more("rejected"), policy.more("calls"))),
      figure("waiting", count(policy.stats.waiting), policy.stats.waiting ? "warn" : ""),
      counted("rejected", policy, "rejected"),
    ],
    meter({ stats }) {
      if (stats.remaining === null) return null;
      const limit = Math.max(parseInt(stats.limit, 10) || 0, stats.remaining);
      const portion = part(stats.remaining, limit) ?? 0;
      return {
        text: `${count(stats.remaining)} left of ${stats.limit}`,
        share: portion,
        tone: portion === 0 ? "bad" : portion < 0.2 ? "warn" : "",
      };
    },
    note: ({ stats }) => [stats.limit, stats.keys === null ? null : `${count(stats.keys)} keys`],
  },
  bulkhead: {
    calls: (stats) => stats.admitted + stats.rejected,
    bad: (stats) => stats.rejected,
    figures: (policy) => [
      shared("rejecting", part(policy.more("rejected"), policy.more("rejected") + policy.more("admitted"))),
      figure("waiting", count(policy.stats.waiting), policy.stats.waiting ? "warn" : ""),
      counted("rejected", policy, "rejected"),
    ],
    meter({ stats }) {
      const places = stats.max_concurrent * Math.max(1, stats.keys ?? 1);
      const portion = part(stats.in_use, places) ?? 0;
      return {
        text: `${count(stats.in_use)} of ${count(places)} places in use`,
        share: portion,
        tone: portion >= 1 ? "bad" : portion > 0.8 ? "warn" : "",
      };
    },
  },
  throttle: {
    calls: (stats) => stats.calls + stats.rejected,
    bad: (stats) => stats.failures + stats.rejected,
    figures: (policy) => [
      shared("dropping", part(policy.more("rejected"), policy.more("rejected") + policy.more("calls"))),
      shared("failing", part(policy.more("failures"), policy.more("calls"))),
      counted("rejected", policy, "rejected"),
    ],
    meter: ({ stats }) => ({
      text: stats.chance ? `drops ${share(stats.chance)} of the calls` : "drops nothing",
      share: stats.chance,
      tone: stats.chance ? "warn" : "",
    }),
  },
  fallback: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.used + stats.failures,
    figures: (policy) => [
      shared("falling back", part(policy.more("used"), policy.more("calls"))),
      shared("failing", part(policy.more("failures"), policy.more("calls"))),
      figure("used", count(policy.stats.used)),
    ],
    note: ({ stats }) => [
      stats.from_value ? `${count(stats.from_value)} values` : null,
      stats.from_handler ? `${count(stats.from_handler)} by handlers` : null,
      stats.from_last_good ? `${count(stats.from_last_good)} last good` : null,
      `${count(stats.kept)} kept`,
    ],
  },
  hedge: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.failures,
    figures: (policy) => [
      shared("failing", part(policy.more("failures"), policy.more("calls"))),
      shared("hedged", part(policy.more("hedges"), policy.more("calls")), ""),
      figure("wins", count(policy.stats.wins)),
    ],
    note: ({ stats }) => [stats.delay === null ? "delay not known yet" : `hedges after ${duration(stats.delay)}`],
  },
  idempotent: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.rejected + stats.lost,
    figures: (policy) => [
      shared("replayed", part(policy.more("replayed"), policy.more("calls")), ""),
      figure("running", count(policy.stats.running)),
      counted("rejected", policy, "rejected"),
    ],
    note: ({ stats }) => [
      stats.store_errors ? `${count(stats.store_errors)} errors of the store` : "no error of the store",
      stats.unprotected ? `${count(stats.unprotected)} ran unprotected` : null,
      stats.lost ? `${count(stats.lost)} lost` : null,
    ],
  },
  chaos: {
    calls: (stats) => stats.struck,
    bad: (stats) => stats.struck,
    figures: ({ stats }) => [
      figure("delayed", count(stats.latencies)),
      figure("faults", count(stats.faults)),
      figure("results", count(stats.results)),
    ],
    note: ({ stats }) => [stats.active ? "may strike now" : "strikes nobody now"],
  },
  retry_budget: {
    calls: (stats) => stats.calls,
    bad: (stats) => stats.refused,
    figures: (policy) => [
      figure("left", count(policy.stats.left), policy.stats.left ? "" : "bad"),
      figure("taken", count(policy.stats.taken - policy.stats.given_back)),
      counted("refused", policy, "refused"),
    ],
    meter(policy) {
      const { left: unused, usage } = policy.stats;
      const portion = Math.max(0, 1 - (usage || 0));
      return {
        text: `${count(unused)} more attempts allowed`,
        share: portion,
        tone: policy.status !== "ok" ? "bad" : portion < 0.2 ? "warn" : "",
      };
    },
  },
};

const UNKNOWN = {
  calls: (stats) => stats.calls ?? 0,
  bad: (stats) => (stats.failures ?? 0) + (stats.rejected ?? 0),
  figures: (policy) =>
    Object.keys(policy.stats)
      .filter((name) => Number.isInteger(policy.stats[name]))
      .slice(0, 3)
      .map((name) => figure(words(name), count(policy.stats[name]))),
};

const reader = (policy) => Object.hasOwn(KINDS, policy.kind) ? KINDS[policy.kind] : UNKNOWN;
const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);
const openKeys = (states) => (states.open ?? 0) + (states.forced_open ?? 0);
const perCall = (policy) =>
  policy.more("calls") ? rate(policy.more("retries") / policy.more("calls")) : "0";

/** How many calls the policy has seen, refused ones included. */
export const calls = (policy) => reader(policy).calls(policy.stats) || 0;

/** How many of them were refused, or did not give what they should. */
export const bad = (policy) => reader(policy).bad(policy.stats) || 0;

/** Three figures: `{label, value, tone}`. */
export const figures = (policy) => reader(policy).figures(policy);

/** What stands below the figures: `{text, share?, tone?}`, of which a share is drawn as a bar. */
export function foot(policy, now) {
  if (policy.until !== null) {
    return { text: `${words(policy.condition)} for ${left(policy.until - now)} more`, tone: "warn" };
  }
  const kind = reader(policy);
  const meter = kind.meter?.(policy, now);
  if (meter) return meter;
  const { latency } = policy.stats;
  if (latency && latency.p50 !== null) {
    return { quantiles: ["p50", "p95", "p99"].map((each) => [each, duration(latency[each])]), text: "" };
  }
  return { text: (kind.note?.(policy) ?? []).filter((each) => each !== null).join(" · ") };
}

export const KNOWN = Object.keys(KINDS);
export const iconOf = (kind) => (Object.hasOwn(KINDS, kind) ? kind : "policy");
