"""The study file: what is compared on which data, how, and where the results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..base import BackboneError
from ..base.pydantic_messages import Place, dotted
from ..evaluate.resampling.protocols import MOST_FOLDS
from ..extract import read_normalization

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
"""Letters, digits, dots, dashes and underscores: part of the names of files."""
Seeds = Annotated[int, Field(ge=1, le=100_000)]
Text = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(pattern=r"^[^\r\n]+$")]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A part of the file; unknown keys are refused, and the docstring of each field is shown by editors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_bool(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses `true` as a number, which pydantic would read as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"must not be {str(value).lower()}")
        return value

    @field_validator("*")
    @classmethod
    def _holds_each_value_once(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses a list in which a text or a number is twice; lines of shell and of notes may be."""
        if isinstance(value, list) and info.field_name not in ("before", "extra", "notes"):
            times = Counter(str(one) for one in value if not isinstance(one, BaseModel))
            if twice := [text for text, count in times.items() if count > 1]:
                raise ValueError(f"must not hold {twice[0]} twice")
        return value


class TextOrFields(Section):
    """A section that may be written as one text: its first field."""

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return {next(iter(cls.model_fields)): value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(schema)]}


class Images(Section):
    """What a network sees of an image: the options of `medprobe extract` of the same names."""

    image_size: PositiveInt | None = None
    """Input size in pixels; by default the network's own."""
    resize: PositiveInt | None = None
    """Pixels of the shorter side before the crop; with squash, of both sides."""
    resize_mode: Literal["short-side", "squash"] | None = None
    """Keep the aspect, or make every image square; by default the network's own."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    """Filter of the resizing; by default the network's own."""
    grey: Literal["replicate", "red-filters"] = "replicate"
    """Grey images in a network of three channels: the same in all three, or seen by its red filters alone."""
    normalization: Text = "model"
    """Mean and standard deviation: `model`, `dataset`, or numbers such as `0.29/0.27`."""

    @field_validator("normalization")
    @classmethod
    def _is_normalization(cls, value: str) -> str:
        try:
            read_normalization(value)
        except BackboneError as error:
            raise ValueError(str(error)) from error
        return value


class DataSet(TextOrFields):
    """A manifest, or how one is built."""

    manifest: Text | None = None
    """A manifest (.parquet or .csv), relative to the study file."""
    build: Text | None = None
    """Instead of a manifest: a builder of `medprobe manifest build`, such as `folder` or `isic2019`, or the TOML file
    of a data set (docs/tables.md), relative to the study file."""
    source: Text | None = None
    """What the builder reads, relative to `data_root`; by default `data_root` itself."""
    options: dict[str, Any] = {}
    """Options of the builder by their names on the command line, such as `split: grouped:80/20`."""
    name: Name | None = None
    """What files of the study are called after; by default the manifest's file or the builder."""
    allow: list[Text] = []
    """Codes of errors of `medprobe manifest check` in spite of which the study goes on."""
    images: Images | None = None
    """For this data set, instead of `extract.images`."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> DataSet:
        if (self.manifest is None) == (self.build is None):
            raise ValueError("give either manifest or build")
        if self.build is None and (self.source or self.options):
            raise ValueError("source and options belong to build")
        return self


class Embedder(TextOrFields):
    """A backbone with what differs from `extract.images`."""

    name: Text
    """Of the catalogue, or `timm:MODEL`, `hf:MODEL`, `open_clip:MODEL`; append `@FILE` or `@FILE#PREFIX` for a file."""
    poolings: list[Text] = []
    """As `cls`, `cls+mean`; by default the first one that the catalogue lists."""
    label: Name | None = None
    """What files of the study are called after; by default the name."""
    images: Images | None = None
    """For this backbone, instead of those of the data set and of `extract`."""


class Extract(Section):
    """Embedding: the options of `medprobe extract`."""

    backbones: list[Embedder] = Field(min_length=1)
    """Frozen networks that embed every data set."""
    images: Images = Images()
    """For all backbones that say nothing else."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the network; auto is bf16 where the device is fast at it. Name one if jobs run on unlike machines."""
    runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the network. Name one if jobs run on unlike machines."""


class Probing(Section):
    """Probes on the embeddings: the options of `medprobe probe`."""

    probes: list[Text] = ["logreg", "knn", "gbm"]
    """With settings as on the command line, such as `gbm:rounds=100` or `logreg:C=[0.01,1,100]`."""
    protocols: list[Literal["auto", "official", "fixed", "holdout", "kfold"]] = Field(default=["auto"], min_length=1)
    """How resamples are drawn; each is a run of its own."""
    seeds: Seeds = 20
    """Number of resamples."""
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] | None = None
    """Of kfold."""
    shots: list[PositiveInt] = []
    """Training units per class of a low-data curve."""
    train_fraction: list[Share] = []
    """Fractions of train of a low-data curve."""
    metric: Text | None = None
    """Chooses settings and ranks backbones; by default each card's primary metric."""
    aggregation: Literal["mean", "max", "concat", "predictions"] = "mean"
    """How the images of a unit are combined."""
    refit: bool = True
    """Fit the chosen model again on train and val; never in a low-data curve."""
    keep_leaks: bool = False
    """Train on units whose patient or pixels are in the test too."""


