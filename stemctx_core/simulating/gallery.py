"""Pictures of what is simulated: every class, every imperfection, and whole frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import HOST_ROLES, Candidate, Role
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, LabelledFrame, labelled_frame
from stemctx_core.dataset.regions import GrainBoundary, Hole, Line, SecondLayer
from stemctx_core.dataset.sites import honeycomb
from stemctx_core.look.pictures import ROLE_STYLE
from stemctx_core.simulating.panels import contrast, palette_png, panel_grid, scale_bar, show, wrapped
from stemctx_core.simulation.imaging import (
    Afterglow,
    AmorphousCarbon,
    AmplitudeNoise,
    Contamination,
    Drift,
    EffectiveSource,
    Flyback,
    Gain,
    Haze,
    ImagingChain,
    LineJitter,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Saturation,
    Spikes,
    Step,
    Warp,
)
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.relaxation import relaxation_angstrom
from stemctx_core.simulation.render import count_electrons, render_columns, response_tables
from stemctx_core.whole_files import write_whole

HOSTS: Final = ("WSe2", "MoS2")
DETECTORS_MRAD: Final = ((70.0, 200.0), (50.0, 120.0))
_KV: Final = 80.0
_DOSE: Final = 1e5
_PX: Final = 0.2
_VACANCIES: Final = {Role.CHALCOGEN_VACANCY: 0.15, Role.CHALCOGEN_DIVACANCY: 0.12}
_PATCH_PX: Final = 72


def write_gallery(
    library: ResponseLibrary, folder: Path, progress: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Draw all pictures into a folder; each appears whole or not at all.

    Parameters
    ----------
    progress
        Called with the name of each picture before it is drawn.

    Returns
    -------
    list of Path
        The files.
    """
    pictures = (
        ("classes.png", classes_picture),
        ("imperfections.png", imperfections_picture),
        ("frames.png", frames_picture),
    )
    written = []
    for name, draw in pictures:
        progress(name)
        path = folder / f"simulated_{name}"
        write_whole(path, palette_png(draw(library)))
        written.append(path)
    return written


# --- every class


def _class_candidates(host: str) -> list[Candidate]:
    """One candidate of each role: vanadium for the dopant, the next heavier chalcogen for the substitute."""
    other = {"S": "Se", "Se": "Te"}[materials.host(host).chalcogen]
    listed = classes.candidates(host, ("V",), (other,), antisites=True, complexes=True)
    by_role: dict[Role, Candidate] = {}
    for candidate in listed:
        by_role.setdefault(candidate.role, candidate)
    return [by_role[role] for role in Role]


