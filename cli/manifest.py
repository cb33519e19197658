"""The verbs of `manifest`."""

import typer

app = typer.Typer()


@app.command()
def placeholder() -> None:
    """Placeholder until the room lands."""
