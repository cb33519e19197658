"""Published data sets, one file each.

In: the folder that the data set is published as. Out: an unsaved `Manifest`.
"""
