"""The authorities that gRPC trusts where ``hub.tls_ca`` names none: the system's, else those that come with grpcio.

Python's own ``ssl`` may have been built to look elsewhere; what counts is what the daemon's connection will go by.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_VARIABLE: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
#: Where gRPC looks, in its order.
_SYSTEM: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)


def trusted(system: Iterable[str] = _SYSTEM) -> bytes:
    """The certificates in PEM form; empty if there are none at all."""
    named = os.environ.get(_VARIABLE)
    for place in [*([named] if named else []), *system]:
        try:
            if content := Path(place).read_bytes():
                return content
        except OSError:
            continue  # other distributions have others
    try:
        return pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b""
    except OSError:
        return b""
