"""The files of the dashboard, read from the package once. Only what is listed there is served."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import NamedTuple

from meshhook.observe.web.exchange import Answer

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}


class _File(NamedTuple):
    body: bytes
    media_type: str
    etag: str


@functools.cache
def _files() -> dict[str, _File]:
    """Read all files of the folder; a path from a request never reaches a file system."""
    folder = resources.files("meshhook.observe.web") / "static"
    found: dict[str, _File] = {}
    if not folder.is_dir():
        return found
    for each in folder.iterdir():
        if each.is_file():
            body = each.read_bytes()
            media_type = _TYPES.get(each.name.rpartition(".")[2], "application/octet-stream")
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[each.name] = _File(body, media_type, etag)
    return found


def served(name: str, known: str) -> Answer | None:
    """Answer with a file, or that ``known``, the If-None-Match of the client, is still right."""
    file = _files().get(name)
    if file is None:
        return None
    headers = (("ETag", file.etag), ("Cache-Control", "no-cache"))
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if file.etag in tags or "*" in tags:
        return Answer(status=304, headers=headers)
    return Answer(headers=(("Content-Type", file.media_type), *headers), body=file.body)
