"""A provider whose author configures logging, in the way and at the moment that the environment names."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
import threading
from pathlib import Path
from typing import Any

from arbd import Provider

HOW = os.environ.get("AUTHOR_HOW", "")
WHEN = os.environ.get("AUTHOR_WHEN", "import")
_HANDLERS = {"h": {"class": "logging.StreamHandler", "formatter": "f", "stream": "ext://sys.stderr"}}
_FORMATTERS = {"f": {"format": "mine %(levelname)s %(name)s %(message)s"}}
_FILE = """
[loggers]
keys=root
[handlers]
keys=h
[formatters]
keys=f
[logger_root]
level=DEBUG
handlers=h
[handler_h]
class=StreamHandler
formatter=f
args=(sys.stdout,)
[formatter_f]
format=mine %(levelname)s %(name)s %(message)s
"""
if os.environ.get("AUTHOR_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"message": record.getMessage(), "level": record.levelname, "queue": "q"})


def _dict_config(**more: Any) -> None:
    logging.config.dictConfig({"version": 1, "formatters": _FORMATTERS, "handlers": _HANDLERS, **more})


def configure() -> None:
    if HOW in ("basic", "force"):
        form = "mine %(levelname)s %(name)s %(message)s"
        logging.basicConfig(level=logging.DEBUG, format=form, force=HOW == "force")
    elif HOW == "dict":
        _dict_config(root={"level": "DEBUG", "handlers": ["h"]}, disable_existing_loggers=True)
    elif HOW == "dict keep":
        _dict_config(root={"level": "DEBUG", "handlers": ["h"]}, disable_existing_loggers=False)
    elif HOW == "dict named":
        _dict_config(loggers={"app": {"level": "DEBUG", "handlers": ["h"]}}, disable_existing_loggers=False)
    elif HOW == "file":
        path = Path("logging.ini")
        path.write_text(_FILE)
        logging.config.fileConfig(path)
    elif HOW == "handler":
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_FORMATTERS["f"]["format"]))
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.DEBUG)
    elif HOW == "json":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=True)
    elif HOW == "level":
        logging.getLogger().setLevel(logging.ERROR)
    elif HOW == "sentry":
        _start_sentry()


def _start_sentry() -> None:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    def capture_envelope(self: Any, envelope: Any) -> None:
        for item in envelope.items:
            event = item.payload.json
            if event is not None and item.headers["type"] == "event":
                with Path("sentry.jsonl").open("a") as file:
                    file.write(json.dumps(event) + "\n")

    to_file = type("ToFile", (Transport,), {"capture_envelope": capture_envelope})
    sentry_sdk.init("http://key@127.0.0.1:9/1", transport=to_file)


if WHEN == "import":
    configure()

provider = Provider(name="author_logging", execution_timeout=30)


@provider.on_worker_start
def configure_at_start() -> None:
    if WHEN == "hook":
        configure()


@provider.actions.register(name="say", payload_schema={"text": str})
def say(text: str, logger: Any) -> None:
    if WHEN == "action":
        configure()  # it holds until the task's end
    logging.info("root %s", text)
    app = logging.getLogger("app")
    app.debug("debug %s", text)
    app.info("info %s", text)
    app.error("error %s", text)
    try:
        raise KeyError(text)
    except KeyError:
        app.exception("caught %s", text)
    logger.info("own", text=text)


@provider.actions.register(name="fail", payload_schema={"text": str})
def fail(text: str) -> None:
    raise ValueError(text)
