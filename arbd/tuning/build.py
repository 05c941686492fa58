"""A build of arbd to be measured beside this one: another virtual environment, its Python, or a checkout.

a checkout            a directory with ``arbd/__main__.py``     this Python, and that code before any other
an environment        a directory with ``bin/python``           that Python, and what is installed for it
a Python              an executable file                        the same
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from arbd.errors import ArbdError
from arbd.tuning.paired import BuildFacts

_TIMEOUT_S: Final = 60.0
_PACKAGES: Final = ("grpcio", "msgspec", "protobuf", "uvloop")
_PROBE: Final = f"""
import json, platform, arbd
from importlib.metadata import PackageNotFoundError, version
packages = {{"arbd": getattr(arbd, "__version__", "unknown")}}
for name in {_PACKAGES!r}:
    try:
        packages[name] = version(name)
    except PackageNotFoundError:
        packages[name] = "not installed"
print(json.dumps({{"place": arbd.__file__, "facts": {{"python": platform.python_version(), "packages": packages}}}}))
"""


class BuildError(ArbdError):
    """What was named is no build of arbd that works."""


class Build(msgspec.Struct, frozen=True):
    """A build: its interpreter, and the directory whose code comes before what is installed, if any."""

    python: str
    code: str | None = None

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables for this build: no other code of arbd is found first."""
        entries = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and not _is_code(entry)]
        entries = entries if self.code is None else [self.code, *entries]
        kept = {name: value for name, value in environ.items() if name != "PYTHONPATH"}
        return kept | ({"PYTHONPATH": os.pathsep.join(entries)} if entries else {})


class _Probe(msgspec.Struct, frozen=True):
    place: str
    facts: BuildFacts


def this_build() -> Build:
    """The build that runs here."""
    import arbd

    return Build(sys.executable, str(Path(arbd.__file__).parent.parent))


def find(place: str) -> Build:
    """The build that ``place`` names. Raises ``BuildError``."""
    path = Path(place).absolute()
    if _is_code(path):
        return Build(sys.executable, str(path))
    python = path / "bin" / "python" if path.is_dir() else path
    if python.is_file() and os.access(python, os.X_OK):
        return Build(str(python))
    raise BuildError(
        f"{place} is no build of arbd: name a virtual environment (with bin/python), its python, or a checkout (with "
        f"arbd/__main__.py)"
    )


def probe(build: Build, environ: Mapping[str, str]) -> BuildFacts:
    """What it is made of. Raises ``BuildError`` if arbd cannot be imported there, or is not the one that is meant."""
    try:
        done = subprocess.run(
            [build.python, "-P", "-c", _PROBE],
            env=build.environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{build.python} does not run: {error}") from None
    if done.returncode != 0:
        raise BuildError(f"{build.python} cannot import arbd: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    try:
        found = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Probe)
    except (msgspec.MsgspecError, IndexError):
        raise BuildError(f"{build.python} does not answer as a Python does") from None
    if build.code is not None and not Path(found.place).is_relative_to(Path(build.code).resolve()):
        raise BuildError(f"{build.python} imports arbd from elsewhere than {build.code}")
    return found.facts


def _is_code(place: str | Path) -> bool:
    return (Path(place) / "arbd" / "__main__.py").is_file()
