"""The card of a tuned model as a page for people."""

from __future__ import annotations

from typing import Any

from stemctx_core.look import markdown


def card_in_words(card: dict[str, Any]) -> str:
    """Markdown of what a tuned model was made from, on, and with what effect.

    Parameters
    ----------
    card
        ``card.json`` of a tuned bundle.
    """
    tuning, figures = card["tuning"], card["figures"]
    chosen = next(t for t in figures["tried"] if t["name"] == figures["chosen"])
    lines = [
        f"# {card['name']} {card['sha256'][:12]}",
        "",
        f"Tuned from {tuning['from']['name']} {tuning['from']['sha256'][:12]} on {tuning['labels']} labelled patches "
        f"of {len(tuning['frames'])} frames: '{chosen['name']}', {chosen['parameters']} numbers. For material and "
        "conditions like those of the labels; for others, use the model that it was tuned from.",
        "",
        "## Labels",
        "",
        *markdown.table(("frame", *tuning["counts"]), [
            *((f["frame"], *(f["counts"].get(s, 0) for s in tuning["counts"])) for f in tuning["frames"]),
            ("all", *tuning["counts"].values()),
        ]),
        "",
        f"Prior: {tuning['drawn']}; weighted by inclusion probability: {'yes' if tuning['weighted'] else 'no'}.",
        *(f"Left out: {n} × {why}." for why, n in tuning["left_out"].items()),
        *(f"File: sha256 {f['sha256']}, {f['labels']} labels." for f in tuning["label_files"]),
        "",
        "## On labels that it was not tuned on",
        "",
        *markdown.table(("", "before", "after (cross-validated)"), [
            (name.replace("_", " "), _interval(figures["labels_before"][name]), _interval(figures["labels_cross_validated"][name]))
            for name in ("negative_log_likelihood", "accuracy", "calibration_error")
        ]),
        "",
        f"Gain: {_interval(figures['gain_nats_interval'])} nats a label. In brackets, 95 % of a bootstrap over groups of sites.",
        "",
        "## On rendered patches of all materials and conditions",
        "",
        *markdown.table(("", "before", "after", "may be worse by"), [
            (name.replace("_", " "), figures["rendered_before"][name], figures["rendered_after"][name], most)
            for name, most in figures["rendered_tolerances"].items()
        ]),
        "",
        "## Tried",
        "",
        *markdown.table(("", "numbers moved", "gain (nats a label)", "helps"), [
            (t["name"], t["parameters"], f"{t['gain_nats']['value']} ± {t['gain_nats']['se']}", "yes" if t["helps"] else "no")
            for t in figures["tried"]
        ]),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _interval(figure: dict[str, Any]) -> str:
    return f"{figure['value']} [{figure['low']}, {figure['high']}]"
