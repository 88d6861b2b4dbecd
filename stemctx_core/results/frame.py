"""What a result says of its frame: which one it is, what it says of itself, what judged it, or why it was not judged."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a frame was not judged: a result, not a crash.

    Attributes
    ----------
    code
        ``outside_library``, ``outside_training``, ``not_an_image``, ``not_finite``, ``constant``, ``too_small``,
        ``too_few_sites``, ``no_lattice``, ``pixel_size_mismatch``, ``calibration``, ``contrast``, ``too_dark``,
        ``wrong_host``, ``sublattices``, ``unlike``, ``different_scans``, ``bad_context``.
    reason, fix
        In words.
    """

    code: str
    reason: str
    fix: str


class FrameIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which frame, or which part of one, a result belongs to.

    Attributes
    ----------
    scan_id
        New for every scan pass; results of another scan are never painted.
    frame_index
        As the acquisition counts.
    valid_rows
        Rows that belong to this frame; less than the height while it is being scanned.
    shape
        Height and width of the whole frame in pixels.
    """

    scan_id: str = ""
    frame_index: int = 0
    valid_rows: int = 0
    shape: tuple[int, int] = (0, 0)


class CalibrationSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the host's own columns say of the frame.

    Attributes
    ----------
    pixel_size_angstrom
        From the lattice and the host's lattice constant.
    gain, background
        Intensity units per fraction of the beam, and intensity of no sample scattering.
    sigma_angstrom
        Effective source (standard deviation per axis).
    dose_e_per_angstrom2
        From the noise.
    ratio_measured, ratio_expected
        Peak of X2 over M, in the frame and for the declared context.
    amplitude_sd, jitter_angstrom
        Scatter of column amplitudes and positions beyond counting noise.
    """

    pixel_size_angstrom: float
    gain: float
    background: float
    sigma_angstrom: float
    dose_e_per_angstrom2: float
    ratio_measured: float
    ratio_expected: float
    amplitude_sd: float
    jitter_angstrom: float


class EngineInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which inference engine ran, and why that one."""

    name: str
    reason: str
