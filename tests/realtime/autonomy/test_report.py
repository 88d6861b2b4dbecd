"""The report says what the record holds: counted once, in the right places, escaped, and with nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import msgspec
import numpy as np
import pytest

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from realtime.autonomy.record.reader import read_record
from realtime.autonomy.record.recorder import Recorder
from realtime.autonomy.report.data import ReportData, gather
from realtime.autonomy.report.page import write_report
from sim.generator import FrameGenerator
from sim.geometry import FrameGeometry
from sim.specimen import Specimen
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry.classes import L7, Role
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.errors import InputError
from stemctx_core.look.pieces import piece_png
from stemctx_core.look.report_page import Html, duration, power, table, text
from stemctx_core.results import FrameIdentity, FrameResult, Refusal, SiteTable
from stemctx_core.simulation.optics import Optics
from tests.realtime.exposures import DOSE, frame, request, verdict

SURVEY_NM, SURVEY_DOSE = 8.0, 1.0e5
CENTRES = [(y, x) for y in (0.0, 6.5) for x in (0.0, 6.5)]
ROTATION = 0.3
EVIL = "<script>alert('x')</script>"


def _judged(
    specimen: Specimen, asked: ScanRequest, dose: float, number: int
) -> tuple[ScannedFrame, FrameResult]:
    geometry = FrameGeometry(asked.shape, asked.pixel_nm, asked.centre_nm, asked.rotation_rad)
    counts = FrameGenerator(specimen).counts(geometry, Optics(80.0, 30.0, 70.0, 200.0, 0.45), dose, number, 0)

    def told(value: float) -> Known:
        return Known(value, Source.INSTRUMENT, "a control")

    context = ImagingContext(
        "WSe2",
        ("V",),
        told(80.0),
        told(30.0),
        told(70.0),
        told(200.0),
        told(10 * asked.pixel_nm),
        told(dose),
        "HAADF",
    )
    identity = FrameIdentity(f"scan-{number}", number, asked.shape[0], asked.shape)
    result = FrameAnalyzer.shipped().analyze(counts, context, identity)
    return ScannedFrame({"HAADF": counts}, {"HAADF": context}, identity, asked, 1, 2), result


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return Specimen("WSe2", "V", seed=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, specimen: Specimen) -> Path:
    """Four overlapping fields, one of them twice, a look at one site, a rest, an unfinished exposure."""
    path = tmp_path_factory.mktemp("report") / "session.h5"
    with Recorder.open(path, session={"policy": EVIL, "microscope": "simulated"}) as r:
        for number, centre in enumerate([*CENTRES, CENTRES[0]], 1):
            asked = ScanRequest(centre, SURVEY_NM, (320, 320), 1e-6, ROTATION)
            n = r.exposure_intended(f"field {number}", asked, SURVEY_DOSE, "survey")
            r.exposure_done(n, *_judged(specimen, asked, SURVEY_DOSE, number))
        evidence = {
            "site": "s1",
            "view": "field 1",
            "y_nm": 0.5,
            "x_nm": -0.25,
            "posterior": {"V_W": 0.6, "W": 0.4},
        }
        r.decision("confirm", evidence, "revisit")
        asked = ScanRequest((0.5, -0.25), 3.6, (144, 144), 1e-5)
        n = r.exposure_intended("look 1", asked, 3e5, "confirm")
        r.exposure_done(n, *_judged(specimen, asked, 3e5, 6))
        r.decision("confirm", {**evidence, "view": "look 1", "posterior": {"V_W": 0.99, "W": 0.01}}, "found")
        spot = ScanRequest((1.0, 1.0), 0.05, (1, 1), 2.0)
        n = r.exposure_intended("dwell 1", spot, 1e6, "dwell")
        nothing = ScannedFrame(
            {"HAADF": np.zeros((0, 0), np.float32)}, {"HAADF": frame().context}, FrameIdentity(), spot, 1, 2
        )
        refusal = Refusal("no_image", "The beam rested on a point.", "There is nothing to judge.")
        candidates = frame().context.candidates
        r.exposure_done(
            n,
            nothing,
            FrameResult(
                FrameIdentity(), frame().context, candidates, SiteTable.empty(len(candidates)), refusal=refusal
            ),
        )
        r.exposure_intended(
            "field 6", ScanRequest((13.0, 0.0), SURVEY_NM, (320, 320), 1e-6), SURVEY_DOSE, "survey"
        )
        r.decision(
            "survey",
            {"limit": "acquisitions", "message": "The limit acquisitions of 8 would be passed."},
            "end",
        )
        r.decision("dwell", {"key": EVIL}, "limit reached: seconds")
        r.note(f"remark {EVIL}")
    return path


@pytest.fixture(scope="module")
def data(path: Path) -> ReportData:
    with read_record(path) as read:
        return gather(read)


@pytest.fixture(scope="module")
def page(path: Path) -> str:
    output = path.with_name("report.html")
    write_report(path, output)
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "session.h5"]
    return output.read_text()


def test_each_place_is_counted_once_and_at_its_place(data: ReportData, specimen: Specimen) -> None:
    columns = specimen.columns_in(-10, -10, 18, 18)
    truth = columns.positions_nm[columns.is_defect]
    positions = np.array([(f.y_nm, f.x_nm) for f in data.flags])
    distance = np.linalg.norm(positions[:, None] - truth[None], axis=2)
    assert len(positions) > 60
    assert np.mean(distance.min(axis=1) < 0.06) > 0.97  # 0.06 nm: the site grid's error; half a bond is 0.09
    # No defect twice, although the fields overlap and one was scanned twice.
    assert len(np.unique(distance.argmin(axis=1))) == len(positions)
    # What was judged lies more than half a patch inside the fields.
    inner = SURVEY_NM - 2 * 0.4
    assert inner**2 * 4 * 0.8 < data.judged_nm2 < (6.5 + SURVEY_NM) ** 2
    true_species = columns.species[columns.is_defect][distance.argmin(axis=1)]
    assert np.mean([f.species == s for f, s in zip(data.flags, true_species, strict=True)]) > 0.95


def test_densities_are_those_of_the_specimen(data: ReportData, specimen: Specimen) -> None:
    assert set(data.densities) == {"V_W", "vac_W", "vac_Se", "vac_Se2", "O_Se"}
    columns = specimen.columns_in(-100, -100, 100, 100)
    per_cm2 = np.sum(columns.species == "V_W") / 200**2 * 1e14
    share, scale = data.densities["V_W"], data.sites_per_cm2
    assert share.per_cm2 == pytest.approx(share.value * scale)
    # The interval widened, since 19 of 20 parts of a specimen lie within it and this is one part.
    assert share.low * scale / 1.6 < per_cm2 < share.high * scale * 1.6
    assert share.of > 500
    assert share.count == sum(f.species == "V_W" for f in data.flags)
    area = data.judged_nm2 * 1e-14
    assert sum(s.per_cm2 for s in data.densities.values()) * area == pytest.approx(len(data.flags), rel=0.02)


def test_what_was_spent_and_reached(data: ReportData) -> None:
    assert [e.intended.key for e in data.survey] == [f"field {n}" for n in range(1, 6)]
    assert [e.intended.key for e in data.looks] == ["look 1"]
    assert [e.intended.key for e in data.rests] == ["dwell 1"]
    assert (data.unfinished, data.refused) == (1, 0)
    expected = 6 * SURVEY_DOSE * 80**2 + 3e5 * 36**2 + 1e6 * 0.5**2
    assert data.electrons == pytest.approx(expected)
    assert data.dose.largest >= 1e6
    assert data.limits == (
        ("acquisitions", "The limit acquisitions of 8 would be passed."),
        ("seconds", "The limit seconds would have been passed. Nothing was exposed."),
    )


def test_the_last_decision_on_a_site_stands(data: ReportData) -> None:
    (site,) = data.sites
    assert (site.name, site.action, site.species, site.decisions) == ("s1", "found", "V_W", 2)
    assert site.exposure is not None
    assert site.exposure.intended.key == "look 1"


class _Checked(HTMLParser):
    """Collects what a page is made of, and fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.words += " "
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    checked = _Checked(page)
    names = {name for name, _ in checked.tags}
    assert not names & {"script", "link", "iframe", "object", "a", "form"}
    sources = [attributes["src"] for name, attributes in checked.tags if name == "img"]
    assert len(sources) > 10
    for source in sources:
        assert source is not None
        assert source.startswith("data:image/png;base64,")
        assert base64.b64decode(source.partition(",")[2], validate=True).startswith(b"\x89PNG")
    assert not re.search(
        r"https?:|url\(|@import|file:|//", re.sub(r'src="[^"]*"', "", page).replace("<!DOCTYPE", "")
    )
    assert "default-src 'none'" in page


