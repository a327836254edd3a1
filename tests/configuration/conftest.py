"""Files to configure from, in each format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import meshhook as mh


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file, with the text as it is or data in the format of the name."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if not isinstance(content, (str, bytes)):
            content = dumped(content, path.suffix)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def dumped(data: Any, suffix: str) -> str:
    """Return data in one of the formats."""
    if suffix == ".json":
        return json.dumps(data)
    if suffix in (".yaml", ".yml"):
        return yaml.safe_dump(data)
    return toml(data)


def toml(data: dict[str, Any], *path: str) -> str:
    """Return data as TOML: tables of tables, and values that JSON writes in the same way."""
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    lines = [f"{quoted(key)} = {quoted(data[key])}" for key in data if key not in tables]
    text = "".join(f"{line}\n" for line in lines)
    if path:
        text = f"[{'.'.join(map(quoted, path))}]\n{text}"
    return text + "".join(toml(table, *path, key) for key, table in tables.items())


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def configure(source: Any = None, **options: Any) -> mh.Configuration:
    """Configure, whatever the environment of the tests says."""
    return mh.configure(source, **({"environment": False} | options))
