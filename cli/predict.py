"""The command `predict`: probabilities for new images from a saved model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..base.text import counted
from .terminal.console import remark, say, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..manifests import Manifest
    from ..model import Model


def predict(
    model: Annotated[
        Path, typer.Argument(help="The folder that `medprobe fit` wrote, or a fine-tuned network, RUN/weights/NAME.")
    ],
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES|MANIFEST",
            help="A folder of images (DICOM and NIfTI too), one image, or a manifest, with labels or without.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The table of predictions (.csv or .parquet).")],
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            help="The model's backbone with the place of its weights, MODEL@FILE, where these are a local file.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (all GPUs, else the CPU), cpu, cuda:N, or a comma-separated list.")
    ] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch size; by default found automatically.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Number of decoding processes; by default all cores but one.")
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Slices of NIfTI volumes, as in `manifest build nifti`.")
    ] = "axial:middle:5",
    frames: Annotated[
        str, typer.Option(help="Frames of DICOM files and slices of series, as in `manifest build dicom`.")
    ] = "all",
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of caches; not for a fine-tuned network. [default: of a manifest `embeddings` next to it; of a"
            " folder OUT.partial until the end]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
) -> None:
    """Predicts every image (every unit of a manifest), and how unusual it is among the training images.

    A network that `medprobe finetune --keep-weights` has kept predicts too, without saying how unusual an image is.
    After an interruption the same command continues. An image that cannot be read has its reason in the table, and the
    exit status is then 1.

    Examples: `medprobe predict models/brain new_scans/ --out predictions.csv`;
    `medprobe predict models/brain hospital-b.parquet --out predictions.csv`
    """
    from ..base import ProbeError, QuarantineError, atomic_path
    from ..cache import default_store
    from ..manifests.schema.table_io import write_table
    from ..model import load_model, manifest_of, predict_manifest
    from ..model.images import require_table_place
    from ..model.predicting import predicted_units, trained_on_in_words, unusual_in_words

    require_table_place(out, images, overwrite=overwrite)
    loaded = load_model(model, backbone=backbone, device=device)
    if loaded.network and cache:
        raise ProbeError(f"{model}: is a fine-tuned network, whose logits are no embeddings; leave --cache out.")
    reading = loaded.facts.reading
    taken = {"slices": slices, "frames": frames, "reading": reading}
    manifest = manifest_of(images, **taken, notice=lambda text: remark(wrapped(f"note: {text}")))
    _compare_labels(loaded, manifest)
    work = out.with_name(f"{out.name}.partial")
    # Logits are no embeddings, which probes would find beside those of the manifest.
    store = cache or (work if loaded.network or manifest.path is None else default_store(manifest.path))
    try:
        table = predict_manifest(loaded, manifest, store, workers=workers, batch_size=batch_size, on_loaded=_introduce)
    except KeyboardInterrupt:
        remark("stopped; the same command continues from here")
        raise typer.Exit(130) from None
    with atomic_path(out) as temporary:
        write_table(table, temporary)
    if store == work:
        shutil.rmtree(work, ignore_errors=True)
    _show_counts(table, predicted_units(table), out)
    if loaded.neighbours is None:
        remark(wrapped("note: a fine-tuned network has no training embeddings, so there is no column unusual."))
    for warning in filter(None, (trained_on_in_words(table), unusual_in_words(table))):
        remark(wrapped(f"warning: {warning}"))
    faulty = table[table["problem"] != ""]
    if len(faulty):
        listed = "".join(f"\n  {row[0]}: {row[-1]}" for row in faulty.head(10).itertuples(index=False))
        rest = f"\n  and {len(faulty) - 10:,} more" if len(faulty) > 10 else ""
        none = int((~predicted_units(faulty)).sum())
        partly = f" {len(faulty) - none:,} only in part," if len(faulty) > none else ""
        raise QuarantineError(
            f"{none:,} of {len(table):,} could not be predicted,{partly} for images that cannot be read; all others"
            f" are.{listed}{rest}"
        )


def _introduce(several: Sequence[Any]) -> None:
    for one in several[:1]:
        remark(f"{one.spec.backbone}: {one.spec.runtime} {one.spec.precision}")


def _compare_labels(model: Model, manifest: Manifest) -> None:
    """A note where labels that the images have are not the classes that are predicted."""
    from ..base import one_of

    theirs, ours = set(manifest.card.classes), set(model.classes)
    if not theirs or theirs == ours:
        return
    sides = [("labels that it cannot predict", theirs - ours), ("classes that have no label", ours - theirs)]
    differing = " and ".join(f"{what} ({one_of(sorted(names))})" for what, names in sides if names)
    remark(
        wrapped(f"note: the model predicts {one_of(model.classes)}; the manifest has {differing}. Labels are not used.")
    )


def _show_counts(table: pd.DataFrame, is_predicted: pd.Series, out: Path) -> None:
    done = table[is_predicted]
    counts = done["predicted"].value_counts()
    classes = ", ".join(f"{name or 'none'} {count:,}" for name, count in counts.items())
    say(wrapped(f"{counted(len(done), 'prediction')}: {classes}." if len(done) else "No predictions."))
    say(f"Saved: {out}")
