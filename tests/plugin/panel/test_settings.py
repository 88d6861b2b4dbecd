"""What the panel remembers, and its fields."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from nionswift_plugin.stemctx.context.context_reader import ControlNames
from nionswift_plugin.stemctx.window import fields
from nionswift_plugin.stemctx.window.panel_model import PanelModel
from nionswift_plugin.stemctx.window.settings import FILE_NAME, Remembered, SettingsFile
from stemctx_core.errors import InputError

SOME = Remembered(
    host="MoTe2",
    dopants=("Ti", "V"),
    channel_index=1,
    user={"inner_mrad": 60.0},
    controls=ControlNames(inner=("My_{channel}_in",)),
    scan_device_id="some_scan",
)


def test_settings_come_back(tmp_path: Path) -> None:
    SettingsFile(tmp_path).write(SOME)
    assert SettingsFile(tmp_path).read() == SOME


def test_without_a_folder_they_live_in_memory() -> None:
    file = SettingsFile(None)
    assert file.read() == Remembered()
    file.write(SOME)
    assert file.read() == SOME


@pytest.mark.parametrize("text", ["{", "[1]", '{"host": 7}', '{"dopants": "V"}', ""])
def test_a_damaged_file_gives_the_defaults_and_a_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with caplog.at_level(logging.WARNING):
        assert SettingsFile(tmp_path).read() == Remembered()
    assert FILE_NAME in caplog.text


def test_what_a_newer_version_wrote_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({"host": "MoS2", "of_the_future": 1}))
    assert SettingsFile(tmp_path).read().host == "MoS2"


def test_fields_show_what_is_remembered_and_read_it_back() -> None:
    model = PanelModel()
    fields.show(model, SOME)
    assert model.candidates.value == "Ti, V"
    assert fields.read(model, SOME) == SOME


@pytest.mark.parametrize("text", ["80 kV", "-3", "0", "nan", "inf", "1e999"])
def test_an_entry_that_is_no_positive_number_says_so(text: str) -> None:
    model = PanelModel()
    fields.show(model, SOME)
    model.entered["inner_mrad"].value = text
    with pytest.raises(InputError, match=r"Inner angle: .* Enter it in mrad"):
        fields.read(model, SOME)


def test_an_entry_with_a_decimal_comma_or_none() -> None:
    model = PanelModel()
    fields.show(model, SOME)
    model.entered["inner_mrad"].value = ""
    model.entered["outer_mrad"].value = " 120,5 "
    assert fields.read(model, SOME).user == {"outer_mrad": 120.5}
