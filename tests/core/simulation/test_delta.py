"""The delta library: corrections on top of columns, what it refuses, and how it is built."""

from pathlib import Path

import numpy as np
import pytest

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.dataset.cases import benchmark_cases
from stemctx_core.dataset.groups import make_group
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.evaluation.scenes import benchmark_scene
from stemctx_core.simulating.validation_commands import deltas as deltas_command
from stemctx_core.simulation.library import shipped_library
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.truth.delta import DeltaLibrary, key, shipped_deltas
from stemctx_core.simulation.truth.delta_build import build_deltas
from stemctx_core.simulation.truth.delta_cells import RADII_ANGSTROM, DeltaPlan, tilted_pairs
from stemctx_core.simulation.truth.delta_corrections import thermal_damping
from stemctx_core.simulation.truth.supercells import grid_for, perfect

WSE2 = materials.host("WSe2")
HAADF = Optics(80.0, 30.0, 70.0, 200.0, 0.4)


class OneDefect(DeltaPlan):
    """Titanium alone, so that it takes seconds."""

    def defects(self, host: materials.Host) -> tuple[tuple[Sublattice, str], ...]:
        return ((Sublattice.METAL, "Ti"),)


def test_the_shipped_corrections_cover_the_benchmark() -> None:
    deltas = shipped_deltas()
    assert deltas.high_tensions_kv == (60.0, 80.0, 200.0)
    assert list(deltas.keys) == list(materials.hosts())
    for host in materials.hosts().values():
        assert deltas.keys[host.name] == tuple(DeltaPlan().keys(host))
        responses = deltas.for_host(host)
        pair = f"{host.chalcogen}+{host.chalcogen}"
        for kv in deltas.high_tensions_kv:
            for inner, outer in ((50.0, 120.0), (70.0, 200.0)):
                optics = Optics(kv, 30.0, inner, outer, 0.4)
                plain = max(shipped_library().response(c, optics)[0] for c in (host.metal, pair))
                for column in (host.metal, pair, "V", host.chalcogen):
                    change = (
                        responses.response(column, optics) - shipped_library().response(column, optics)
                    ) / plain
                    assert np.abs(change).max() < 0.05
                    assert change[-1] == 0


def test_corrected_columns_stand_in_for_the_library() -> None:
    case = next(c for c in benchmark_cases() if c.host.name == "WSe2" and c.high_tension_kv == 80)
    library, responses = shipped_library(), shipped_deltas().for_host("WSe2")
    groups = []
    for truth_library in (library, responses):
        rng = np.random.default_rng(3)
        scene = benchmark_scene(case, 1e9, rng)
        groups.append(make_group(library, scene, 2, rng, truth_library=truth_library))
    one, other = groups
    np.testing.assert_array_equal(one.label, other.label)
    difference = np.abs(one.patches - other.patches)
    assert 0 < difference.max() < 0.05
    # The library itself is left as it was.
    again = shipped_deltas().library.response("W", HAADF)
    np.testing.assert_array_equal(again, library.response("W", HAADF))
    assert responses.sha256 == library.sha256


def test_a_dopant_that_was_not_computed_lies_between_its_neighbours() -> None:
    deltas = shipped_deltas()

    def correction(column: str) -> np.ndarray:
        return deltas.correction(WSE2, Sublattice.METAL, column, HAADF)

    iron, copper = correction("Fe"), correction("Cu")
    np.testing.assert_allclose(correction("Co"), iron + (copper - iron) / 3, atol=1e-9)
    np.testing.assert_allclose(correction("Ni"), iron + (copper - iron) * 2 / 3, atol=1e-9)
    # Tungsten in its own crystal has the correction of the perfect lattice alone, antisites have their own.
    assert np.abs(correction("W") - deltas.correction(WSE2, Sublattice.CHALCOGEN, "W", HAADF)).max() > 0