class FineTuning(Section):
    """Networks that are trained: the options of `medprobe finetune`."""

    backbones: list[Embedder] = []
    """By default those of `extract`."""
    modes: list[Text] = Field(default=["full"], min_length=1)
    """Such as `linear`, `partial:2`, `lora:8`, `full`."""
    data: list[Name] = []
    """Names of the data sets that are fine-tuned on; by default all."""
    recipe: Text = "default"
    """Named settings; `medprobe finetune --recipes` lists them."""
    settings: dict[str, Any] = {}
    """Settings of the recipe to change, such as `epochs: 30`."""
    search: Text | None = None
    """A grid that is searched on val, such as `lr=1e-4,1e-3 layer_decay=0.75,1`."""
    augment: bool = False
    """Random crops, flips, brightness and contrast."""
    seeds: Seeds = 3
    """Number of resamples: the first ones of the probes', which the frozen systems it is compared with have too."""
    shots: list[PositiveInt] = []
    """Training units per class of a low-data curve."""
    train_fraction: list[Share] = []
    """Fractions of train of a low-data curve."""
    keep_weights: bool = False
    """Keep the trained networks."""


class Statistics(Section):
    """The options of `medprobe stats`."""

    between: Literal["backbones", "probes", "systems"] = "backbones"
    """What is compared."""
    interval: Literal["wilson", "percentile"] = "wilson"
    """Kind of intervals."""
    tests: list[Literal["wilcoxon", "delong", "mcnemar", "verdict"]] = Field(
        default=["wilcoxon", "delong", "mcnemar"], min_length=1
    )
    """Further significance tests; `verdict` for none of them."""
    correction: Literal["holm", "bh"] = "holm"
    """Correction for many comparisons."""
    subgroups: bool = False
    """Scores per subgroup of each attribute of the cards."""
    calibration: bool = False
    """Calibration and temperature scaling."""


class Retrieval(Section):
    """Search for similar images: the options of `medprobe retrieve`."""

    k: list[PositiveInt] = Field(default=[1, 3, 5], min_length=1)
    """Numbers of images that are looked at."""
    similarity: Literal["cosine", "euclidean"] = "cosine"
    """What is nearest."""
    same_group: bool = False
    """Whether images of the same patient count as found."""


class Resources(Section):
    """What a job of one kind may take, where estimates are not to be used."""

    cores: PositiveInt | None = None
    """Processor cores."""
    memory_gb: PositiveFloat | None = None
    """Main memory."""
    minutes: PositiveInt | None = None
    """Walltime of the first try; it is doubled on each further one."""
    gpus: Annotated[int, Field(ge=0, le=1)] | None = None
    """1: a GPU is requested as `cluster.gpu` has it; 0: none."""


class Cluster(Section):
    """Where jobs run, if not on this machine."""

    partition: Line | None = None
    """Slurm partition."""
    gpu_partition: Line | None = None
    """Slurm partition of jobs that use a GPU."""
    account: Line | None = None
    """Slurm account."""
    gpu: Line = "gpu:1"
    """How a GPU is requested, as `--gres` of sbatch; `gpu:4` gives a job four, of which each embeds a part."""
    before: list[Line] = []
    """Shell lines before each command, such as `module load cuda` or `source .venv/bin/activate`."""
    extra: list[Line] = []
    """Further options of sbatch, such as `--qos=long`."""


class StudyFile(Section):
    """What is compared on which data, how, and where the results go.

    Examples:
        >>> from medprobe.study import StudyFile
        >>> StudyFile.model_validate({"data": ["brain.parquet"], "extract": {"backbones": ["dinov2-s"]}}).probe.seeds
        20
    """

    _origins: dict[Place, str] = PrivateAttr(default_factory=dict)
    _file: str = PrivateAttr("study")

    name: Name | None = None
    """By default that of the file."""
    source: Text | None = None
    """What it repeats: a paper, a link."""
    protocol: Text | None = None
    """The variant that is used; by default the first one."""
    variants: dict[Name, dict[Text, Any]] = {}
    """What differs, by name: values by path, as in `--set`. Read when the file is loaded."""
    notes: list[Text] = []
    """What a reader should know of it, and of what it does not repeat; `--plan` shows them."""
    out: Text | None = None
    """Folder of the results, relative to the study file; by default `studies/NAME`."""
    store: Text | None = None
    """Folder of the caches, which studies may share; by default `embeddings` in `out`."""
    data_root: Text | None = None
    """Folder that `source` of data sets is relative to; by default that of the study file."""
    data: list[DataSet] = Field(min_length=1)
    """Manifests, or how they are built."""
    extract: Extract
    """Backbones, and what they see."""
    probe: Probing | None = Probing()
    """Probes on the embeddings; null leaves them out."""
    finetune: list[FineTuning] = []
    """Networks that are trained, compared with the probes on the same resamples."""
    retrieve: Retrieval | None = None
    """Search for similar images."""
    stats: Statistics = Statistics()
    """Statistics of every run."""
    resources: dict[Literal["build", "check", "extract", "probe", "finetune", "retrieve"], Resources] = {}
    """What jobs of a kind may take; by default it is estimated."""
    minutes_per_job: PositiveInt = 15
    """What blocks of seeds and shards of images are cut to, by estimate."""
    cluster: Cluster = Cluster()
    """Where jobs run, if not on this machine."""

    def remember(self, file: str, origins: Mapping[Place, str]) -> None:
        """Keeps, for messages, where values are written: `line 12`, or `--set probe.seeds=200`."""
        self._file = file
        self._origins.update(origins)

    @property
    def file(self) -> str:
        """What it was read from."""
        return self._file

    def origin(self, *place: str | int) -> str:
        """`line 12: data[0].allow`, for messages; without the line where the study is not from a file."""
        known = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in self._origins), None)
        return f"{self._origins[known]}: {dotted(place)}" if known else dotted(place)
