"""A provider whose limit over Redis holds tasks back; and, with a thread at import, one whose workers are exec'd."""

from __future__ import annotations

import os
import threading
import time

from arbd import Provider
from arbd.rate_limit import RedisRateLimitMonitor

limit = RedisRateLimitMonitor(os.environ["TEST_REDIS_URL"], "tests:held", 5, 0.5, on_limit="hold")
provider = Provider(name="redis-held", execution_timeout=5, rate_limit_monitor=limit)

if os.environ.get("TEST_THREAD"):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


@provider.actions.register(name="quick")
def quick() -> dict[str, object]:
    return {"at": time.monotonic(), "url": limit.spec.redis.url if limit.spec.redis else None}
