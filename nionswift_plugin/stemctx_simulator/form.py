"""The panel's fields, and what they say of the sample and the column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nion.utils import Model

from nionswift_plugin.stemctx.window.properties import put
from nionswift_plugin.stemctx_simulator.witness import LiveScore
from sim.crystal import IMPERFECTIONS
from sim.generator import FrameGenerator
from sim.instrument import SimulatedInstrument
from sim.specimen import DEFAULT_PREVALENCE, Specimen
from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import Role
from stemctx_core.errors import InputError
from stemctx_core.look import formats
from stemctx_core.look.colours import ROLE_WORDS


@dataclass(frozen=True)
class Control:
    """A number of the column: name, what it is called, its unit, and that unit over the control's own."""

    name: str
    label: str
    unit: str
    per_unit: float


#: Instrument controls, as the live path reads them.
CONTROLS: Final = (
    Control("EHT", "High tension", "kV", 1e-3),
    Control("ConvergenceAngle", "Convergence", "mrad", 1e3),
    Control("HAADF_Inner_ha", "HAADF inner", "mrad", 1e3),
    Control("HAADF_Outer_ha", "HAADF outer", "mrad", 1e3),
    Control("MAADF_Inner_ha", "MAADF inner", "mrad", 1e3),
    Control("MAADF_Outer_ha", "MAADF outer", "mrad", 1e3),
    Control("BeamCurrent", "Beam current", "pA", 1e12),
)
#: Shares of the sites of a sublattice, shown in percent.
SHARES: Final = tuple(
    (role, ROLE_WORDS[role].capitalize())
    for role in (
        Role.DOPANT,
        Role.METAL_VACANCY,
        Role.CHALCOGEN_VACANCY,
        Role.CHALCOGEN_DIVACANCY,
        Role.OXYGEN,
    )
)
#: What the beam and time do to the sample: attribute, what it is called, its unit.
CHANGES: Final = (
    ("drift_y", "Drift down", "nm/s"),
    ("drift_x", "Drift right", "nm/s"),
    ("damage", "Beam damage", "barn"),
    ("carbon", "Contamination", "per 10⁶ e/Å²"),
)


