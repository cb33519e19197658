"""`python -m medprobe.cli` is `medprobe`, where the console script is not on the path."""

from .app import main

main()
