"""Survey: scan an area field by field and say how frequent each defect is.

Runs as it is in a terminal (python survey.py), in Nion Swift (File > Scripts) and in a notebook.
"""

from nionswift_plugin.stemctx.scripting.opening import open_session
from realtime.autonomy.limits import Limits
from realtime.autonomy.policies import Area, FieldScan, survey_grid
from stemctx_core.look import formats

AREA = Area(size_nm=(9.0, 4.5))
SCAN = FieldScan(dose_e_per_angstrom2=20_000, field_of_view_nm=5.6, pixels=224)
LIMITS = Limits(dose_per_site_e_per_angstrom2=1e5, acquisitions=10)


def main(session, say):
    result = survey_grid(session, AREA, scan=SCAN)
    for species, share in result.fractions.items():
        if share.count:
            say(f"{species}: {share.count} of {share.of} sites, {formats.density(share.per_cm2)}")
    spent = session.spent
    say(f"{result.fields} fields, {spent.electrons:.2e} electrons, {result.ended or 'the whole area was seen'}")
    return result


def script_main(api_broker=None):
    with open_session("WSe2", ("V",), limits=LIMITS) as session:
        return main(session, print)


if __name__ == "__main__":
    script_main()
