"""Confirm: find the vanadium with little dose, and look again only where that leaves a doubt.

Runs as it is in a terminal (python confirm.py), in Nion Swift (File > Scripts) and in a notebook.
"""

from nionswift_plugin.stemctx.scripting.opening import open_session
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies import Area, FieldScan, Revisit, confirm
from stemctx_core.planning.planner import dose_to_tell
from stemctx_core.simulation.library import shipped_library

AREA = Area(size_nm=(9.0, 4.5))
LIMITS = Limits(dose_per_site_e_per_angstrom2=1e5, acquisitions=60)


def main(session, say):
    # The dose that tells vanadium from the host's own tungsten, wrong once in ten thousand sites.
    enough = dose_to_tell(shipped_library(), session.microscope.context(), "V_W", "W", error_rate=1e-4)
    say(enough.reason)
    scan = FieldScan(dose_e_per_angstrom2=enough.dose_e_per_angstrom2, field_of_view_nm=5.6, pixels=224)
    result = confirm(
        session, AREA, species={"V_W"}, scan=scan, revisit=Revisit(field_of_view_nm=3.0, pixels=128)
    )
    for found in result.findings:
        say(f"V_W at ({found.y_nm:.2f}, {found.x_nm:.2f}) nm, p = {found.probability:.3f}, {found.looks} looks")
    for site, reason in result.undecided:
        say(f"undecided at ({site.y_nm:.2f}, {site.x_nm:.2f}) nm: {reason}")
    say(f"{result.fields} fields and {result.revisits} second looks, {session.spent.electrons:.2e} electrons")
    return result


def script_main(api_broker=None):
    with open_session("WSe2", ("V",), limits=LIMITS) as session:
        return main(session, print)


if __name__ == "__main__":
    script_main()
