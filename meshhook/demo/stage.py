"""The stage: what there is to be seen at one moment, for whichever view looks at it."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque

from meshhook import events
from meshhook.demo.calls import Calls
from meshhook.demo.invariants import Prices, Verdict, judge
from meshhook.demo.journal import OUTCOMES, Journal
from meshhook.demo.policies import Policies
from meshhook.demo.processes import ServiceProcess

_RATE_SPAN = 1.0
_MERGE_WITHIN = 1.0
_MERGE_AMONG = 8
_JUDGE_EVERY = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """One act: its name, what it is about, and what is done to the service."""

    title: str
    about: str
    share: float
    delay: float = 0.0
    error_rate: float = 0.0
    slow_share: float = 1.0
    killed: bool = False
    restarted: bool = False


@dataclasses.dataclass(slots=True)
class Note:
    """Something that happened ``at`` so many seconds, or ``times`` times from then on."""

    at: float
    text: str
    rare: bool = True
    times: int = 1
    last: float = 0.0


class Rates:
    """Calls a second over the last second, by outcome."""

    def __init__(self) -> None:
        self._totals: deque[tuple[float, Counter[str]]] = deque([(0.0, Counter())])

    def update(self, at: float, totals: Counter[str]) -> Counter[str]:
        """Take in the totals at a moment; return what was added in the last second."""
        self._totals.append((at, totals))
        while len(self._totals) > 2 and self._totals[1][0] <= at - _RATE_SPAN:  # noqa: PLR2004
            self._totals.popleft()
        then, before = self._totals[0]
        span = max(at - then, 0.001)
        return Counter({each: round((totals[each] - before[each]) / span) for each in totals})


@dataclasses.dataclass(kw_only=True)
class Scene:
    """The parts of the demo, and the moment that it has come to. For the main thread."""

    acts: tuple[Act, ...]
    seconds: float
    store: str
    policies: Policies
    journal: Journal
    service: ServiceProcess
    calls: Calls
    dashboard: str | None = None
    """The address of the page that shows the policies, if there is one."""
    number: int = 0
    at: float = 0.0
    notes: list[Note] = dataclasses.field(default_factory=list)
    rates: Counter[str] = dataclasses.field(default_factory=Counter)
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    _told: int = 0
    _judged: float = -_JUDGE_EVERY
    _rates: Rates = dataclasses.field(default_factory=Rates)

    @property
    def act(self) -> Act:
        """The act that is played."""
        return self.acts[self.number]

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.seconds - self.at)

    def enter(self, number: int) -> None:
        """Begin an act."""
        self.number = number
        self.note(f"act {number + 1}, {self.act.title}: {self.act.about}")

    def update(self, at: float) -> None:
        """Look at everything again."""
        self.at = at
        self.service.ledger.read()
        executed, replayed = self.service.ledger.charges, events.ResultReplayed
        counts = self.journal.counts
        extra = {
            "executed": len(executed),
            "replayed": counts[replayed],
            "retried": counts[events.CallRetried],
            "hedged": counts[events.HedgeStarted],
        }
        self.rates = self._rates.update(at, self.totals() + Counter(extra))
        fresh = self.journal.events[self._told :]
        self._told += len(fresh)
        for moment, event in fresh:
            text, rare = describe(event)
            self.note(text, moment - self.journal.began, rare=rare)
        if at - self._judged >= _JUDGE_EVERY:
            self._judged = at
            self.verdicts = self.judge()

    def totals(self) -> Counter[str]:
        """Return the number of calls by outcome."""
        totals = Counter(dict.fromkeys(OUTCOMES, 0))
        for counts in list(self.journal.outcomes.values()):
            totals.update(counts)
        return totals

    def judge(self) -> list[Verdict]:
        """Judge what has happened so far."""
        journal = self.journal
        return judge(
            journal.calls[:],
            journal.changes[:],
            self.service.ledger.per_order,
            dict(journal.confirmed),
            Prices(
                starts=journal.starts[:],
                at_once=journal.most_in_slots,
                asked=journal.prices,
                extra=journal.extra_attempts(),
                seconds=time.monotonic() - journal.began,
            ),
        )

    def note(self, text: str, at: float | None = None, *, rare: bool = True) -> None:
        """Write down what happened, now or at ``at``; what is not rare is counted if it repeats."""
        at = self.at if at is None else at
        for note in [] if rare else self.notes[-_MERGE_AMONG:]:
            if note.text == text and at - note.last < _MERGE_WITHIN:
                note.last, note.times = at, note.times + 1
                return
        self.notes.append(Note(at, text, rare, last=at))


_WORDS: dict[type[events.Event], str] = {
    events.CallFailed: "circuit {name}: a call failed with {error}",
    events.AbandonedCallEnded: "timeout {name}: a thread that was given up has ended",
    events.ResultReplayed: "idempotent {name}: the receipt was given again",
    events.CallRetried: "retry {name}: another attempt after {error}",
    events.RetriesExhausted: "retry {name}: no further attempt, because of {reason}",
    events.HedgeStarted: "hedge {name}: a second attempt beside the first",
    events.HedgeWon: "hedge {name}: the second attempt was faster",
    events.CallDelayed: "rate limit {name}: a call waits for its turn",
}
_NAMES = {"circuit_breaker": "circuit", "rate_limit": "rate limit"}


def describe(event: events.Event) -> tuple[str, bool]:
    """Say an event in words, and tell whether it is rare enough for a line of its own."""
    rare = False
    match event:
        case events.CircuitChanged():
            text = f"circuit {event.name}: {event.old} -> {event.new} ({event.reason})"
            text, rare = text.replace("half_open", "half-open"), True
        case events.CallRejected():
            kind = _NAMES.get(event.policy, event.policy)
            text = f"{kind} {event.name}: a call was refused at once"
        case events.CallTimedOut():
            end = "its thread was given up" if event.abandoned else "it was cancelled"
            text = f"timeout {event.name}: {event.timeout:.2g} s are over, {end}"
        case _ if type(event) in _WORDS:
            fields = {each: getattr(event, each) for each in event.__dataclass_fields__}
            text = _WORDS[type(event)].format_map(fields)
        case _:
            text, rare = f"{event.policy} {event.name}: {type(event).__name__}", True
    return text, rare
