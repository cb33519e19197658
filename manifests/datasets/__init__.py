"""Data sets whose labels are in tables or class folders, a TOML file each; a user's own file is read in the same way.

In: such a file, the folder of the data set, options. Out: an unsaved `Manifest`.
"""