@pytest.mark.parametrize(
    ("optics", "says"),
    [
        (Optics(120.0, 30.0, 70.0, 200.0, 0.4), r"holds 60, 80, 200 kV, not 120 kV"),
        (Optics(80.0, 20.0, 70.0, 200.0, 0.4), r"convergence semi-angle of 30 mrad, not 20"),
    ],
)
def test_what_is_not_held_is_refused(optics: Optics, says: str) -> None:
    with pytest.raises(LibraryError, match=says):
        shipped_deltas().correction(WSE2, Sublattice.METAL, "W", optics)


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(LibraryError, match=r"holds MoS2.*not NbSe2"):
        shipped_deltas().for_host("NbSe2")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deltas.npz"
    path.write_bytes(b"PK")
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(LibraryError, match="sha256 differs"):
        DeltaLibrary(path, shipped_library())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"output": Path("deltas.zip")}, "ending in .npz"),
        ({"output": Path("deltas.npz"), "host": ["WSe3"]}, "no host 'WSe3'"),
        ({"output": Path("deltas.npz"), "high_tension_kv": [80_000.0]}, "Is it in volts"),
    ],
)
def test_bad_options_are_refused_before_the_work(options: dict[str, object], says: str) -> None:
    defaults: dict[str, object] = {"work_folder": None, "host": None, "high_tension_kv": None}
    with pytest.raises(InputError, match=says):
        deltas_command(**{**defaults, **options})  # type: ignore[arg-type]


@pytest.mark.abtem
def test_a_correction_is_what_is_shipped(tmp_path: Path) -> None:
    import abtem

    abtem.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"})
    plan = OneDefect(("WSe2",), (80.0,))
    output, work = tmp_path / "deltas.npz", tmp_path / "parts"
    seen: list[tuple[int, int]] = []
    build_deltas(plan, shipped_library(), output, work, lambda done, total, name: seen.append((done, total)))
    assert seen == [(0, 1), (1, 1)]
    built = DeltaLibrary(output, shipped_library())
    assert built.keys["WSe2"] == ("M:W", "X:Se+Se", "M:Ti")
    for sublattice, column in (
        (Sublattice.METAL, "W"),
        (Sublattice.CHALCOGEN, "Se+Se"),
        (Sublattice.METAL, "Ti"),
    ):
        mine, shipped = (d.correction(WSE2, sublattice, column, HAADF) for d in (built, shipped_deltas()))
        np.testing.assert_allclose(mine, shipped, atol=2e-5)
    # Nothing is computed twice, and a part that is damaged is named.
    (part,) = work.glob("*.npy")
    before = part.stat().st_mtime_ns
    build_deltas(plan, shipped_library(), output, work, lambda done, total, name: None)
    assert part.stat().st_mtime_ns == before
    assert np.load(part).shape[:2] == (3, 1 + 3 * (len(RADII_ANGSTROM) - 1))
    part.write_bytes(b"\x93NUMPY")
    with pytest.raises(LibraryError, match=r"lattice_WSe2.*cannot be read.*Delete it"):
        build_deltas(plan, shipped_library(), output, work, lambda done, total, name: None)


def test_keys_say_where_a_column_stands() -> None:
    assert key(Sublattice.METAL, "Se+Se") == "M:Se+Se"
    keys = DeltaPlan().keys(WSE2)
    assert {"M:vacant", "X:vacant", "M:Se+Se", "X:W", "X:O+Se", "X:S+Se", "X:Te+Te"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_unlike_pairs_tilt_both_ways_about_their_middle() -> None:
    grid, cell = grid_for(WSE2, 80.0, 200.0), perfect(WSE2)
    site = next(i for i, s in enumerate(cell.sites) if s.column == "Se+Se")
    cell = cell.with_columns({site: "O+Se"})
    one, other = ([a for a in tilted_pairs(cell, grid, turned) if a.site == site] for turned in (None, site))
    assert [a.element for a in one] == [a.element for a in other] == ["O", "Se"]
    assert [(a.x_px, a.y_px) for a in one] == [(a.x_px, a.y_px) for a in reversed(other)]
    assert one[0].x_px != one[1].x_px


def test_motion_damps_interference_at_large_angles() -> None:
    damping = thermal_damping(WSE2, 80.0, 33)
    assert np.all(np.diff(damping) < 0)
    # At 102.5 mrad and 0.0418 Å, 15.4 rad/Å; W and Se move by 0.055 and 0.07 Å per axis.
    assert damping[13] == pytest.approx(np.exp(-(15.4**2) * (0.055**2 + 0.07**2) / 2), rel=0.01)
