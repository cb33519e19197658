"""The verb `demo`."""


def demo() -> None:
    """Placeholder until the room lands."""