def test_the_page_tells_what_the_record_holds(page: str, data: ReportData) -> None:
    words = " ".join(_Checked(page).words.split())
    for expected in (
        "Autonomous acquisition on WSe2 with V", "Rules: survey, confirm, dwell", "microscope: simulated",
        "The limit acquisitions of 8 would be passed.", "1 exposure was begun and never finished",
        "Defects found in the survey", "chalcogen vacancy", "density (cm⁻²)", "e/Å²", "Sites decided one by one",
        f"of {len(data.flags)}, by species", "All 4 decisions with their evidence", "All 8 exposures", "begun, not finished",
        "posterior: {V_W 0.99, W 0.01}", "high tension", "instrument (a control)",
    ):  # fmt: skip
        assert expected in words, expected
    for species, share in data.densities.items():
        assert re.search(rf"{species} [a-z ]+ {share.count} {share.of} ", words), species


def test_nothing_in_a_record_becomes_markup(page: str) -> None:
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3


def test_a_record_of_nothing_has_a_report(tmp_path: Path) -> None:
    with Recorder.open(tmp_path / "r.h5", session={"dry_run": True}) as r:
        r.decision("survey", {}, "would expose")
    write_report(tmp_path / "r.h5", tmp_path / "r.html")
    words = _Checked((tmp_path / "r.html").read_text()).words
    assert "Autonomous acquisition" in words
    assert "dry run: nothing was exposed" in words


