"""Configuration from outside: files, dicts and the environment, over what the code says."""

from meshhook.configuration.configuring import (
    Configuration,
    configuration_of,
    configure,
    reload,
)

__all__ = ["Configuration", "configuration_of", "configure", "reload"]
