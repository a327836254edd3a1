"""Looking up by name, where policies of several kinds may have the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from meshhook.stats import Stats

T = TypeVar("T")


class ByName(Mapping[str, T]):
    """A mapping by name over several kinds; ``kind/name`` is never ambiguous."""

    def __init__(self, items: Mapping[tuple[str, str], T]) -> None:
        self._items = items

    def __getitem__(self, name: str) -> T:
        exact = split(name)
        if exact in self._items:
            return self._items[exact]
        found = {kind: item for (kind, own), item in self._items.items() if own == name}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            kinds = ", ".join(f"{kind}/{name}" for kind in sorted(found))
            raise KeyError(f"{name!r} is the name of several policies: use one of {kinds}")
        raise KeyError(f"no policy is named {name!r}")

    def __iter__(self) -> Iterator[str]:
        kinds: dict[str, int] = {}
        for _, name in self._items:
            kinds[name] = kinds.get(name, 0) + 1
        for kind, name in self._items:
            clear = kinds[name] == 1 and split(name) not in self._items
            yield name if clear else f"{kind}/{name}"

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name!r}: {self[name]!r}' for name in self)}}}"


def split(name: object) -> tuple[str, str]:
    """Take ``kind/name`` apart; the kind alone is without a name."""
    kind, _, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
    return kind, rest


class RegistryStats(ByName[Stats]):
    """The statistics of every policy at one moment, by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind/name": {...}}``, fit for ``json.dumps``."""
        return {f"{kind}/{name}": stats.to_dict() for (kind, name), stats in self._items.items()}