def test_refused_frames_and_a_killed_session_are_told(tmp_path: Path) -> None:
    record = tmp_path / "r.h5"
    r = Recorder.open(record, session={})
    r.exposure_done(r.exposure_intended("k7", request(7), DOSE, "survey"), frame(7), verdict(7))
    r._file.close()  # what is left when the process ends here
    write_report(record, tmp_path / "r.html")
    words = " ".join(_Checked((tmp_path / "r.html").read_text()).words.split())
    assert "1 of 1 frames could not be judged" in words
    assert "did not close its record" in words
    assert "not judged: no_lattice" in words


def test_a_record_that_cannot_be_read_leaves_no_report(tmp_path: Path) -> None:
    (tmp_path / "r.h5").write_text("no record")
    with pytest.raises(InputError):
        write_report(tmp_path / "r.h5", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_places_and_pixels_are_the_same_way_round_as_the_scan() -> None:
    asked = ScanRequest((3.0, -4.0), 12.0, (48, 96), 1e-6, 0.4)
    geometry = FrameGeometry(asked.shape, asked.pixel_nm, asked.centre_nm, asked.rotation_rad)
    rng = np.random.default_rng(0)
    px = rng.uniform(0, 48, (20, 2))
    nm = np.stack(asked.to_nm(px[:, 0], px[:, 1]), axis=1)
    assert np.allclose(nm, geometry.to_specimen_nm(px))
    assert np.allclose([asked.to_px(y, x) for y, x in nm], px)
    sides = np.linalg.norm(np.diff(asked.corners_nm, axis=0), axis=1)
    assert np.allclose(sides, [12.0, 6.0, 12.0])


def test_a_piece_is_cut_around_its_place() -> None:
    image = np.zeros((60, 80), np.float32)
    image[20, 70] = 1.0
    shown = matplotlib.image.imread(io.BytesIO(piece_png(image, (20, 70), 21)))[..., 0]
    assert shown.shape[0] == shown.shape[1]
    bright = np.argwhere(shown > 0.5)
    assert np.allclose(bright.mean(axis=0), (shown.shape[0] - 1) / 2, atol=1)
    for odd in (np.full((8, 8), np.nan), np.zeros((0, 0))):
        assert piece_png(odd, (4, 4), 4).startswith(b"\x89PNG")


def test_numbers_and_texts_as_they_are_written() -> None:
    assert power(1.234e9) == "1.2 × 10⁹"
    assert power(3e-7) == "3.0 × 10⁻⁷"
    assert (power(80.0, 3), power(0.0), power(math.nan)) == ("80", "0", "–")
    assert (power(2345), power(12_345)) == ("2\u202f345", "1.2 × 10⁴")
    assert (duration(4.25), duration(125), duration(7260)) == ("4.2 s", "2 min 05 s", "2 h 01 min")
    assert text("a<b") == "a&lt;b"
    assert text(Html("<b>")) == "<b>"
    assert '<td class="n" data-head="n">&lt;1</td>' in table(("n>",), [("<1",)])


def test_fields_of_another_material_are_left_out_of_the_counts(tmp_path: Path) -> None:
    with Recorder.open(tmp_path / "r.h5", session={}) as r:
        for number, dopants in ((1, ("V",)), (2, ("Mo", "V"))):
            told = verdict(number)
            context = msgspec.structs.replace(told.context, dopants=dopants)
            if number == 2:
                told = FrameResult(
                    told.frame, context, context.candidates, SiteTable.empty(len(context.candidates))
                )
            r.exposure_done(
                r.exposure_intended(f"k{number}", request(number), DOSE, "survey"), frame(number), told
            )
    with read_record(tmp_path / "r.h5") as read:
        data = gather(read)
    assert data.other_fields == 1
    assert {c.role for c in data.candidates} == set(L7)
    assert [c.species for c in data.candidates if c.role is Role.DOPANT] == ["V_W"]
