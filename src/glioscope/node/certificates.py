"""TLS in both directions, by the BCP 195 profile of DICOM PS3.15: version 1.2 or later, certificates on both sides."""

import socket
import ssl
from typing import Any

from glioscope.errors import ConfigError
from glioscope.node.settings import Tls


class _Unhurried(ssl.SSLContext):
    """Leaves the handshake to the connection's own thread: one caller who says nothing must not keep out the others."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Return the connection, its handshake still to be done when first read from."""
        return super().wrap_socket(sock, *arguments, **{**options, "do_handshake_on_connect": False})


def accepting(tls: Tls) -> ssl.SSLContext:
    """Return how the open port speaks: it shows its certificate, and wants one that the authority signed.

    Raises
    ------
    ConfigError
        A file is absent, none of its kind, or the key is of another certificate.
    """
    context = _Unhurried(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def calling(tls: Tls) -> ssl.SSLContext:
    """Return how archives are called: their certificate must be signed by the authority, and name their address.

    Raises
    ------
    ConfigError
        As `accepting`.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"node: certificate {tls.certificate}, key {tls.key} and authority {tls.authority} cannot be used "
            f"together ({error}); give three PEM files"
        ) from error
    return context
