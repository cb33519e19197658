"""The commands of `cache`: list, show, verify, import and export embedding caches."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..base.text import NONE, counted, size
from .probe.cache_options import Store, new_run, place_of
from .terminal.console import command, remark, say, show_table

app = typer.Typer(
    help="Lists, shows, verifies, imports and exports embedding caches.",
    epilog="Example: `medprobe cache ls brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_STORE = typer.Argument(help="Folder of caches; or a manifest, for its caches in `embeddings` next to it.")


@app.command(epilog="Example: `medprobe cache ls brain.parquet`")
def ls(store: Annotated[Path, _STORE] = Path("embeddings")) -> None:
    """Lists the caches of a folder or of a manifest, finished and unfinished."""
    from ..cache import EmbeddingSpec
    from ..cache.lookup import list_store

    caches, faults, drafts = list_store(*_place_of(store))
    for dataset in dict.fromkeys(cache.dataset for cache in caches):
        rows = [
            (
                cache.spec.backbone,
                cache.spec.fingerprint,
                max(transform.size) if (transform := getattr(cache.spec, "transform", None)) else NONE,
                f"{len(cache):,}",
                "\n".join(f"{pooling} {dim}" for pooling, dim in cache.dims.items()),
                cache.spec.precision if isinstance(cache.spec, EmbeddingSpec) else NONE,
                size(cache.info["bytes"]),
            )
            for cache in caches
            if cache.dataset == dataset
        ]
        columns = ("backbone", "fingerprint", "px", "rows", "vectors", "precision", "size")
        show_table(columns, rows, title=f"dataset {dataset}", right=("px", "rows", "size"), whole=columns[1:])
    if not caches and not drafts and not faults:
        say(f"No caches in {store} yet; `medprobe extract` writes them.")
    for draft in drafts:
        damaged = f", {draft.damaged} damaged" if draft.damaged else ""
        say(
            f"in progress: {draft.folder.parent.name}/{draft.folder.stem}: {draft.samples:,} samples in"
            f" {counted(draft.segments, 'segment')}{damaged}; run the same extraction again to continue"
        )
    for fault in faults:
        remark(f"error: {fault}")
    if faults:
        raise typer.Exit(1)


@app.command(epilog="Example: `medprobe cache show embeddings/brain/efficientnet-lite0--1f0c22a9be07.h5`")
def show(
    file: Annotated[Path, typer.Argument(help="A cache file (.h5), or a folder or a manifest with one cache.")],
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Shows what a cache was computed with, how fast, and which images are missing and why."""
    import json as json_text
    from dataclasses import asdict

    from ..cache import EmbeddingCache

    cache = EmbeddingCache.open(_only_cache(file))
    spec = asdict(cache.spec)
    if json:
        facts = {"dataset": cache.dataset, "fingerprint": cache.spec.fingerprint, "spec": spec, "dims": cache.dims}
        say(json_text.dumps({**facts, **cache.info, "quarantine": cache.quarantine}, indent=2))
        return
    transform, seen = spec.pop("transform", {}), cache.info["trained_on"]
    spec.pop("dims", None)
    blocks = {
        cache.path.name: {"dataset": cache.dataset, "rows": f"{len(cache):,}", "made (UTC)": cache.info["created"]}
        | ({"fine-tuned on": f"{seen['images']:,} images, {seen['rows']:,} of them in these rows"} if seen else {}),
        "vectors": {name: f"{dim} x {cache.info['dtypes'][name]}" for name, dim in cache.dims.items()},
        "spec": {"fingerprint": cache.spec.fingerprint, **{name: value for name, value in spec.items() if value}},
        "transform": transform,
        "imported from": cache.info["imported"],
        "versions": cache.info["versions"],
        "throughput of the process that published": {
            "device": cache.info["device"] or "not recorded",
            **cache.info["throughput"],
        },
        f"quarantined: {cache.info['quarantined']:,}": cache.quarantine,
    }
    left_out = ("imported from",) if transform else ("transform", "throughput of the process that published")
    for title, facts in blocks.items():
        if title in left_out:
            continue
        say(title)
        for name, value in facts.items():
            say(f"  {name:15} {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")


@app.command(epilog="Example: `medprobe cache verify embeddings`")
def verify(
    target: Annotated[Path, typer.Argument(help="One cache, a folder of caches, or a manifest.")] = Path("embeddings"),
) -> None:
    """Verifies one cache or all: every checksum, finite values, unique ids. Exit status 1 if there are problems."""
    from ..cache.lookup import files_in
    from ..cache.verify import verify_cache, verify_segment

    published, segments = ([target], []) if target.suffix == ".h5" else files_in(*_place_of(target))
    problems: list[str] = []
    for path in published:
        found = verify_cache(path)
        problems += found
        say(f"{'refused' if found else 'ok':8}{path.parent.name}/{path.name}")
    for path in segments:
        problems += verify_segment(path)
    if segments:
        say(f"also read {len(segments):,} segments of unfinished caches")
    for problem in problems:
        remark(f"error: {problem}")
    if problems:
        raise typer.Exit(1)


