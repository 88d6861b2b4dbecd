"""Context of a file: options before TOML files before the file's own metadata, each with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemctx_core.context import Known, Missing, Source
from stemctx_core.errors import InputError
from stemctx_core.reading.declared import Declared, DetectorAngles, context_of, detectors, together, told_of
from stemctx_core.reading.values import FileValues

OF_FILE = FileValues(
    high_tension_kv=Known(60.0, Source.FILE, "Voltage"),
    pixel_size_angstrom=Known(0.2, Source.FILE, "axis"),
    dwell_us=Known(4.0, Source.FILE, "dwell"),
    probe_current_pa=Known(50.0, Source.FILE, "current"),
)


def test_options_go_before_toml_files_and_those_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "stemctx.toml").write_text(
        'host = "WSe2"\ncandidates = ["Ti"]\nhigh_tension_kv = 80\ninner_mrad = 50\n'
    )
    (tmp_path / "a.toml").write_text("inner_mrad = 60\nconvergence_mrad = 30\n")
    told = told_of(tmp_path / "a.dm4", Declared(outer_mrad=200))
    context, notes = context_of(OF_FILE, told)
    assert (context.host, context.dopants) == ("WSe2", ("Ti",))
    assert context.outer_mrad == Known(200.0, Source.USER, "--outer-mrad")
    assert context.inner_mrad == Known(60.0, Source.USER, "a.toml")
    assert context.convergence_semi_angle_mrad == Known(30.0, Source.USER, "a.toml")
    assert context.high_tension_kv == Known(80.0, Source.USER, "stemctx.toml")
    assert context.pixel_size_angstrom == OF_FILE.pixel_size_angstrom
    assert any("80 by stemctx.toml, 60 by the file (Voltage)" in n for n in notes)
    assert any("60 by a.toml, 50 by stemctx.toml" in n for n in notes)
    assert len(notes) == 2
    other, _ = context_of(OF_FILE, told_of(tmp_path / "b.dm4"))
    assert other.inner_mrad == Known(50.0, Source.USER, "stemctx.toml")


def test_the_dose_follows_from_current_dwell_time_and_pixel() -> None:
    context, _ = context_of(OF_FILE, told_of(Path("a.dm4"), Declared(host="WSe2")))
    dose = context.dose_e_per_angstrom2
    assert isinstance(dose, Known)
    assert dose.value == pytest.approx(50e-12 * 4e-6 / 1.602176634e-19 / 0.04)
    assert isinstance(context.inner_mrad, Missing)
    assert "--inner-mrad was not given" in context.inner_mrad.reason


def test_a_detector_has_its_own_angles() -> None:
    declared = Declared(
        host="WSe2", inner_mrad=10.0, detectors={"ADF1": DetectorAngles(50, 120)}, together=True
    )
    told = told_of(Path("a.dm4"), declared)
    context, notes = context_of(OF_FILE, told, "ADF1")
    assert context.inner_mrad == Known(50.0, Source.USER, "--detector ADF1")
    assert not notes
    assert detectors(told) == ("ADF1",)
    assert together(told)


@pytest.mark.parametrize(
    "text", ["inner_angle = 3", "inner_mrad = 'wide'", "[[[", "host = 3", "\0", "[detectors]\nA = 3"]
)
def test_a_toml_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "stemctx.toml").write_text(text)
    with pytest.raises(InputError, match=r"stemctx\.toml cannot be used"):
        told_of(tmp_path / "a.dm4")


def test_without_a_host_nothing_is_judged() -> None:
    with pytest.raises(InputError, match="--host"):
        context_of(OF_FILE, told_of(Path("a.dm4")))