class Form:
    """Everything that the panel shows; only to be touched on the window's thread."""

    def __init__(self) -> None:
        def field(value: Any = "") -> Any:
            return Model.PropertyModel(value)

        self.tab: Any = field(0)  # number of the tab that is on top
        self.hosts: Any = field(list(materials.hosts()))
        self.host_index: Any = field(0)
        self.dopant: Any = field("")
        self.seed: Any = field("0")
        self.shares: dict[Role, Any] = {role: field() for role, _ in SHARES}
        self.imperfections: Any = field(list(IMPERFECTIONS))
        self.imperfections_index: Any = field(0)
        self.file: Any = field("")
        self.pixel_angstrom: Any = field("")
        self.controls: dict[str, Any] = {c.name: field() for c in CONTROLS}
        self.changes: dict[str, Any] = {name: field() for name, _, _ in CHANGES}
        self.shown: Any = field("")
        self.message: Any = field("")
        self.beam: Any = field("")
        self.truth: Any = field(False)
        self.score: Any = field("")
        self.probability: Any = field("")

    def show_sample(self, instrument: SimulatedInstrument) -> None:
        """Fill the fields of the sample."""
        sample = instrument.sample
        specimen = sample.generator.specimen
        if specimen.host.name not in self.hosts.value:
            put(self.hosts, [*self.hosts.value, specimen.host.name])
        put(self.host_index, self.hosts.value.index(specimen.host.name))
        put(self.dopant, specimen.dopant or "")
        put(self.seed, str(specimen.seed))
        for role, entry in self.shares.items():
            put(entry, f"{100 * specimen.prevalence[role]:g}")
        put(self.imperfections_index, IMPERFECTIONS.index(sample.imperfections))
        replay = sample.replay
        put(
            self.shown,
            f"{specimen.host.name}{':' + specimen.dopant if specimen.dopant else ''}, seed {specimen.seed}"
            if replay is None
            else f"{replay.path.name}, {formats.count(replay.count, 'image')}",
        )

    def show_column(self, instrument: SimulatedInstrument) -> None:
        """Fill the fields of the column, and of what it does to the sample."""
        for control in CONTROLS:
            put(self.controls[control.name], _spoken(instrument.GetVal(control.name) * control.per_unit))
        y, x = instrument.drift_nm_per_s
        sample = instrument.sample
        values = (y, x, sample.damage_barn, sample.carbon_per_1e6_e_per_angstrom2)
        for (name, _, _), value in zip(CHANGES, values, strict=True):
            put(self.changes[name], _spoken(value))

    def show_score(self, scored: LiveScore) -> None:
        """Show precision, recall and calibration."""
        if not scored.frames:
            put(self.score, "")
            put(self.probability, "")
            return
        strict = scored.score.strict
        put(
            self.score,
            f"Precision {_share(strict.precision)}, recall {_share(strict.recall)}; "
            f"{strict.right} right, {strict.wrong} wrong, {strict.missed} missed in {scored.frames} frames",
        )
        told = scored.calibration
        put(
            self.probability,
            f"Flags said {_share(told.mean_stated)} on average; calibration error {_share(told.error)}",
        )

    def crystal(self, before: FrameGenerator) -> FrameGenerator:
        """The crystal that the fields describe, rendered as the one before.

        Raises
        ------
        InputError
            A field that is no number, an unknown element, or shares that cannot be.
        """
        shares = {role: number(entry.value, label) / 100 for (role, label), entry in zip(SHARES, self.shares.values(), strict=True)}  # fmt: skip
        seed = self.seed.value.strip()
        if not seed.isdigit():
            raise InputError(f"A seed of '{seed}' cannot be. Give a whole number such as 0.")
        specimen = Specimen(
            self.hosts.value[self.host_index.value or 0],
            self.dopant.value.strip() or None,
            int(seed),
            shares,
            before.specimen.displacement_angstrom,
            before.specimen.orientation_rad,
        )
        return FrameGenerator(specimen, before.library, before.background_fraction, before.seed)

    def replayed(self) -> tuple[Path, float | None]:
        """The file that the fields name, and its pixel size (Å) where one was given; `InputError` where none can be."""
        name = self.file.value.strip()
        if not name:
            raise InputError("Name a file to replay: a recording (.h5) or a micrograph (.tif, .npy).")
        stated = self.pixel_angstrom.value.strip()
        return Path(name).expanduser(), number(stated, "Pixel size") if stated else None

    def use_control(self, instrument: SimulatedInstrument, control: Control) -> None:
        """Set the instrument to what a field says; `InputError` for what cannot be."""
        value = number(self.controls[control.name].value, control.label)
        if value <= 0:
            raise InputError(f"{control.label} of {value:g} {control.unit} cannot be. Give a positive number.")
        now = instrument.GetVal(control.name) * control.per_unit
        if not math.isclose(value, now, rel_tol=1e-5):
            instrument.SetVal(control.name, value / control.per_unit)

    def use_changes(self, instrument: SimulatedInstrument) -> None:
        """Let beam and time do what the fields say; `InputError` for what cannot be."""
        y, x, damage, carbon = (number(self.changes[name].value, label) for name, label, _ in CHANGES)
        if min(damage, carbon) < 0:
            raise InputError("Beam damage and contamination cannot be negative. Give 0 for none.")
        instrument.drift_nm_per_s = y, x
        instrument.sample.damage_barn, instrument.sample.carbon_per_1e6_e_per_angstrom2 = damage, carbon


def number(text: str | None, label: str) -> float:
    """Read a number; `InputError` that names the field."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{label}: '{text}' is no number. Give one such as {DEFAULT_PREVALENCE[Role.DOPANT]:g}."
        )
    return value


def _spoken(value: float) -> str:
    return f"{value:.6g}"


def _share(value: float | None) -> str:
    return formats.NONE if value is None else f"{value:.3f}"
