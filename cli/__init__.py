"""The command line: one thin Typer command per verb, each a few calls into the packages below.

In: the user's command line. Out: files, a table on the terminal, an exit status.
Nothing heavy is imported before a command runs, so that `medprobe --help` answers at once.
"""
