"""The errors of stemctx, as one tree.

StemctxError                what went wrong, where, and what to do about it; exit code 2 on the command line
├── InputError              a file, option, element, host or number that cannot be used
├── LibraryError            the response library has nothing for these conditions, or is damaged
├── BundleError             a model bundle that is missing, damaged or not ours
├── LatticeError            no TMD lattice could be fitted to the frame (becomes a refusal)
├── CalibrationError        the host's columns do not fit the declared context (becomes a refusal)
└── TransportError          the wire
    ├── ProtocolError       a message that is not ours, too large, or of another version
    ├── ServerUnavailable   no server answers, or it stopped answering
    ├── PortInUse           the address is taken
    └── SecurityError       a bind or a key that would not be safe

A *refusal* (a frame that cannot be judged) is a result, `stemctx_core.results.Refusal`, never an exception
that reaches a caller.
"""

from __future__ import annotations


class StemctxError(Exception):
    """Base of all errors raised on purpose. The message says what, where and the fix."""


class InputError(StemctxError):
    """A file, option, element, host or number that cannot be used."""


class LibraryError(StemctxError):
    """The response library has nothing for these conditions, or is damaged."""


class BundleError(StemctxError):
    """A model bundle that is missing, damaged or not ours."""


class FrameError(StemctxError):
    """A frame that cannot be judged; `code` and `fix` go into the refusal.

    Parameters
    ----------
    code
        Short machine-readable name, such as ``no_lattice``.
    message
        What was found, in words.
    fix
        What the user can do.
    """

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(f"{message} {fix}")
        self.code = code
        self.reason = message
        self.fix = fix


class LatticeError(FrameError):
    """No TMD lattice could be fitted to the frame."""


class CalibrationError(FrameError):
    """The host's columns do not fit the declared context."""


class TransportError(StemctxError):
    """The wire."""


class ProtocolError(TransportError):
    """A message that is not ours, too large, malformed or of another version."""


class ServerUnavailable(TransportError):
    """No server answers at the address, or it stopped answering."""


class PortInUse(TransportError):
    """The address is taken by another process."""


class SecurityError(TransportError):
    """A bind or a key that would not be safe."""
