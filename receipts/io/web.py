"""Asking servers of the web by the standard library's client."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import BaseHandler, OpenerDirector, ProxyHandler, build_opener


def web_opener(url: str, *handlers: BaseHandler) -> OpenerDirector:
    """Return what opens an address; proxies are those of the environment.

    A server on this machine is asked without one: a proxy reaches another machine's.

    Args:
        url: The address.
        handlers: Further handlers.
    """
    return build_opener(*([ProxyHandler({})] if _is_here(url) else []), *handlers)


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, or no address at all
        return False
