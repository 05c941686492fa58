"""``import arbd`` offers what an author needs, and loads nothing that a worker must not have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import arbd

NAMES = {
    *("Provider", "ProviderResponse", "TaskInfo", "action", "NoRateLimitMonitor", "RateLimitMonitor", "TaskTimeout"),
    *("ActionNotFoundError", "ArbdError", "BindingError", "ConfigError", "DuplicateActionError", "InvalidAccountError"),
    *("InvalidPayloadError", "ProviderError", "RegistrationError", "ResourceError", "ResultError", "SchemaError"),
    *("on_worker_start", "on_worker_stop", "resource"),
}


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


def test_every_name_is_there_and_is_the_home_module_s_own() -> None:
    for name in NAMES:
        value = getattr(arbd, name)
        assert getattr(sys.modules[value.__module__], name) is value


def test_dir_lists_them() -> None:
    assert NAMES | {"__version__"} <= set(dir(arbd))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'arbd' has no attribute 'Provoder'"):
        arbd.Provoder  # noqa: B018 - the look-up is the test


def test_the_version_is_the_installed_distribution_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "arbd-98.7.6.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: arbd\nVersion: 98.7.6\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert arbd.__version__ == "98.7.6"


def test_the_package_alone_loads_no_other_module_of_it() -> None:
    assert {name for name in modules_after("import arbd") if name.startswith("arbd")} == {"arbd"}


@pytest.mark.parametrize(
    "statement", ["from arbd import *", "import arbd.author.provider", "import arbd.worker.execute"]
)
def test_what_a_worker_imports_has_no_grpc_and_no_command_line(statement: str) -> None:
    loaded = {name.partition(".")[0] for name in modules_after(statement)}
    assert loaded & {"grpc", "google", "click", "rich", "pydantic", "uvloop"} == set()
