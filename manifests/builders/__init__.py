"""Builds manifests from what people have: class folders, tables of labels, npz files, DICOM, NIfTI.

In: a folder or file, never changed. Out: an unsaved `Manifest`; `Manifest.save` writes it and its card.
"""
