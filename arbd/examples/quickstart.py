"""The smallest provider: a subclass that registers one action. Start here.

    arbd dev arbd.examples.quickstart                                        a hub and this provider, on your machine
    arbd submit greet --payload '{"name": "Ada", "times": 2}' --wait         from another terminal

or, with a hub of your own and PROVIDER_AUTH_TOKEN set: ``python -m arbd.examples.quickstart``.
"""

from __future__ import annotations

import os
from typing import Any

from arbd import Provider


class QuickstartProvider(Provider):
    """A provider with settings from the environment, whose constructor registers its actions."""

    def __init__(self) -> None:
        super().__init__(
            name=os.getenv("PROVIDER_NAME", "quickstart"),
            auth_token=os.getenv("PROVIDER_AUTH_TOKEN"),
            hub_url=os.getenv("HUB_GRPC_URL", "hub-grpc:50051"),
            execution_timeout=float(os.getenv("TASK_EXECUTION_TIMEOUT", "1")),
        )

        @self.actions.register(
            name="greet",
            description="Greet somebody, a number of times",
            payload_schema={"name": str, "times": int},
        )
        def greet(name: str, times: int) -> dict[str, Any]:
            return {"greetings": [f"Hello, {name}!"] * times}


if __name__ == "__main__":
    QuickstartProvider().start()
