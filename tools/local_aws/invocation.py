"""What one invocation of a function came to, and the two calls that make and unmake a function."""

from __future__ import annotations

from typing import Protocol

import msgspec

UNHANDLED = "Unhandled"
"""Lambda's word for every error that a function did not answer by itself: raised, timed out, or exited."""


class Invocation(msgspec.Struct, frozen=True):
    """The answer of a function, or why there is none.

    payload: what it answered; for an error, the JSON that Lambda answers in its place.
    error_type: None when the function answered; `Sandbox.Timedout` and `Runtime.ExitError` are Lambda's
    own, any other is the name of what the function raised.
    cold: a process was started for it, whose start is not part of `seconds`.
    """

    request_id: str
    payload: bytes
    error_type: str | None = None
    error_message: str = ""
    cold: bool = False
    seconds: float = 0.0

    @property
    def function_error(self) -> str | None:
        """Return what Lambda's API calls FunctionError."""
        return None if self.error_type is None else UNHANDLED

    @classmethod
    def failed(cls, request_id: str, kind: str, message: str) -> Invocation:
        """Return the invocation for which Lambda itself words the error.

        >>> Invocation.failed("7", "Sandbox.Timedout", "Task timed out after 3.00 seconds").error_message
        'RequestId: 7 Error: Task timed out after 3.00 seconds'
        """
        message_text = f"RequestId: {request_id} Error: {message}"
        payload = msgspec.json.encode({"errorType": kind, "errorMessage": message_text})
        return cls(request_id, payload, kind, message_text)

    @classmethod
    def raised(cls, request_id: str, payload: bytes) -> Invocation:
        """Return the invocation that the function's own error ended, as the runtime posted it."""
        try:
            raised = msgspec.json.decode(payload, type=_Raised)
        except (msgspec.DecodeError, UnicodeError):
            raised = _Raised()
        return cls(request_id, payload, raised.errorType or UNHANDLED, raised.errorMessage)


class Function(Protocol):
    """What delivers to a function needs of it: one execution environment, one invocation at a time."""

    def invoke(self, event: bytes, timeout_s: float | None = None) -> Invocation:
        """Return what the function answered; never raises for what the function does."""

    def close(self) -> None:
        """End its process."""


class _Raised(msgspec.Struct, frozen=True):
    errorType: str = ""  # noqa: N815 - the runtime's names
    errorMessage: str = ""  # noqa: N815 - the runtime's names
