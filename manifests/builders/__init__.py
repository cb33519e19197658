"""Builds manifests from what people have: class folders, tables of labels, npz files, DICOM, NIfTI.

In: a folder or file, left as it is. Out: an unsaved `Manifest`; `Manifest.save` puts it beside its card.
"""
