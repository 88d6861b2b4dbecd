"""Watch: scan one field again and again, and take the beam off as soon as a column in it has changed.

Runs as it is in a terminal (python watch.py), in Nion Swift (File > Scripts) and in a notebook.
"""

from nionswift_plugin.stemctx.scripting.opening import open_session
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies import FieldScan, watch
from stemctx_core.look import formats

SCAN = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=5.6, pixels=224)
LIMITS = Limits(dose_per_site_e_per_angstrom2=1e6)


def main(session, say):
    result = watch(session, scan=SCAN, frames=4, changes=1)
    for change in result.changes:
        say(f"{change.before} became {change.after} at ({change.y_nm:.2f}, {change.x_nm:.2f}) nm")
    say(f"{result.frames} frames, {formats.dose(result.dose_e_per_angstrom2)}, {result.ended}")
    return result


def script_main(api_broker=None):
    with open_session("WSe2", ("V",), limits=LIMITS) as session:
        return main(session, print)


if __name__ == "__main__":
    script_main()
