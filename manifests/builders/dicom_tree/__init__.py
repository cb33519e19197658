"""Builds manifests from trees of DICOM files.

In: a folder of DICOM files, never changed, and a table of labels. Out: an unsaved `Manifest`; a table of skipped files.
"""
