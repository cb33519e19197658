"""The verb `extract`."""


def extract() -> None:
    """Placeholder until the room lands."""
