"""Registries of modules."""

import doctest
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien import registry
from mien.errors import UserError


def test_names_lists_public_modules_sorted():
    modules = registry.names("mien.writers")
    assert modules == sorted(modules)
    assert {"csv", "folder", "jpg", "jsonl", "parquet", "png"} <= set(modules)
    assert not [name for name in modules if name.startswith("_")]


def test_names_does_not_import_the_package_or_its_modules():
    code = (
        "import sys; from mien import registry; registry.names('mien.detection');"
        "print([m for m in sys.modules if m.startswith('mien.detection')])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_a_module_is_loaded_by_name():
    assert registry.load_module("mien.detection", "whole").__name__ == "mien.detection.whole"


def test_the_error_for_an_unknown_name_suggests_the_most_similar_and_lists_all():
    with pytest.raises(UserError) as error:
        registry.load_module("mien.writers", "jsonk")
    message = str(error.value)
    assert "'jsonk'" in message
    assert "'jsonl'" in message  # no other name than these two is quoted
    for name in registry.names("mien.writers"):
        assert name in message


def test_a_dissimilar_name_is_not_suggested():
    assert "Did you mean" not in str(registry.unknown_name_error("writer", "qqqqq", ["csv"]))


@given(st.text())
def test_only_modules_of_the_registry_can_be_loaded(name):
    if name not in registry.names("mien.writers"):
        with pytest.raises(UserError):
            registry.load_module("mien.writers", name)


@pytest.mark.parametrize("package", ["mien.nowhere", "mien.registry", "no.such"])
def test_names_requires_a_package(package):
    with pytest.raises(ModuleNotFoundError):
        registry.names(package)


def test_the_docstring_examples_are_true():
    assert doctest.testmod(registry).failed == 0
