// Acting on a policy: what may be done, a question before it is done, and what came of it.

import { h, put } from "./dom.js";
import { left, sentence, timeOfDay, words } from "./format.js";

const ACTIONS = {
  force_open: ["Force open", "Every call is refused at once until this ends or somebody resets the circuit.", "may"],
  isolate: ["Isolate", "Every call is refused at once for this time; then the circuit goes back to what it was.", "must"],
  disable: ["Disable", "Every call goes through, and the circuit neither counts nor opens.", "may"],
  metrics_only: ["Metrics only", "Every call goes through; the circuit counts, and does not open.", "may"],
  reset: ["Reset", "It goes back to the state of a new one: what it has learned of the last calls is forgotten.", "never"],
};
const PRESETS = [["30 s", 30], ["1 min", 60], ["5 min", 300], ["15 min", 900]];

const READ_ONLY = "This page is for reading only: the service was started without authorize=, "
  + "which says who may act.";

const CONFIRMED_WITHIN = 3000;
const ELSEWHERE = "But the process that this page shows has not told of it: several seem to share this "
  + "address, and another one has done it.";

let token = ""; // of the operator: kept while the page is open, and nowhere else

export class Acting {
  constructor(model) {
    this.model = model;
    this.unconfirmed = null; // what was done, and is not in the stream yet
    this.buttons = h("div", { class: "buttons" });
    this.question = h("form", { class: "question", hidden: "" });
    this.result = h("p", { class: "result", role: "status" });
    this.why = h("p", { class: "why", id: "why-not" });
    this.root = h("section", { class: "acting", "aria-label": "Actions" },
      h("h3", {}, "Actions"), this.why, this.buttons, this.question, this.result);
  }

  show(policy) {
    const { canAct } = this.model;
    const actions = `${policy.key} ${policy.actions} ${canAct}`;
    this.policy = policy;
    if (actions === this.shown) return;
    this.shown = actions;
    this.#ask(null);
    this.#tell("");
    put(this.why, canAct ? "" : READ_ONLY);
    this.why.hidden = canAct;
    this.buttons.replaceChildren(...policy.actions.map((action) =>
      h("button", {
        type: "button",
        "data-action": action,
        disabled: !canAct,
        "aria-describedby": canAct ? null : "why-not",
        onclick: () => this.#ask(action),
      }, `${title(action)}…`)));
  }

  /** Close the question, if there is one; returns whether there was. */
  cancel() {
    if (this.question.hidden) return false;
    const { action } = this;
    this.#ask(null);
    this.buttons.querySelector(`[data-action="${CSS.escape(action)}"]`)?.focus();
    return true;
  }

  #ask(action) {
    this.action = action;
    this.question.hidden = action === null;
    this.buttons.hidden = action !== null;
    if (action === null) return;
    this.#tell("");
    const [, meaning, time] = ACTIONS[action] ?? [null, "", "may"];
    const seconds = h("input", {
      type: "number", id: "seconds", min: "1", max: "86400", step: "1", inputmode: "numeric",
      required: time === "must", placeholder: time === "must" ? "seconds" : "until reset",
    });
    if (time === "must") seconds.value = "60";
    const secret = h("input", { type: "password", id: "token", autocomplete: "off", value: token });
    this.seconds = time === "never" ? null : seconds;
    this.secret = secret;
    this.secretField = h("label", { class: "field", hidden: token || this.refused ? false : "" }, h("span", {}, "Operator's token"), secret);
    const confirm = h("button", { type: "submit", class: "confirm" }, `${title(action)} `, h("bdi", {}, this.policy.name));
    this.question.replaceChildren(...[
      h("p", {}, h("strong", {}, `${title(action)}?`), ` ${meaning}`),
      this.policy.critical && action !== "reset"
        ? h("p", { class: "warning" }, "This policy is critical: while it refuses calls, the service says that it is not ready.")
        : null,
      this.seconds && h("div", { class: "field" },
        h("label", { for: "seconds" }, "For how many seconds"), seconds,
        h("span", { class: "presets" }, ...PRESETS.map(([text, value]) =>
          h("button", { type: "button", onclick: () => { seconds.value = value; seconds.focus(); } }, text)))),
      this.secretField,
      h("div", { class: "answer" }, confirm,
        h("button", { type: "button", onclick: () => this.cancel() }, "Cancel")),
    ].filter(Boolean));
    this.question.onsubmit = (event) => {
      event.preventDefault();
      this.#send(action, confirm);
    };
    (this.seconds ?? confirm).focus();
  }

  async #send(action, confirm) {
    const { policy } = this;
    token = this.secret.value;
    const seconds = this.seconds?.value ? Number(this.seconds.value) : null;
    confirm.disabled = true;
    this.early = null;
    this.#tell("Sending …");
    try {
      const answer = await post(policy, action, seconds);
      if (policy.key !== this.policy.key) return;
      if (!answer.ok) throw await refusal(answer);
      const { instance } = await answer.json().catch(() => ({}));
      if (policy.key !== this.policy.key) return;
      this.refused = false;
      const time = seconds ? ` for ${left(seconds)}` : "";
      this.#ask(null);
      const where = instance ? ` on ${instance.host} · ${instance.pid}` : "";
      this.#tell(`Done at ${timeOfDay(Date.now() / 1000)}${where}: ${words(action)}${time}.`);
      this.#expect(policy.key, action);
      this.buttons.querySelector(`[data-action="${CSS.escape(action)}"]`)?.focus();
    } catch (error) {
      if (policy.key !== this.policy.key) return;
      confirm.disabled = false;
      this.#tell(error.message, "bad");
      if (error.isRefusal) {
        this.refused = true;
        this.secretField.hidden = false;
        this.secret.focus();
      }
    }
  }

  /** The process that is shown tells of what was done; of workers, another may have done it. */
  #expect(key, action) {
    if (this.early === `${key} ${action}`) return; // it came before the answer did
    const done = { key, action };
    this.unconfirmed = done;
    setTimeout(() => {
      if (this.unconfirmed !== done || key !== this.policy.key) return;
      this.#tell(`${this.result.textContent} ${ELSEWHERE}`, "warn");
    }, CONFIRMED_WITHIN);
  }

  /** Take note that the process that is shown tells of an act. */
  confirm({ policy, name, action }) {
    const { unconfirmed } = this;
    if (unconfirmed?.key === `${policy}/${name}` && unconfirmed.action === action) this.unconfirmed = null;
    else this.early = `${policy}/${name} ${action}`;
  }

  #tell(text, tone = "") {
    put(this.result, text);
    put(this.result, tone, "data-tone");
  }
}

const title = (action) => ACTIONS[action]?.[0] ?? sentence(action);

function post(policy, action, seconds) {
  const path = [policy.kind, policy.name, action].map(encodeURIComponent).join("/");
  const headers = { "Content-Type": "application/json", "X-Meshhook": "act" };
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(`policies/${path}`, {
    method: "POST",
    headers,
    body: JSON.stringify(seconds === null ? {} : { seconds }),
    signal: AbortSignal.timeout(10000),
  }).catch(() => {
    throw new Error("No answer: the link is lost or the service is too busy. Look before you try again.");
  });
}

async function refusal(answer) {
  const told = await answer.json().then(({ error }) => error, () => null);
  const isRefusal = answer.status === 401 || answer.status === 403;
  const what = isRefusal ? "Refused" : `Not done (${answer.status})`;
  return Object.assign(new Error(`${what}: ${told ?? answer.statusText}`), { isRefusal });
}
