"""What is demanded of the real frames, and whether it is met."""

from __future__ import annotations

from typing import Any


def must_show(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of demand, target, what was measured and whether it is met, from the figures of `measuring`."""
    ti = told["ti_wse2"]
    rows = []
    for detector, f1, area in (("ADF1", 0.86, 0.87), ("ADF2", 0.91, 0.97)):
        own = ti[f"{detector} thorough"]
        rows += [
            _at_least(f"{detector}: F1 of vac_Se at judged sites", f1, own["vac_Se"]["f1"]),
            _at_least(
                f"{detector}: F1 of vac_Se, sites not judged taken for misses",
                f1,
                own["vac_Se_all_sites"]["f1"],
            ),
            _at_least(
                f"{detector}: average precision at judged sites", area, own["vac_Se"]["average_precision"]
            ),
            _at_least(
                f"{detector}: average precision, sites not judged last",
                area,
                own["vac_Se_all_sites"]["average_precision"],
            ),
        ]
    for name in ("ADF1 thorough", "ADF2 thorough", "both thorough"):
        rows.append(
            _row(
                f"{name}: false dopants among {ti[name]['metal_sites']} metal sites",
                "at most 4",
                ti[name]["dopants_told"],
                ti[name]["dopants_told"] <= 4,
            )
        )
    both = ti["both thorough"]
    rows += [
        _row(
            "both detectors: share of all sites decided at P ≥ 0.9",
            "0.95",
            both["decided_of_all"],
            both["decided_of_all"] >= 0.95,
        ),
        _at_least("both detectors: F1 of vac_Se at those", 0.95, both["vac_Se_decided"]["f1"]),
    ]
    third = told["third_population"]
    share = third["as_o_or_as_both"]
    rows.append(
        _row(
            "the third population is reported as O_Se or as the set of vac_Se and O_Se",
            "all of its sites",
            f"{share} of {third['sites']}",
            third["sites"] > 0 and share == third["sites"],
        )
    )
    rows += _refusals(told["frames"])
    return rows


def _refusals(frames: dict[str, Any]) -> list[dict[str, Any]]:
    mos2, boundary, rhenium = (frames[n] for n in ("MoS2 at 60 kV", "MoSe2 grain boundary", "Re on carbon"))
    withheld = [w for w in mos2["warnings"] if w.startswith("vac_S is not called")]
    spoiled = sum(n for reason, n in mos2["reasons"].items() if reason.startswith(("no lattice", "unknown")))
    twins = [w for w in boundary["warnings"] if "mirror twins" in w]
    return [
        _row("60 kV MoS2: lattice found", "sites", mos2["sites"], mos2["sites"] > 0),
        _row("60 kV MoS2: sites abstained from in the hole and in contamination", "some", spoiled, spoiled > 0),
        _row(
            "60 kV MoS2: single S vacancies refused",
            "with the reason",
            (withheld or ["not refused"])[0],
            bool(withheld) and "vac_S" not in mos2["flags"],
        ),
        _row(
            "MoSe2 grain boundary",
            "both lattices, or a refusal in words",
            (twins or [boundary["refusal"] or "nothing"])[0],
            bool(twins or boundary["refusal"]),
        ),
        _row("Re on carbon", "refused", rhenium["refusal"] or "judged", rhenium["refusal"] is not None),
        *(
            _row(
                name,
                "the host check objects",
                frames[name]["refusal"] or "judged",
                frames[name]["code"] == "wrong_host",
            )
            for name in frames
            if "declared" in name
        ),
    ]


def _at_least(what: str, target: float, figure: dict[str, Any]) -> dict[str, Any]:
    value = figure["value"]
    shown = "none" if value is None else f"{value:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
    return _row(what, f"{target:.2f}", shown, value is not None and value >= target)


def _row(what: str, target: str, measured: Any, met: bool) -> dict[str, Any]:
    return {"what": what, "target": target, "measured": measured, "met": bool(met)}
