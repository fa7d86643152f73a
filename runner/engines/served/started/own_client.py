"""Asking the server that the tool started, and no other in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safety_receipts.runner.engines.served.client import Patience, ServedError, ServerClient
from safety_receipts.runner.engines.served.role import ServerRole


class OwnServerClient(ServerClient):
    """Asks the server that the tool started.

    After a request that failed, and before anything else is asked, it is made sure again that this
    server, and no other process, takes the requests.

    Args:
        url: Its address.
        confirm: Makes sure; raises :class:`ServedError` where it is another, or has ended.
        patience: How long it is waited for.
        role: Who asks it.

    Raises:
        UsageError: As of :class:`ServerClient`.
    """

    def __init__(
        self,
        url: str,
        confirm: Callable[[], None],
        patience: Patience | None = None,
        *,
        role: ServerRole = ServerRole.ENGINE,
    ) -> None:
        super().__init__(url, patience, role=role)
        self._confirm = confirm
        self._doubted = False

    def _once(self, *asked: Any) -> Any:
        if self._doubted:
            self._confirm()
            self._doubted = False
        try:
            return super()._once(*asked)
        except ServedError:
            self._doubted = True
            raise
