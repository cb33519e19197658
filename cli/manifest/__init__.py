"""`medprobe manifest`: build, check, show.

In: options typed by a user. Out: manifests, diagnostics, pages.
"""
