"""What the host refuses, as exceptions: the class says what to do, `code` is the interface's own word."""


class HostError(Exception):
    """A host call that failed. `code` is the case's name in the world, `interface` the one that was called."""

    def __init__(self, interface: str, code: str, message: str = "") -> None:
        super().__init__(f"{interface}: {code}{f' ({message})' if message else ''}")
        self.interface, self.code, self.message = interface, code, message


class Denied(HostError):
    """The capability is not granted, or this host, address or quota is not."""


class Missing(HostError):
    """There is nothing under this name."""


class Conflict(HostError):
    """The record is not at the revision that was named."""


class Invalid(HostError):
    """The arguments break a rule of the interface."""


class Unavailable(HostError):
    """Not now: a dependency is down, a rate is exceeded, a line was cut."""


_CLASSES = {
    Denied: ("denied", "not-allowed", "quota-exceeded"),
    Missing: ("missing", "not-found", "not-available", "route-not-found", "expired"),
    Conflict: ("conflict",),
    Invalid: (
        "invalid",
        "invalid-url",
        "invalid-input",
        "invalid-topic",
        "invalid-payload",
        "bad-request",
        "too-large",
        "validation-failed",
        "loop-limit",
    ),
    Unavailable: ("transport", "rate-limited", "unavailable", "internal"),
}
CLASS_OF_CODE = {code: kind for kind, codes in _CLASSES.items() for code in codes}
