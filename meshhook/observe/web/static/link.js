// The link to the service: one stream of server-sent events, and what becomes of it.
//
// States: "connecting" at first, "live" while messages come, "quiet" after three seconds without
// one, "lost" when the stream broke; then it is opened again, ever more rarely up to ten seconds.

const QUIET = 3000;
const DEAD = 12000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10000;

export class Link {
  /** `receive(kind, data)` gets each message, `changed(link)` is told of each change of state. */
  constructor(receive, changed) {
    this.receive = receive;
    this.changed = changed;
    this.state = "connecting";
    this.heard = 0; // when the last message came, by performance.now()
    this.retryAt = 0;
    this.pause = FIRST_PAUSE;
    this.kinds = null;
    this.source = null;
    this.timer = 0;
    this.why = ""; // what the service answers instead of a stream
    setInterval(() => this.#watch(), 250);
  }

  /** Open the stream; only with events of `kinds`, unless they are null. */
  open(kinds = this.kinds) {
    this.kinds = kinds;
    this.#drop();
    const query = new URLSearchParams({ stats: "1" });
    if (kinds) query.set("kinds", kinds.join(","));
    const address = `events?${query}`;
    const source = new EventSource(address);
    this.source = source;
    this.opened = performance.now();
    for (const kind of ["hello", "events", "stats"]) {
      source.addEventListener(kind, (message) => {
        if (source !== this.source) return;
        this.heard = performance.now();
        this.pause = FIRST_PAUSE;
        this.why = "";
        this.receive(kind, JSON.parse(message.data));
        this.#become("live");
      });
    }
    source.onerror = () => {
      if (source !== this.source) return;
      this.#lose();
      this.#ask(address);
    };
  }

  /** An EventSource does not tell what it was answered: ask once more, for that alone. */
  async #ask(address) {
    const asking = new AbortController();
    try {
      const answer = await fetch(address, { signal: asking.signal });
      if (answer.ok) return;
      const { error } = await answer.json().catch(() => ({}));
      this.why = error ?? `it answers ${answer.status}`;
    } catch {
      this.why = ""; // Nobody is there; the page says so already.
    } finally {
      asking.abort();
    }
  }

  /** Seconds since the last message, or null if there was none. */
  get age() {
    return this.heard ? (performance.now() - this.heard) / 1000 : null;
  }

  /** Seconds until the next attempt. */
  get wait() {
    return Math.max(0, (this.retryAt - performance.now()) / 1000);
  }

  #watch() {
    if (this.state === "lost" || !this.source) return;
    const silence = performance.now() - Math.max(this.heard, this.opened);
    if (silence > DEAD) this.#lose();
    else if (silence > QUIET) this.#become("quiet");
  }

  #lose() {
    this.#drop();
    // Many pages that lost one service must not come back all at once.
    const pause = this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    this.retryAt = performance.now() + pause;
    this.timer = setTimeout(() => this.open(), pause);
    this.#become("lost");
  }

  #drop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.changed(this);
  }
}
