"""The verb `backbones`."""


def backbones() -> None:
    """Placeholder until the room lands."""
