"""Both plug-ins in Nion Swift, headless, with Nion's own leak checks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from nion.swift.model import PlugInManager
from nion.utils import Registry

from nionswift_plugin.stemctx.panel.panel import PANEL_ID
from tests.plugin.swift import loaded, swift


def test_both_plug_ins_load_once_and_unload(tmp_path: Path) -> None:
    with swift(tmp_path) as s:
        with loaded() as plug_in:
            kinds = [type(e).__name__ for e in PlugInManager.extensions]
            assert sorted(kinds) == ["StemctxExtension", "StemctxSimulatorExtension"]
            assert s.scan.hardware_source_id == "stemctx_simulated_scan"
            assert plug_in.model.devices.value[0] == "Simulated scan"
            assert [c.removesuffix(" (off)") for c in plug_in.model.channels.value] == ["HAADF", "MAADF"]
        assert s.scan.hardware_source_id == "usim_scan_device"
        assert [m.device.scan_device_id for m in Registry.get_components_by_type("scan_module")] == [
            "usim_scan_device"
        ]


def test_panel_builds(tmp_path: Path) -> None:
    with swift(tmp_path) as s, loaded():
        from nion.swift import Panel

        panel = Panel.PanelManager().create_panel_content(
            s.window,
            PANEL_ID,
            "Defect flags",
            ["left", "right"],
            "right",
            Panel.PanelManager().get_panel_info(PANEL_ID)[3],
        )
        try:
            assert panel is not None
            s.window.periodic()
        finally:
            panel.close()


def cycle(directory: Path, times: int) -> None:
    with swift(directory) as s:
        before = set(threading.enumerate())
        for _ in range(times):
            with loaded() as plug_in:
                s.window.periodic()
                assert plug_in.scan is s.scan
            s.window.periodic()
        left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("stemctx")]
        assert not left


def test_five_loads_and_unloads_leave_nothing(tmp_path: Path) -> None:
    cycle(tmp_path, 5)


@pytest.mark.slow  # the same twenty times
def test_fault_54_twenty_loads_and_unloads_leave_nothing(tmp_path: Path) -> None:
    cycle(tmp_path, 20)
