"""The verb `doctor`."""


def doctor() -> None:
    """Placeholder until the room lands."""
