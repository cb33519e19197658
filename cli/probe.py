"""The verb `probe`."""


def probe() -> None:
    """Placeholder until the room lands."""
