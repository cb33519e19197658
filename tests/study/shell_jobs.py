"""Studies whose jobs are lines of shell: what Snakemake does with jobs does not depend on what they are."""

from __future__ import annotations

from typing import Any

from medprobe.study import Job, StudyFile
from medprobe.study.jobs import Needs

KEY = "0123456789"


def shell_job(
    name: str, text: str, inputs: tuple[str, ...] = (), *, folder: str = "parts", kind: Any = "probe", **needs: Any
) -> Job:
    """A job that makes the folder `FOLDER/NAME--KEY` if `text` succeeds."""
    output = f"{folder}/{name}--{KEY}"
    words = ("bash", "-c", f"{text} && mkdir -p {output} && date +%s%N > {output}/when")
    return Job(kind, name, words, inputs, (f"{output}/",), Needs(**needs))


def tiny_study(**settings: Any) -> StudyFile:
    """A study of that name; its own keys do not matter, as its jobs are given."""
    return StudyFile.model_validate(
        {"name": "tiny", "data": [{"manifest": "x.parquet"}], "extract": {"backbones": [{"name": "a"}]}, **settings}
    )


def out_of(job: Job) -> str:
    return job.outputs[0]
