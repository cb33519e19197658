"""`medprobe probe`, `medprobe merge` and `medprobe stats`.

In: options typed by a user. Out: run folders and tables in the terminal.
"""
