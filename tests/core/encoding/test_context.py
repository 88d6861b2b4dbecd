"""The imaging context: known with its source or missing with the reason, and never a slipped unit."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemctx_core.context import ImagingContext, Known, Missing, Quantity, Source, known
from stemctx_core.errors import InputError


def context(**changes: Quantity | str | tuple[str, ...]) -> ImagingContext:
    """WSe2 with V in HAADF at 80 kV."""
    values: dict[str, object] = {
        "host": "WSe2",
        "dopants": ("V",),
        "high_tension_kv": Known(80, Source.INSTRUMENT, "EHT"),
        "convergence_semi_angle_mrad": Known(30, Source.INSTRUMENT),
        "inner_mrad": Known(70, Source.USER),
        "outer_mrad": Known(200, Source.USER),
    }
    return ImagingContext(**{**values, **changes})  # type: ignore[arg-type]


def test_a_good_context_is_itself() -> None:
    good = context()
    assert good.validated() is good
    assert good.missing() == {}
    assert good.value("high_tension_kv") == 80
    assert [c.species for c in good.candidates][:2] == ["W", "V_W"]


def test_missing_is_told_with_its_reason() -> None:
    partly = context(inner_mrad=Missing("no control of that name"))
    assert partly.validated().missing() == {"inner_mrad": "no control of that name"}
    with pytest.raises(InputError, match=r"Inner is not known: no control of that name\. Give it"):
        partly.value("inner_mrad")


def test_pixel_size_and_dose_may_be_missing() -> None:
    assert isinstance(context().pixel_size_angstrom, Missing)
    assert "pixel_size_angstrom" not in context().missing()


def test_known_needs_a_value() -> None:
    assert known(None, Source.FILE, reason="no tag") == Missing("no tag")
    assert known(80, Source.FILE, "tag 7") == Known(80.0, Source.FILE, "tag 7")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("high_tension_kv", 80_000.0),
        ("high_tension_kv", 0.08),
        ("convergence_semi_angle_mrad", 0.03),
        ("inner_mrad", 0.07),
        ("outer_mrad", 200_000.0),
        ("pixel_size_angstrom", 25.0),
        ("dose_e_per_angstrom2", -1.0),
        ("high_tension_kv", float("nan")),
        ("high_tension_kv", float("inf")),
    ],
)
def test_unit_slips(name: str, value: float) -> None:
    with pytest.raises(InputError, match=r"cannot be.*Check the unit"):
        context(**{name: Known(value, Source.USER)}).validated()


@given(st.floats(0.001, 0.06), st.sampled_from(["convergence_semi_angle_mrad", "inner_mrad"]))
def test_radians_never_pass_for_milliradians(radians: float, name: str) -> None:
    with pytest.raises(InputError):
        context(**{name: Known(radians, Source.USER)}).validated()


@pytest.mark.parametrize(("inner", "outer"), [(200, 70), (120, 120)])
def test_inner_angle_must_be_below_outer(inner: float, outer: float) -> None:
    swapped = context(inner_mrad=Known(inner, Source.USER), outer_mrad=Known(outer, Source.USER))
    with pytest.raises(InputError, match="Swap them"):
        swapped.validated()


def test_host_and_elements_are_checked() -> None:
    with pytest.raises(InputError, match="no host"):
        context(host="WX2").validated()
    with pytest.raises(InputError, match="no element"):
        context(dopants=("Qq",)).validated()


def test_sources_survive_a_file() -> None:
    before = context(inner_mrad=Missing("no tag"))
    after = msgspec.json.decode(msgspec.json.encode(before), type=ImagingContext)
    assert after == before
    assert isinstance(after.high_tension_kv, Known)
    assert after.high_tension_kv.source is Source.INSTRUMENT


def test_unknown_fields_are_refused() -> None:
    text = msgspec.json.encode(context()).replace(b'"host"', b'"hosts"')
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ImagingContext)
