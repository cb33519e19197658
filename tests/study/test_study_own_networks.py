"""A network of one's own in a study: found beside the study file, seen from the results, and counted by its content."""

from __future__ import annotations

import pytest
from medprobe.study.data_sets import AbsentError
from medprobe.study.schema import Embedder
from medprobe.study.systems import read_network


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("python:encoders:make", "encoders.py", "python:../encoders.py:make"),
        ("python:code/encoders.py:make", "code/encoders.py", "python:../code/encoders.py:make"),
        ("onnx:net.onnx", "net.onnx", "onnx:../net.onnx"),
        ("pt2:nets/net.pt2", "nets/net.pt2", "pt2:../nets/net.pt2"),
    ],
)
def test_a_network_beside_the_study_is_named_from_the_results_and_keyed_by_its_content(
    tmp_path, name, file, text
) -> None:
    path, out, one = tmp_path / file, tmp_path / "results", Embedder(name=name, poolings=["own_output"])
    path.parent.mkdir(exist_ok=True)
    path.write_text("1")
    first = read_network(one, tmp_path, out)
    assert first.named() == f"{text}[own_output]"
    path.write_text("22")
    assert read_network(one, tmp_path, out).key != first.key


def test_an_absent_file_is_reported_and_an_installed_module_is_not_looked_for(tmp_path) -> None:
    with pytest.raises(AbsentError):
        read_network(Embedder(name="onnx:absent.onnx"), tmp_path, tmp_path / "results")
    assert read_network(Embedder(name="python:lab.nets:make"), tmp_path, tmp_path).text == "python:lab.nets:make"
