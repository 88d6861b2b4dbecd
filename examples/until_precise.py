"""Until precise: scan fields in random order until it is known how many selenium columns lack a selenium atom.

Runs as it is in a terminal (python until_precise.py), in Nion Swift (File > Scripts) and in a notebook.
"""

from nionswift_plugin.stemctx.scripting.opening import open_session
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies import Area, FieldScan, until_precise

AREA = Area(size_nm=(22.0, 22.0))
SCAN = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=5.6, pixels=224)
# Empty or filled by oxygen: which of the two takes ten times the dose to say, so that they are counted together.
SPECIES = {"vac_Se", "O_Se"}
LIMITS = Limits(dose_per_session_electrons=1e9, acquisitions=25)


def main(session, say):
    result = until_precise(session, AREA, scan=SCAN, species=SPECIES, relative=0.35)
    share = result.fraction
    if share is None:
        say(f"No field could be judged: {result.ended}")
        return result
    say(
        f"vac_Se or O_Se at {share.value:.2%} of {share.of} sites, 95 % interval {share.low:.2%} to {share.high:.2%}"
    )
    say(f"{result.fields} fields, {result.undecided} sites undecided, {result.ended}")
    return result


def script_main(api_broker=None):
    with open_session("WSe2", ("V",), limits=LIMITS) as session:
        return main(session, print)


if __name__ == "__main__":
    script_main()