def classes_picture(library: ResponseLibrary) -> Figure:
    """Every class, relaxed, for two hosts and two detectors; contrast is the same along a row."""
    roles = list(Role)
    figure, axes = panel_grid(2 * len(HOSTS), len(roles), 1.12, top=0.62, left=0.62)
    for row in range(2 * len(HOSTS)):
        host, detector = HOSTS[row // 2], DETECTORS_MRAD[row % 2]
        listed = _class_candidates(host)
        patches = [_class_patch(library, host, listed, c, detector) for c in listed]
        top = 1.25 * float(np.percentile(patches[0], 99.5))
        for k, (candidate, patch) in enumerate(zip(listed, patches, strict=True)):
            ax = axes[row][k]
            show(ax, patch, 0.0, top)
            middle = (patch.shape[0] - 1) / 2
            if candidate.role not in HOST_ROLES:
                colour = ROLE_STYLE[candidate.role][0]
                ax.plot(middle, middle, "o", ms=21, mfc="none", mec=colour, mew=1.0)
            ax.set_xlabel(candidate.species.replace("vac_", "vac "), fontsize=6.5, labelpad=1)
            if row == 0:
                name = "host metal" if candidate.role is Role.METAL else "host pair"
                ax.set_title(wrapped(ROLE_STYLE.get(candidate.role, ("", "", name))[2]), fontsize=7, pad=3)
        axes[row][0].set_ylabel(f"{host}\n{detector[0]:g}-{detector[1]:g} mrad", fontsize=7.5)
        scale_bar(axes[row][0], 5.0, "5 Å")
    figure.suptitle(
        f"Every class at {_KV:g} kV, 30 mrad, 10⁵ e/Å², neighbours relaxed; black is no electron, the contrast is the same along a row",
        fontsize=9,
    )
    return figure


def _class_patch(
    library: ResponseLibrary,
    host_name: str,
    listed: list[Candidate],
    candidate: Candidate,
    detector: tuple[float, float],
) -> NDArray[np.float32]:
    host, extent = materials.host(host_name), (_PATCH_PX * _PX,) * 2
    sites = honeycomb(host.a_angstrom, 0.0, (0.0, 0.0), extent)
    middle = (_PATCH_PX - 1) / 2 * _PX
    own = 0 if candidate.sublattice is classes.Sublattice.METAL else 1
    away = np.hypot(*(sites.positions_angstrom - middle).T) + np.where(sites.sublattice == own, 0, 1e3)
    centre = int(away.argmin())
    ideal = sites.positions_angstrom - sites.positions_angstrom[centre] + middle
    roles = [c.role for c in listed]
    hosts = (roles.index(Role.METAL), roles.index(Role.CHALCOGEN_PAIR))
    column = np.where(sites.sublattice == 0, *hosts).astype(np.int64)
    column[centre] = listed.index(candidate)
    if candidate.vacancy_beside:
        from_centre = np.hypot(*(ideal - middle).T)
        from_centre[centre] = np.inf
        column[from_centre.argmin()] = roles.index(Role.CHALCOGEN_VACANCY)
    moved = ideal + relaxation_angstrom(ideal, column, tuple(listed), host_name, np.random.default_rng(1))
    tables = response_tables(library, [c.column for c in listed], Optics(_KV, 30.0, *detector, 0.4))
    image = render_columns((_PATCH_PX, _PATCH_PX), _PX, moved / _PX, column, tables)
    return count_electrons(image, _DOSE, _PX, np.random.default_rng(len(candidate.species)))


# --- every imperfection


def imperfections_picture(library: ResponseLibrary) -> Figure:
    """One frame of each imperfection, strong enough to be seen, beside a frame without any."""
    crystal = CrystalRecipe(rotation_rad=0.15, offset_angstrom=(0.0, 0.0))
    base = FrameRecipe(
        Case(materials.host("WSe2"), ("V",), _KV, *DETECTORS_MRAD[0]),
        shape=(170, 170),
        pixel_size_angstrom=0.3,
        dose_e_per_angstrom2=3e4,
        crystal=crystal,
    )

    def seen(*steps: Step, **changes: Any) -> FrameRecipe:
        return msgspec.structs.replace(base, chain=ImagingChain(steps), **changes)

    def grown(**changes: Any) -> FrameRecipe:
        return msgspec.structs.replace(base, crystal=msgspec.structs.replace(crystal, **changes))

    recipes: list[tuple[str, FrameRecipe]] = [
        ("none: Poisson noise, 3·10⁴ e/Å²", base),
        ("dose: 10³ e/Å²", msgspec.structs.replace(base, dose_e_per_angstrom2=1e3)),
        ("drift: 6 Å down, 12 Å right", seen(Drift((6.0, 12.0)))),
        ("warp: 1.5 Å over 50 Å", seen(Warp(1.5, 50.0))),
        ("scan-line jitter: 0.3 Å", seen(LineJitter((0.05, 0.3), 0.3))),
        ("flyback: 6 Å, settling in 20 px", seen(Flyback(6.0, 20.0))),
        ("defocus: 4 nm", msgspec.structs.replace(base, defocus_nm=4.0)),
        ("source: elliptic, 0.6 Å", seen(EffectiveSource(0.6, 0.05, 0.8, 0.0, 0.0, 0.0))),
        ("source: coma, 1.2 Å", seen(EffectiveSource(0.0, 0.0, 0.0, 0.45, 1.2, 0.5))),
        ("haze: 0.6 of a W column", seen(Haze(0.6, 0.8, 0.8))),
        ("contamination", seen(Contamination(0.6, 25.0, 0.45))),
        ("amorphous carbon: 0.3 of a W column", seen(AmorphousCarbon(0.3, 0.4))),
        ("amplitude noise: 25 %", seen(AmplitudeNoise(0.2, 0.15))),
        ("afterglow: 40 % over 4 px", seen(Afterglow(0.4, 4.0))),
        ("correlated pixels: 0.4", seen(PixelCorrelation(0.4), dose_e_per_angstrom2=2e3)),
        ("bright pixels: 0.2 %", seen(Spikes(2e-3, 2.0))),
        ("read-out noise: 0.2 of a W column", seen(ReadoutNoise(0.2))),
        ("saturation at 0.6 of a W column", seen(Saturation(0.6))),
        ("converter of 3 bits", seen(Gain(0.05, 0.8), Quantisation(3))),
        ("grain boundary, 22°", grown(boundary=GrainBoundary(line=Line(0.3, 0.0)))),
        ("mirror twin", grown(boundary=GrainBoundary("mirror", 0.0, Line(0.6, 0.0)))),
        ("hole", grown(holes=(Hole((0.5, 0.5), 11.0, 0.8),))),
        ("edge of the flake", grown(edge=Line(0.4, 0.1, 0.8))),
        ("second layer, 2H", grown(second_layer=SecondLayer(line=Line(-0.5, 0.0, 0.5)))),
        ("second layer, 9° twisted", grown(second_layer=SecondLayer(0.157, 0.0, Line(-0.5, 0.0, 0.5)))),
        ("dopants in clusters, 12 %", grown(clustering=0.7, prevalence={Role.DOPANT: 0.12})),
        ("vacancies: 15 % Se, 12 % Se2", grown(prevalence=_VACANCIES)),
        ("typical chain", msgspec.structs.replace(base, chain=ImagingChain.typical())),
    ]
    across = 7
    figure, axes = panel_grid(len(recipes) // across, across, 1.7, top=0.45, left=0.1)
    for k, (name, recipe) in enumerate(recipes):
        image = labelled_frame(library, recipe, 5).images[0].astype(np.float32)
        ax = axes[k // across][k % across]
        low, high = contrast(image)
        show(ax, image, low, high)
        ax.set_title(name, fontsize=6.8, pad=2)
    for row in axes:
        scale_bar(row[0], 10.0, "1 nm", 0.3)
    figure.suptitle("One imperfection a frame: V-doped WSe2, 80 kV, 70-200 mrad", fontsize=9)
    return figure


# --- whole frames


def frames_picture(library: ResponseLibrary) -> Figure:
    """Two frames as a microscope gives them, two detectors each; the first one's truth is drawn into it."""
    crystal = CrystalRecipe(
        substitutes=("S",), complexes=True, clustering=0.3, rotation_rad=0.2,
        prevalence={Role.CHALCOGEN_VACANCY: 0.04, Role.DOPANT: 0.02},
    )  # fmt: skip
    dirty = msgspec.structs.replace(
        crystal, boundary=GrainBoundary("mirror", 0.0, Line(1.0, -0.1)), holes=(Hole((0.28, 0.75), 13.0, 1.0),)
    )
    base = FrameRecipe(
        Case(materials.host("WSe2"), ("V",), _KV, *DETECTORS_MRAD[0]),
        second_detector_mrad=DETECTORS_MRAD[1],
        shape=(384, 384),
        dose_e_per_angstrom2=2e4,
        crystal=crystal,
        chain=ImagingChain.typical(),
    )
    difficult = msgspec.structs.replace(base, crystal=dirty, chain=ImagingChain.difficult())
    figure, axes = panel_grid(1, 4, 3.05, top=0.56, left=0.1, bottom=0.08)
    for f, (name, recipe) in enumerate((("typical", base), ("difficult", difficult))):
        frame = labelled_frame(library, recipe, 2)
        for d, (inner, outer) in enumerate(recipe.detectors_mrad):
            ax, image = axes[0][2 * f + d], frame.images[d].astype(np.float32)
            show(ax, image, *contrast(image))
            ax.set_title(f"{name}, {inner:g}-{outer:g} mrad", fontsize=8.5, pad=3)
            scale_bar(ax, 20.0, "2 nm")
            if f == 0 and d == 0:
                figure.legend(handles=_mark(ax, frame), loc="lower center", ncols=9, fontsize=7, frameon=False)
    figure.suptitle(
        "Two scans of V-doped WSe2, 80 kV, 2·10⁴ e/Å², two detectors at once; marks are the truth", fontsize=9
    )
    return figure


def _mark(ax: Any, frame: LabelledFrame) -> list[Line2D]:
    sites, handles = frame.sites, []
    for role, (colour, marker, spoken) in ROLE_STYLE.items():
        mine = sites.positions_px[sites.role == role.value]
        if len(mine):
            handles += ax.plot(
                mine[:, 1],
                mine[:, 0],
                marker,
                ms=4.5,
                mfc="none",
                mec=colour,
                mew=0.9,
                label=f"{spoken}: {len(mine)}",
            )
    return handles
