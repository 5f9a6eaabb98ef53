"""Places as users type them: a folder of this machine, or a URI; and what of a URI may be shown.

Contract: what a URI carries besides the place (names, passwords, keys, tokens) appears in no message.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cleanplate.types import InputError

_SHOWN = ("endpoint_override", "region", "scheme", "allow_bucket_creation", "allow_delayed_open")
"""Parts of a URI's query that are no secret."""


def local_folder(place: str) -> Path | None:
    """The folder that a place means, absolute; None for a URI of another kind. Raises InputError for neither."""
    if place.startswith("file://"):
        return Path(unquote(urlsplit(place).path))
    if "://" in place:
        return None
    mistyped = re.match(r"([a-z][a-z0-9+.-]+):/", place)
    if mistyped:  # also what pathlib makes of a URI
        raise InputError(f"{mistyped[1]}:/ begins neither a folder nor a URI; expected {mistyped[1]}://...")
    return Path(place).absolute()


def shown(uri: str) -> str:
    """The URI without what may be secret."""
    scheme, _, rest = uri.partition("://")
    user = _user(uri)
    rest, _, query = rest.removeprefix(f"{user}@" if user else "").partition("?")
    parts = [(key, value if key in _SHOWN else "***") for key, value in parse_qsl(query, keep_blank_values=True)]
    return f"{scheme}://{rest}" + (f"?{urlencode(parts, safe='*:/')}" if parts else "")


def without_secrets(text: str, uri: str) -> str:
    """What a library says, with the secrets of this URI, as typed and as decoded, made ***."""
    user = _user(uri)
    tokens = [value for key, value in parse_qsl(uri.partition("?")[2]) if key not in _SHOWN]
    for whole in (uri, unquote(uri)):
        text = text.replace(whole, shown(uri))
    for secret in (user, *user.split(":")[1:], *tokens):
        for typed in (secret, unquote(secret)):
            text = text.replace(typed, "***") if typed else text
    return text


def _user(uri: str) -> str:
    """NAME:PASSWORD of scheme://NAME:PASSWORD@..., even with a slash in it that should have been %2F."""
    rest = uri.partition("://")[2].partition("?")[0]
    host = rest.partition("/")[0]
    if "@" in host:
        return host.rpartition("@")[0]
    return rest.rpartition("@")[0] if re.search(r":(?!\d*$)", host) else ""
