"""A fleet: several processes, each named by the URL where it shows its policies, seen as one."""

from meshhook.observe.fleet.fleet import Fleet, Members
from meshhook.observe.fleet.folder import Announcement, FleetFolder

__all__ = ["Announcement", "Fleet", "FleetFolder", "Members"]
