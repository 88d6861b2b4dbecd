"""Follow: keep one vanadium in the middle while the specimen drifts, and look at it again and again.

Runs as it is in a terminal (python follow.py), in Nion Swift (File > Scripts) and in a notebook.
"""

from nionswift_plugin.stemctx.scripting.opening import open_session
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies import FieldScan, follow

FIRST = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=6.0, pixels=256)
CLOSE = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=3.0, pixels=128)
LIMITS = Limits(dose_per_site_e_per_angstrom2=5e5, acquisitions=20)


def main(session, say):
    view = session.look(FIRST.request(session.microscope, (0.0, 0.0)))
    target = next(session.targets(view, species={"V_W"}, min_probability=0.95), None)
    if target is None:
        say("There is no vanadium in this field.")
        return None
    result = follow(session, target, close=CLOSE, times=5)
    for seen in result.sightings:
        say(
            f"{seen.seconds:5.1f} s  ({seen.y_nm:.3f}, {seen.x_nm:.3f}) nm  {seen.species} {seen.probability:.3f}"
        )
    say(f"{result.looks} looks; {result.ended}")
    return result


def script_main(api_broker=None):
    with open_session("WSe2", ("V",), limits=LIMITS) as session:
        return main(session, print)


if __name__ == "__main__":
    script_main()
