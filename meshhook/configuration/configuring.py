"""``configure`` and ``reload``: settings from outside, over what the code says."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from meshhook import events
from meshhook.configuration.installing import Installation, pending
from meshhook.configuration.layers import Layers
from meshhook.configuration.loading import load
from meshhook.configuration.problems import Problems
from meshhook.configuration.shape import At
from meshhook.configuration.sources import File, Readable, SourceLike, sources_of
from meshhook.errors import ConfigurationError
from meshhook.policy import Policy
from meshhook.registry import Registry
from meshhook.settings import Duration, duration, flag, printable, wrong

if TYPE_CHECKING:
    from meshhook.configuration.watching import Watch

logger = logging.getLogger("meshhook.configuration")

_numbers = itertools.count(1)
"""Whoever begins later has the higher number: configurations, and in each of them readings."""


class Configuration:
    """What is configured from outside in one registry. Made by :func:`meshhook.configure`.

    Safe to use from any thread.
    """

    def __init__(
        self,
        sources: tuple[Readable, ...],
        *,
        profile: str | None,
        environment: bool,
        registry: Registry,
        strict: bool | None,
    ) -> None:
        self.registry = registry
        self._sources = sources
        self._profile = profile
        self._environment = environment
        self._strict = strict
        self._number = next(_numbers)
        self._watch: Watch | None = None

    @property
    def _layers(self) -> Layers | None:
        """What is in force of it; None if another configuration has taken its place."""
        layers: Any = self.registry._layers
        return layers if layers is not None and layers.configuration is self else None

    @property
    def name(self) -> str:
        """What it is read from, in a few words."""
        names = [Path(each.name).name for each in self._sources]
        return ", ".join([*names, *(["environment"] if self._environment else [])]) or "nothing"

    @property
    def profile(self) -> str | None:
        """The profile of all policies that name none themselves."""
        return None if self._layers is None else self._layers.profile

    def reload(self) -> int:
        """Read all sources anew, check all of it, and have every policy go by it.

        Return how many policies have got other settings: none if another configuration has taken
        the place of this one.

        Raises:
            ConfigurationError: when anything is wrong; nothing changes then.
        """
        problems = Problems()
        try:
            changed = self._go_by(problems)
        except ConfigurationError:
            if events.wanted(events.ConfigurationRejected):
                events.emit(
                    events.ConfigurationRejected(
                        policy="configuration", name=self.name, problems=max(1, len(problems))
                    )
                )
            raise
        if events.wanted(events.ConfigurationReloaded):
            events.emit(
                events.ConfigurationReloaded(
                    policy="configuration", name=self.name, changed=changed
                )
            )
        return changed

    def _go_by(self, problems: Problems) -> int:
        while True:
            changed = self._install(problems)
            if changed is not None:
                return changed

    def _install(self, problems: Problems) -> int | None:
        accepted = self._accepted()
        number = self._number, next(_numbers)
        variables = os.environ if self._environment else {}
        contents, budgets = load(self._sources, variables, self._profile, self.registry, problems)
        installation = Installation(self.registry, Layers(contents, number, self), budgets.made)
        installation.check(accepted, problems)
        problems.raise_if_any()
        return installation.install()

    def _accepted(self) -> frozenset[At] | None:
        """Return the names that need not be those of policies; None for any."""
        if self._strict is not None:
            return frozenset() if self._strict else None
        if self._layers is None:
            return frozenset() if len(self.registry) else None
        return frozenset(at for at, _ in self._layers.named())

    def pending(self) -> tuple[str, ...]:
        """Return the names that no policy has so far: where they are, and what may be meant."""
        if self._layers is None:
            return ()
        return tuple(map(str, pending(self.registry, self._layers).values()))

    def sources(self, policy: Policy) -> dict[str, str]:
        """Return where the settings of ``policy`` come from, by argument.

        Either ``"code"`` or the place in a file, a dict or the environment. What is not in there is
        the default of the library.
        """
        if self._layers is None or policy.recipe is None:
            return {}
        return self._layers.origins(policy.kind, policy.name, policy.recipe)

    def close(self) -> None:
        """Stop watching. The settings stay as they are. Safe to call more than once."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Configuration of {self.name}>"


def configure(
    source: SourceLike = None,
    *,
    profile: str | None = None,
    environment: bool = True,
    registry: Registry | None = None,
    strict: bool | None = None,
    watch: bool | Duration = False,
) -> Configuration:
    """Lay settings from outside over those in the code, for the policies there are and will be.

    Everything is read and checked first, and then applied: policies that exist keep their state.
    It takes the place of an earlier configuration of the registry.

    Args:
        source: the path of a file (``.toml``, ``.json``, ``.yaml``), a dict, or a list of those,
            the later over the earlier. Default None: the environment alone.
        profile: the profile that all policies have which name none themselves, rather than the one
            in ``MESHHOOK_PROFILE`` or in the file.
        environment: whether variables such as ``MESHHOOK__RETRY__QUOTE__MAX_ATTEMPTS`` lie over it
            all. Default True.
        registry: whose policies are configured. Default ``meshhook.registry``.
        strict: whether every name has to be that of a policy, now and at each reload. Default: if
            there is any policy at all; later only names that come anew have to. With False a name
            may be that of a policy that is made later.
        watch: whether to reload when a file has changed: True looks once a second, a duration as
            often as it says. Default False.

    Raises:
        ConfigurationError: when anything is wrong; nothing changes then. It tells of all that is,
            and where.

    Safe to call from any thread. A file can have any module imported and is to be trusted like one.
    """
    if profile is not None:
        printable("profile", profile)
    if strict is not None:
        flag("strict", strict)
    made = Configuration(
        sources_of(source),
        profile=profile,
        environment=flag("environment", environment),
        registry=Registry.given(registry),
        strict=strict,
    )
    interval = _interval(watch, made)
    earlier = configuration_of(made.registry)
    watching = None if interval is None else _watch(made, interval)
    try:
        made._go_by(Problems())
    except BaseException:
        if watching is not None:
            watching.close()
        raise
    if earlier is not None:
        earlier.close()
    made._watch = watching
    waiting = made.pending()
    if waiting:
        logger.info("%s: %d names of no policy so far: %s", made.name, len(waiting), waiting)
    return made


def _interval(watch: Any, configuration: Configuration) -> float | None:
    if watch is False:
        return None
    if not any(isinstance(each, File) for each in configuration._sources):
        raise wrong("watch", watch, "left out, for there is no file among the sources")
    return 1.0 if watch is True else duration("watch", watch)


def _watch(configuration: Configuration, interval: float) -> Watch:
    from meshhook.configuration.watching import Watch

    return Watch(configuration, interval)


def configuration_of(registry: Registry) -> Configuration | None:
    """Return the configuration of a registry, if it has any."""
    layers: Any = registry._layers
    return None if layers is None else layers.configuration


def reload(registry: Registry | None = None) -> int:
    """Read the sources of the configuration anew, check everything, and then apply it.

    Policies keep their state: an open circuit stays open. Return how many got other settings.

    Args:
        registry: whose configuration is read anew. Default ``meshhook.registry``.

    Raises:
        ConfigurationError: when anything is wrong, or nothing was configured; nothing changes then.

    Safe to call from any thread.
    """
    configuration = configuration_of(Registry.given(registry))
    if configuration is None:
        raise ConfigurationError("there is nothing to reload: call configure() first")
    return configuration.reload()
