"""Scripts that run in Nion Swift can be stopped from the panel."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from nionswift_plugin.stemctx.panel.live_tab import LiveHandler
from nionswift_plugin.stemctx.scripting.opening import open_session
from nionswift_plugin.stemctx.scripting.sessions import OPEN_SESSIONS
from realtime.autonomy.limits import Stopped
from realtime.autonomy.microscope import ScanRequest
from tests.plugin.swift import PATIENCE_S, loaded, swift

#: A frame of eight seconds, so that there is something to be stopped.
LONG = ScanRequest(centre_nm=(0.0, 0.0), field_of_view_nm=8.0, shape=(512, 512), dwell_s=30e-6)


def test_the_panel_stops_a_script_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    ended: list[BaseException | None] = []

    def script() -> None:
        try:
            with open_session("WSe2", ("V",)) as session:
                session.look(LONG)
        except Stopped as stopped:
            ended.append(stopped)
        else:
            ended.append(None)

    with swift(tmp_path) as s, loaded() as plug_in:
        handler = LiveHandler(plug_in.model, plug_in)
        assert plug_in.model.scripts.value == "none running"
        took: list[float] = []
        for _ in range(5):
            rows: list[int] = []
            listener = s.scan.data_channel_updated_event.listen(lambda *_, rows=rows: rows.append(1))
            thread = threading.Thread(target=script, name="script")
            thread.start()
            wait(s, lambda rows=rows: plug_in.model.can_stop_scripts.value and len(rows) > 1)
            listener.close()
            assert plug_in.model.scripts.value == "1 running"
            began = time.perf_counter()
            handler.stop_scripts_clicked(None)
            took.append(time.perf_counter() - began)
            assert s.scan.stem_controller.value_manager.is_blanked
            wait(s, lambda thread=thread: not thread.is_alive())
            thread.join()
            wait(s, lambda: not plug_in.model.can_stop_scripts.value)
    assert min(took) < 0.1, "a machine that has much else to do is slow now and then, and not five times"
    assert [type(end) for end in ended] == [Stopped] * 5
    assert len(OPEN_SESSIONS) == 0


def wait(s, condition, seconds: float = PATIENCE_S) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        s.window.periodic()
        time.sleep(0.01)
