"""Token, CA and client certificate as they change: read again from their files, and given to the link.

    every ``LOOK_S`` ─> stat of each file ─ changed? ─> the same at the next look? ─> read, look at them ─┬─> in force
    a reload ─────────────────────────────────────────────────────────────────────> read, look at them ───┘
                                                         cannot be read, or do not fit ─> a line; the old go on
    another log level ─> told to the link, with what it has

A file that is written in place, or replaced after another one, is half there for a moment: what has changed is read
when it has stayed the same for a look. What was refused is tried again when a file changes, or at a reload. A path that
is a symbolic link counts as what it leads to, so that a swapped link is a change. What counts as read is what was there
before it was read, so that no change that comes meanwhile is overlooked.

What comes of a pipe can be read once: such a file is not looked at. Nothing here says what is in a file.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from arbd.errors import ConfigError
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions, link_options
from arbd.links.tls_files import read_tls
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.model.encoding import Encoder
from arbd.settings.files import token_of
from arbd.settings.table import Settings
from arbd.supervisor.in_force import InForce

LOOK_S: Final = 2.0
_FILES: Final = ("hub_auth_token_file", "hub_tls_ca", "hub_tls_cert", "hub_tls_key")
_HINT: Final = "what was in use goes on; it is tried again when one of the files changes"

_COPIES: Final = "systemd copies them at a start (LoadCredential=): new ones come with a restart, not with a reload"

Seen = tuple[Any, ...]


class _Material(NamedTuple):
    """What was given to the link: its token, and the TLS files by setting; ``settings`` and ``options``: ``None``
    before it was given any from here."""

    token: str
    files: dict[str, bytes | None]
    settings: Settings | None = None
    options: LinkOptions | None = None


class Rotation:
    """The files of secrets of one daemon; looked at as long as this is open. ``seen``: what tells that a file has
    changed."""

    def __init__(self, in_force: InForce, link: HubLink, seen: Callable[[str], Seen] | None = None) -> None:
        self._in_force = in_force
        self._link = link
        self._seen = seen or seen_of
        self._log = get_logger("arbd.rotation")
        self._loop = asyncio.get_running_loop()
        self._is_changing = False
        self._used = self._pending = self._look_at_files(in_force.settings)
        self._known = _Material("", {})
        self._timer: asyncio.TimerHandle | None = None
        self._copies_told = False
        self._renew_from(in_force.settings)  # the files may have changed since the link was made
        in_force.add(self._changed, reloaded=self._reloaded)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def adjust(self, settings: Settings) -> Settings:
        """The settings that a reload has found, with the token that is in its file by now. One that cannot be read is
        refused when they are in force."""
        try:
            return _with_token(settings)
        except ConfigError:
            return settings

    def _changed(self, settings: Settings) -> None:
        """Without a reload that is the log level alone: the files are not read for it."""
        known = self._known
        if not self._is_changing and known.settings is not None and known.options is not None:
            at_level = msgspec.structs.replace(known.settings, log_level=settings.log_level)
            self._known = known._replace(settings=at_level)
            self._link.renew(at_level, known.options)

    def _reloaded(self, settings: Settings) -> None:
        self._renew_from(settings)
        self._tell_of_copies(settings)

    def _renew_from(self, settings: Settings) -> None:
        """Give the link these settings, and what is in the files that they name."""
        self._plan(settings)
        seen = self._look_at_files(settings)
        try:
            settings = _with_token(settings)
            options = _options(settings)
        except ConfigError as error:  # they were right a moment ago, when the settings were read
            self._refuse(error)
            return
        self._use(seen, settings, options)

    # -- the looks -----------------------------------------------------------------------------------------------

    def _plan(self, settings: Settings) -> None:
        """Look again in a while, if there are files: an idle daemon without them stays idle."""
        self.close()
        if any(_paths(settings)):
            self._timer = self._loop.call_later(LOOK_S, self._on_time)

    def _on_time(self) -> None:
        self._plan(self._in_force.settings)  # whatever is raised below
        self.look()

    def look(self) -> None:
        """Read the files if one of them has changed, and then stayed the same since the last look."""
        seen = self._look_at_files(self._in_force.settings)
        settled, self._pending = seen == self._pending, seen
        if seen == self._used or not settled:
            return
        self._used = seen  # also if it is refused: once
        try:
            settings = _with_token(self._in_force.settings)
            options = _options(settings)
        except ConfigError as error:
            self._refuse(error)
            return
        changed = self._use(seen, settings, options)
        if changed:
            note(self._log, "info", "credentials_renewed", changed=changed)

    def _refuse(self, error: ConfigError) -> None:
        note(self._log, "error", "credentials_refused", problems=list(error.problems), hint=_HINT)

    def _use(self, seen: Seen, settings: Settings, options: LinkOptions) -> list[str]:
        """Put these in force; the names of what is another than before."""
        self._used = self._pending = seen
        tls = options.tls_options
        files = {"hub.tls_ca": tls.ca, "hub.tls_cert": tls.cert, "hub.tls_key": tls.key}
        now = _Material(settings.hub_auth_token, files, settings, options)
        before, self._known = self._known, now
        changed = [name for name, content in now.files.items() if content != before.files.get(name)]
        if now.token != before.token:
            changed.insert(0, "hub.auth_token")
        if settings != self._in_force.settings:
            self._is_changing = True
            try:
                self._in_force.change(settings)  # the log first: the new token is in no line
            finally:
                self._is_changing = False
        self._link.renew(settings, options)
        return changed

    def _look_at_files(self, settings: Settings) -> Seen:
        return tuple(None if path is None else (path, self._seen(path)) for path in _paths(settings))

    def _tell_of_copies(self, settings: Settings) -> None:
        """Say once, when somebody reloads, that systemd's copies are what they were at the start."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        copies = [path for path in _paths(settings) if path and directory and path.startswith(f"{directory}/")]
        if copies and not self._copies_told:
            self._copies_told = True
            self._log.info("credentials_are_copies", files=copies, hint=_COPIES)


def _paths(settings: Settings) -> list[str | None]:
    return [getattr(settings, name) for name in _FILES]


def seen_of(path: str) -> Seen:
    """What changes when a file does: which one it is, its size, and when it was written."""
    try:
        found = os.stat(path)
    except OSError as error:
        return ("gone", error.errno)
    if not stat.S_ISREG(found.st_mode):
        return ("no file",)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _with_token(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, hub_auth_token=token_of(settings))


def _options(settings: Settings) -> LinkOptions:
    return link_options(settings, Encoder.of(settings), read_tls(settings))
