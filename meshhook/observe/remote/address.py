"""Where another process shows its policies, and what it is shown to be let in: both kept quiet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from meshhook.errors import ConfigurationError

_USUAL_PORTS = {False: 80, True: 443}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PORT = re.compile(r"[0-9]{1,5}")
_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; ``str()`` of it shows no credentials."""

    secure: bool
    host: str
    port: int
    path: str
    credentials: str | None

    @classmethod
    def of(cls, url: object) -> Address:
        """Take a URL apart; ``host:port`` alone is one too."""
        if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
            raise _wrong("has characters that no URL has" if isinstance(url, str) else "is no text")
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise _wrong("names no host, or no port that there is") from None
        if parts.scheme not in ("http", "https"):
            raise _wrong("is neither http:// nor https://")
        if parts.query or parts.fragment:
            raise _wrong("has a query or a fragment; give a token as such, not in the URL")
        if not host:
            raise _wrong("names no host")
        if port is None and _PORT.fullmatch(host):
            # A resolver would take it for an address, 9464 for 0.0.36.248.
            raise _wrong(f"is a number; did you mean 127.0.0.1:{host}?")
        credentials = None
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        secure = parts.scheme == "https"
        port = port or _USUAL_PORTS[secure]
        return cls(secure, host, port, parts.path.rstrip("/"), credentials)

    def __str__(self) -> str:
        masked = "***@" if self.credentials is not None else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.has_usual_port else f":{self.port}"
        return f"http{'s' if self.secure else ''}://{masked}{host}{port}{self.path}"

    @property
    def has_usual_port(self) -> bool:
        """Whether it has the port that goes without saying, and that ``str()`` does not show."""
        return self.port == _USUAL_PORTS[self.secure]

    def __repr__(self) -> str:
        return f"<Address {self}>"


def _wrong(why: str) -> ConfigurationError:
    """Build the error for a URL, which is not shown: it may have credentials anywhere."""
    return ConfigurationError(
        f"a server must be a URL such as http://127.0.0.1:9464, and the one that was given {why}"
    )


def token_headers(token: str | None, header: str | None) -> dict[str, str]:
    """Return the header that carries a token; errors do not show it."""
    if header is not None and not (isinstance(header, str) and _HEADER.fullmatch(header)):
        raise ConfigurationError("the name of the header for the token is none that HTTP allows")
    if token is None:
        return {}
    if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
        raise ConfigurationError("a token must be text of visible ASCII characters without blanks")
    return {header: token} if header else {"Authorization": f"Bearer {token}"}
