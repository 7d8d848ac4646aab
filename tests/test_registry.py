"""A folder is a registry."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import registry
from mien.errors import UserError


def test_a_shelf_names_its_public_modules_sorted():
    found = registry.names("mien.writers")
    assert found == sorted(found)
    assert {"csv", "folder", "jpg", "jsonl", "parquet", "png"} <= set(found)
    assert not [name for name in found if name.startswith("_")]


def test_naming_a_shelf_imports_nothing_on_it():
    code = (
        "import sys; from mien import registry; registry.names('mien.detection');"
        "print([m for m in sys.modules if m.startswith('mien.detection.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_taking_a_name_gives_its_module():
    assert registry.load_module("mien.detection", "whole").__name__ == "mien.detection.whole"


def test_a_wrong_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(UserError) as caught:
        registry.load_module("mien.writers", "jsonk")
    said = str(caught.value)
    assert said.startswith("Unknown writer 'jsonk'. Did you mean 'jsonl'?")
    for name in registry.names("mien.writers"):
        assert name in said


def test_a_name_like_no_other_gets_no_guess():
    assert "Did you mean" not in str(registry.unknown_name_error("sink", "qqqqq", ["csv"]))


@given(st.text())
def test_no_name_reaches_beyond_its_shelf(name):
    if name not in registry.names("mien.writers"):
        with pytest.raises(UserError):
            registry.load_module("mien.writers", name)


@pytest.mark.parametrize("place", ["mien.nowhere", "mien.registry"])
def test_what_is_no_folder_is_no_shelf(place):
    with pytest.raises(LookupError):
        registry.names(place)
