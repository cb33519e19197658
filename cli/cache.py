"""The verbs of `cache`."""

import typer

app = typer.Typer()


@app.command()
def placeholder() -> None:
    """Placeholder until the room lands."""
