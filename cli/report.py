"""The verb `report`."""


def report() -> None:
    """Placeholder until the room lands."""