@app.command("import", epilog="Example: `medprobe cache import features.npz --manifest brain.parquet --name uni`")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="Embeddings computed elsewhere: .npz, .npy, .parquet, .csv, .h5, .hdf5 or .safetensors, or a folder as"
            " CLIP_benchmark, clip-retrieval, STAMP, TRIDENT or thingsvision write it."
        ),
    ],
    manifest: Annotated[Path, typer.Option(help="The data set that they are of (.parquet or .csv).")],
    name: Annotated[str, typer.Option(help="What to call them: the backbone is then imported:NAME.")],
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Table (.csv, .parquet) with a column sample_id or path, or text file with a line per row, that names"
            " the rows where FILE does not. For .npy: the table of the same name next to it.",
            show_default=False,
        ),
    ] = None,
    in_order: Annotated[
        bool,
        typer.Option("--in-order", help="Rows are in the order of the manifest's rows; for files that name no rows."),
    ] = False,
    pooling: Annotated[
        list[str] | None, typer.Option(help="Import only this matrix of several. May be repeated.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out samples without a row, instead of refusing the file.")
    ] = False,
    note: Annotated[str, typer.Option(help="Text that is kept with them, such as how they were made.")] = "",
    cache: Store = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace embeddings of that name.")] = False,
) -> None:
    """Imports embeddings that another program computed, so that probe, retrieve and report use them as any other.

    Rows are matched to the manifest by sample id or by path.
    """
    from ..cache import import_embeddings
    from ..manifests import Manifest

    data_set = Manifest.load(manifest)
    imported = import_embeddings(
        file,
        data_set,
        name,
        store=cache,
        rows=rows,
        in_order=in_order,
        poolings=pooling or (),
        skip_missing=skip_missing,
        note=note,
        overwrite=overwrite,
    )
    vectors = ", ".join(f"{one} {dim}-d {imported.info['dtypes'][one]}" for one, dim in imported.dims.items())
    how = imported.info["imported"]
    say(f"{imported.spec.backbone}: {len(imported):,} samples, {vectors}; {how['format']}, matched by {how['matched']}")
    if imported.quarantine:
        say(f"{counted(len(imported.quarantine), 'sample')} without a row left out (quarantined)")
    say(f"Wrote {imported.path}")
    place = place_of(imported.path.parent.parent, manifest)
    then = "probe" if data_set.card.task else "retrieve"
    say(f"Next:  {command(then, manifest, '--backbone', imported.spec.backbone, *place, '--out', new_run(manifest))}")


@app.command(epilog="Example: `medprobe cache export brain.parquet --backbone dinov2-s --out dinov2.npz --with labels`")
def export(
    manifest: Annotated[Path, typer.Argument(help="The data set (.parquet or .csv).")],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write; its suffix is the format: .npz, .npy, .parquet, .csv, .h5, .hdf5 or .safetensors. With"
            " --layout a folder."
        ),
    ],
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", "-b", help="Whose embeddings, as `medprobe cache ls` lists them; needed if several."
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Write a folder as another tool does: clip-benchmark, clip-retrieval, stamp, trident, thingsvision."
        ),
    ] = None,
    pooling: Annotated[
        list[str] | None, typer.Option(help="Only this pooling; needed where the format holds one. May be repeated.")
    ] = None,
    columns: Annotated[
        str, typer.Option("--with", help="What to add of the manifest, separated by commas: labels, split, groups.")
    ] = "",
    cache: Store = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Exports the embeddings of a data set for other programs; rows are named by sample id."""
    from ..base import CacheError, one_of
    from ..cache import default_store, export_embeddings, find_caches
    from ..manifests import Manifest

    loaded = Manifest.load(manifest)
    names = [backbone] if backbone else None
    found = find_caches(cache or default_store(manifest), loaded.name, names, manifest=loaded)
    if len(found) > 1:
        names = one_of(f"{one.spec.backbone}@{one.spec.fingerprint}" for one in found)
        raise CacheError(f"{loaded.name}: has several caches; name one with --backbone: {names}.")
    words: Any = [word.strip() for word in columns.split(",") if word.strip()]
    written = export_embeddings(
        found[0], out, layout=layout, poolings=pooling or (), manifest=loaded, columns=words, overwrite=overwrite
    )
    say(f"Wrote {written}")


def _only_cache(path: Path) -> Path:
    """The file itself, or the one that a folder, or the folder of a manifest, holds."""
    from ..base import CacheError, one_of
    from ..cache.lookup import files_in

    store, dataset = _place_of(path)
    if dataset is None and not store.is_dir():
        return path
    published, _ = files_in(store, dataset)
    if len(published) != 1:
        if not published:
            raise CacheError(f"{path}: holds no finished cache.")
        raise CacheError(
            f"{path}: holds {len(published):,} caches; name one of them: {one_of(map(str, published))}. `medprobe cache"
            f" ls {path}` lists them."
        )
    return published[0]


def _place_of(path: Path) -> tuple[Path, str | None]:
    """The store itself; or that of a manifest, and its data set."""
    if path.suffix.lower() not in {".parquet", ".csv", ".yaml"}:
        return path, None
    from ..cache import default_store
    from ..manifests import DatasetCard

    return default_store(path), DatasetCard.load(path.with_suffix(".yaml")).name
