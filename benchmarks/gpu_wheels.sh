#!/bin/sh
# Collects the wheels that benchmarks/gpu.py needs beside an installed torch, torchvision, NumPy, SciPy, pandas,
# pyarrow, scikit-learn, Matplotlib and Pillow, for a machine with a GPU and no network; fails above 60 MB.
#
#   sh benchmarks/gpu_wheels.sh FOLDER [NAME ...]      here; PYTHON_VERSION=3.12 is that of the other machine
#
# NAME ... are the packages that it lacks, without which all that it may lack are taken. There, in a copy of the
# repository with FOLDER in it:
#
#   python3 -m pip install --no-index --no-deps --no-compile --target /tmp/site FOLDER/*.whl
#   PYTHONPATH=/tmp/site python3 benchmarks/gpu.py
set -eu
folder=${1:?name the folder for the wheels}
shift
if [ $# -eq 0 ]; then
    set -- timm open_clip_torch ftfy wcwidth transformers tokenizers huggingface_hub regex safetensors onnx \
        ml_dtypes protobuf h5py simplejpeg lightgbm joblib threadpoolctl narwhals pydantic \
        pydantic_core annotated_types typing_inspection typing_extensions pyyaml platformdirs typer rich pygments \
        markdown_it_py mdurl shellingham annotated_doc click httpx2 httpcore2 h11 anyio truststore idna certifi \
        filelock fsspec jinja2 markupsafe peft accelerate psutil tqdm packaging pytest pluggy iniconfig \
        hypothesis sortedcontainers
fi
mkdir -p "$folder"
platforms=""
for glibc in 39 35 34 31 28 27 24 17; do platforms="$platforms --platform manylinux_2_${glibc}_x86_64"; done
# shellcheck disable=SC2086
python3 -m pip download --quiet --no-deps --only-binary=:all: --implementation cp \
    --python-version "${PYTHON_VERSION:-3.12}" $platforms --platform manylinux2014_x86_64 --dest "$folder" "$@"
# From a copy, since a build leaves files beside its sources.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$(dirname "$0")/.." && git ls-files -z | tar --null -T - -cf -) | tar -xf - -C "$copy"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$copy"
size=$(du -sm "$folder" | cut -f1)
echo "$folder: $(ls "$folder" | wc -l) wheels, $size MB"
[ "$size" -le 60 ] || { echo "that is more than 60 MB: name only what the other machine lacks" >&2; exit 1; }
