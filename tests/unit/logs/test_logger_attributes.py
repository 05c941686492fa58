"""The logger that handlers are given serves all of them: none can take a method from it."""

from __future__ import annotations

import pytest

from arbd import logs
from arbd.logger import Logger


@pytest.mark.parametrize("logger", [logs.get_logger("a"), Logger("b", level="DEBUG"), logs.get_logger("c").bind(x=1)])
@pytest.mark.parametrize("name", ["info", "setLevel", "anything"])
def test_no_attribute_can_be_set(logger: logs.Logger, name: str) -> None:
    with pytest.raises(AttributeError, match=f"'{name}' of arbd's logger cannot be set"):
        setattr(logger, name, None)
    logger.info("still a method")


def test_a_level_and_fields_can() -> None:
    logger = logs.get_logger("d")
    logger.setLevel("ERROR")
    assert not logger.isEnabledFor("INFO")
    assert logger.bind(x=1) is not logger
