"""The tree of errors that the docstring draws is the tree that the classes form."""

import inspect
import re

import pytest

from stemctx_core import errors


def _drawn() -> dict[str, int]:
    """Name to depth, read from the drawing."""
    lines = re.findall(r"^((?:│   |    )?(?:[├└]── )?)([A-Z]\w+) {2,}", errors.__doc__ or "", re.M)
    return {name: len(indent) // 4 for indent, name in lines}


def _defined() -> dict[str, type[BaseException]]:
    return {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__}


def test_every_error_is_drawn() -> None:
    # FrameError only gathers what becomes a refusal; it is never raised itself.
    assert set(_drawn()) == set(_defined()) - {"FrameError"}


def test_all_errors_stem_from_one() -> None:
    assert all(issubclass(c, errors.StemctxError) for c in _defined().values())


def test_depth_of_the_wire_errors() -> None:
    deep = {name for name, depth in _drawn().items() if depth == 2}
    assert deep == {n for n, c in _defined().items() if c.__base__ is errors.TransportError}


@pytest.mark.parametrize("kind", [errors.LatticeError, errors.CalibrationError])
def test_frame_error_carries_what_a_refusal_needs(kind: type[errors.FrameError]) -> None:
    error = kind("no_lattice", "No peaks.", "Check the focus.")
    assert (error.code, error.reason, error.fix) == ("no_lattice", "No peaks.", "Check the focus.")
    assert str(error) == "No peaks. Check the focus."
