"""One exception type per kind of fault; the command line prints the message alone."""

from __future__ import annotations


class MedprobeError(Exception):
    """An error the user can fix. The message says what is wrong, where, and what to do."""


class ManifestError(MedprobeError):
    """A manifest, its card, or a table that one is built from cannot be used."""


class ImageError(MedprobeError):
    """One image cannot be read. The message holds the reason and no folder, so that it may be stored and shown."""


class BackboneError(MedprobeError):
    """A backbone, or a requested pooling or image size, does not exist."""


class WeightsError(MedprobeError):
    """Weights cannot be had, are not the pinned ones, or do not fit the architecture."""


class CacheError(MedprobeError):
    """A cache is damaged, was written under another spec, or does not match the manifest."""


class QuarantineError(MedprobeError):
    """Some images could not be embedded; everything else was published."""


class ProbeError(MedprobeError):
    """A probe cannot be run as requested: too few samples, an impossible protocol, unusable embeddings."""


class FinetuneError(MedprobeError):
    """A network cannot be fine-tuned as requested: an unknown mode or recipe, or a setting that does not fit."""


class TrainingError(FinetuneError):
    """The training of one network failed before a single epoch was good; a run records it and goes on with others."""


class ModelError(MedprobeError):
    """The folder of a fitted model is not one, is of another version, or was altered or damaged."""


class ReportError(MedprobeError):
    """A run folder cannot be reported on."""


class MergeError(MedprobeError):
    """Runs cannot become one: they are of different data, protocols or versions, or contradict each other."""


class StudyError(MedprobeError):
    """A study file cannot be read, names what does not exist, or cannot be run as it is."""


class OutputError(MedprobeError):
    """A result cannot be written: the disk is full, the folder is read-only, or something is in the way."""


class FolderGoneError(OutputError, FileNotFoundError):
    """The folder of a result went away while it was written. Code that shares folders may catch it and try again."""


class WorkerError(MedprobeError):
    """A process that a run had started ended before its work was done; what it had finished is kept."""


class MedprobeWarning(UserWarning):
    """Something is not as requested but the work continues; the command line shows it as a note."""
