"""What a try to connect looks like when one side speaks TLS and the other does not: neither can say so to the other.

What only TLS, or only a server without it, can have sent is told at any time. A silence, or a connection that is closed
at our first words, has other reasons too: nobody guesses about a server that has answered before.
"""

from __future__ import annotations

import ssl

import anyio

_NO_TLS = "it does not speak TLS on this port: use redis://, or the server's TLS port"
_TLS = "it speaks TLS on this port: use rediss://, or the server's port without TLS"

#: How OpenSSL calls an answer that is no TLS; the second since 3.2.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")

#: How hiredis calls a TLS alert, by its first byte, with which no reply begins.
_ALERT = r'got "\x15" as reply type'


def hint(error: BaseException, *, tls: bool, secured: bool, known: bool) -> str:
    """Give what may be added to the reason why a connection could not be made, or ``""``.

    Args:
        error: What happened once the socket was connected.
        tls: Whether we speak TLS.
        secured: Whether TLS's own handshake was over.
        known: Whether this server has answered before.
    """
    if tls and not secured and isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return f"; {_NO_TLS}"
    if not tls and _ALERT in str(error):
        return f"; {_TLS}"
    silent = isinstance(error, TimeoutError) and tls
    closed = isinstance(error, anyio.EndOfStream | anyio.BrokenResourceError | ConnectionError)
    if known or secured or not (silent or closed):
        return ""
    return f" (if {_NO_TLS if tls else _TLS})"
