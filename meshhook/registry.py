"""The registry: which policies there are, by kind and name, and what they have counted.

A name that the user gave is shared on purpose: the same kind and name give the same policy, and
other settings under it are an error. A name taken from a function is nobody's to share: a second
function of that name gets ``#2``, and a policy that nobody holds any more leaves the registry.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from meshhook import forks
from meshhook.by_name import ByName, split
from meshhook.by_name import RegistryStats as RegistryStats  # noqa: PLC0414 - also to be had here
from meshhook.errors import ConfigurationError
from meshhook.health import Health, PolicyHealth
from meshhook.recipes import Recipe
from meshhook.settings import differing, wrong
from meshhook.stats import Stats

if TYPE_CHECKING:
    from meshhook.budgets import RetryBudget
    from meshhook.policies.bulkhead import Bulkhead
    from meshhook.policies.chaos import Chaos
    from meshhook.policies.circuit_breaker import CircuitBreaker
    from meshhook.policies.fallback import Fallback
    from meshhook.policies.hedge import Hedge
    from meshhook.policies.idempotent import Idempotent
    from meshhook.policies.rate_limit import RateLimit
    from meshhook.policies.retry import Retry
    from meshhook.policies.throttle import Throttle
    from meshhook.policies.timeout import Timeout

T = TypeVar("T")
EntryT = TypeVar("EntryT", bound="Entry")


class Entry(Protocol):
    """What a registry keeps by kind and name: policies, and the budgets that they share."""

    kind: ClassVar[str]
    settings: Any
    recipe: Recipe | None
    _name: str | None

    def renew_locks(self) -> None:
        """Make the locks anew, in a forked child."""

    def stats(self) -> Stats:
        """Return what it has counted."""

    def reset(self) -> None:
        """Go back to the state of a new one."""


class Layers(Protocol):
    """What lies over that which the code says: a configuration from outside."""

    def settings_of(self, kind: str, name: str, recipe: Recipe) -> Any:
        """Return the settings of the policy of that kind and name; those of its recipe, mostly."""


def _settings(layers: Layers | None, kind: str, name: str, recipe: Recipe) -> Any:
    return recipe.settings if layers is None else layers.settings_of(kind, name, recipe)


class Registry:
    """Policies by kind and name. Safe to use from any thread or task."""

    default: ClassVar[Registry]
    """The registry that decorators use unless they are given another: ``meshhook.registry``."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, str], Entry] = {}  # guarded by _lock
        self._owned: weakref.WeakValueDictionary[tuple[str, str], Entry]  # guarded by _lock
        self._owned = weakref.WeakValueDictionary()
        self._layers: Layers | None = None  # guarded by _lock
        self.renew_locks()
        forks.enrol(self)

    @staticmethod
    def given(registry: Registry | None) -> Registry:
        """Return what was given as ``registry=``, or the default one."""
        if registry is None:
            return Registry.default
        if not isinstance(registry, Registry):
            raise wrong("registry", registry, "a meshhook.Registry, or left out")
        return registry

    def renew_locks(self) -> None:
        """Make the lock anew, and those of the policies, in a forked child."""
        # Reentrant: a finalizer or signal handler that asks for statistics may interrupt us in it.
        self._lock = threading.RLock()
        for policy in self:
            policy.renew_locks()

    def share(self, kind: str, name: str, recipe: Recipe, make: Callable[[Any], EntryT]) -> EntryT:
        """Return the policy of that kind and name; make it, out of settings, if there is none."""
        policy: Any = self._shared.get((kind, name))
        if policy is None:
            policy = self._keep(kind, name, recipe, make)
        while (known := policy.recipe) is None:
            # A configuration made it, and now the code tells what it is like.
            try:
                self._settle(policy, recipe)
            except BaseException:
                policy.recipe = None  # so that the next one is told as well
                raise
        if known.settings != recipe.settings:
            there, here = differing(known.settings, recipe.settings)
            raise ConfigurationError(
                f"{kind} {name!r} exists with other settings: it has {there}, and here it gets "
                f"{here}; use the same settings or another name"
            )
        return policy  # type: ignore[no-any-return]

    def _keep(self, kind: str, name: str, recipe: Recipe, make: Callable[[Any], Entry]) -> Entry:
        while True:
            layers = self._layers
            # Made with the lock free, for it may ask a callable of the user's for a setting.
            made = make(_settings(layers, kind, name, recipe))
            with self._lock:
                if layers is not self._layers:
                    continue
                if (kind, name) in self._owned:
                    raise ConfigurationError(
                        f"{kind} {name!r} is already the name of a policy that was given none, "
                        "such as that of a function; choose another name"
                    )
                made._name, made.recipe = name, recipe
                return self._shared.setdefault((kind, name), made)

    def make(self, kind: str, name: str, recipe: Recipe, make: Callable[[Any], EntryT]) -> EntryT:
        """Make a policy that nobody shares, under ``name`` or ``name#2``, ``name#3``."""
        while True:
            layers = self._layers
            expected = name if layers is None else self._free_name(kind, name)
            made = make(_settings(layers, kind, expected, recipe))
            with self._lock:
                own = self._free_name(kind, name)
                if layers is self._layers and (layers is None or own == expected):
                    made._name, made.recipe = own, recipe
                    self._owned[kind, own] = made
                    return made

    def adopt(self, policy: Entry, name: str) -> str:
        """Take in a policy that was given no name, under ``name`` or ``name#2``, ``name#3``."""
        with self._lock:
            if policy._name is not None:
                return policy._name
            policy._name = own = self._free_name(policy.kind, name)
            self._owned[policy.kind, own] = policy
            is_configured = self._layers is not None and policy.recipe is not None
        if is_configured:
            try:
                self._settle(policy, policy.recipe)
            except BaseException:
                self._turn_out(policy, own)
                raise
        return own

    def _turn_out(self, policy: Entry, name: str) -> None:
        """Let go of a policy that may not be what it would be in here; the next call asks anew."""
        with self._lock:
            self._owned.pop((policy.kind, name), None)
            policy._name = None

    def _settle(self, policy: Any, recipe: Any) -> None:
        """Have a policy that is in here already go by what lies over its recipe."""
        policy.recipe = recipe
        while True:
            layers = self._layers
            policy.apply(_settings(layers, policy.kind, policy._name, recipe))
            if layers is self._layers:
                return

    def _free_name(self, kind: str, name: str) -> str:
        """Find a number that is free in few steps, however many functions have the name."""

        def numbered(number: int) -> str:
            return name if number == 1 else f"{name}#{number}"

        def is_taken(number: int) -> bool:
            at = kind, numbered(number)
            return at in self._shared or at in self._owned

        with self._lock:
            free = 1
            while is_taken(free):
                free *= 2
            taken = free // 2
            while free - taken > 1:
                middle = (free + taken) // 2
                taken, free = (middle, free) if is_taken(middle) else (taken, middle)
            return numbered(free)

    def _policies(self) -> dict[tuple[str, str], Entry]:
        with self._lock:
            return {**self._shared, **dict(self._owned.items())}

    def _find(self, kind: str, name: str) -> Entry | None:
        """Return one policy, without a copy of all: there may be thousands."""
        with self._lock:
            found: Entry | None = self._owned.get((kind, name))
            return self._shared.get((kind, name)) if found is None else found

    def __getitem__(self, name: str) -> Entry:
        return ByName(self._policies())[name]

    def __contains__(self, name: object) -> bool:
        policies = self._policies()
        if split(name) in policies or any(name is policy for policy in policies.values()):
            return True
        return any(name == own for _, own in policies)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._policies().values())

    def __len__(self) -> int:
        return len(self._policies())

    def __repr__(self) -> str:
        return f"<Registry: {', '.join(f'{kind}/{name}' for kind, name in self._policies())}>"

    def of_kind(self, kind: str) -> dict[str, Any]:
        """Return the policies of one kind, by name."""
        return {name: policy for (own, name), policy in self._policies().items() if own == kind}

    @property
    def circuit_breakers(self) -> dict[str, CircuitBreaker]:
        """The circuit breakers, by name."""
        return self.of_kind("circuit_breaker")

    @property
    def bulkheads(self) -> dict[str, Bulkhead]:
        """The bulkheads, by name."""
        return self.of_kind("bulkhead")

    @property
    def rate_limits(self) -> dict[str, RateLimit]:
        """The rate limits, by name."""
        return self.of_kind("rate_limit")

    @property
    def timeouts(self) -> dict[str, Timeout]:
        """The timeouts, by name."""
        return self.of_kind("timeout")

    @property
    def idempotents(self) -> dict[str, Idempotent]:
        """The idempotency guards, by name."""
        return self.of_kind("idempotent")

    @property
    def retries(self) -> dict[str, Retry]:
        """The retries, by name."""
        return self.of_kind("retry")

    @property
    def retry_budgets(self) -> dict[str, RetryBudget]:
        """The retry budgets, by name."""
        return self.of_kind("retry_budget")

    @property
    def hedges(self) -> dict[str, Hedge]:
        """The hedges, by name."""
        return self.of_kind("hedge")

    @property
    def fallbacks(self) -> dict[str, Fallback]:
        """The fallbacks, by name."""
        return self.of_kind("fallback")

    @property
    def chaos(self) -> dict[str, Chaos]:
        """The places where chaos may strike, by name."""
        return self.of_kind("chaos")

    @property
    def throttles(self) -> dict[str, Throttle]:
        """The throttles, by name."""
        return self.of_kind("throttle")

    def stats(self) -> RegistryStats:
        """Return the statistics of every policy. Never blocks a call."""
        return RegistryStats({at: policy.stats() for at, policy in self._policies().items()})

    def health(self) -> Health:
        """Return how every policy does now, and whether the service is ready.

        The status is the worst of all. ``ready`` is False only while a policy with
        ``critical=True`` is failing. Never blocks a call, and asks no store.
        """
        return Health.of(
            {f"{kind}/{name}": _health(policy) for (kind, name), policy in self._policies().items()}
        )

    def reset(self) -> None:
        """Reset every policy; their counters since the start are kept."""
        for policy in self:
            policy.reset()


def _health(policy: Entry) -> PolicyHealth:
    try:
        return PolicyHealth.of(policy, policy.stats())
    except Exception:
        return PolicyHealth.of(policy, None)


Registry.default = Registry()
