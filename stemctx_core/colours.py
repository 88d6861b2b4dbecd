"""The colour and the name of each role, the same on the live image, in overlay pictures and in plots."""

from __future__ import annotations

from typing import Final

from stemctx_core.classes import Role

#: Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), and three of Paul Tol's
#: (https://personal.sron.nl/~pault/), which colour-blind readers can tell apart.
ROLE_COLOURS: Final = {
    Role.METAL: "#999999",
    Role.CHALCOGEN_PAIR: "#999999",
    Role.DOPANT: "#E69F00",
    Role.METAL_VACANCY: "#CC79A7",
    Role.CHALCOGEN_VACANCY: "#56B4E9",
    Role.CHALCOGEN_DIVACANCY: "#0072B2",
    Role.OXYGEN: "#009E73",
    Role.METAL_ANTISITE: "#D55E00",
    Role.CHALCOGEN_ANTISITE: "#332288",
    Role.SUBSTITUTION: "#882255",
    Role.DOUBLE_SUBSTITUTION: "#44AA99",
    Role.DOPANT_WITH_VACANCY: "#994F00",
}

#: Roles of defects, as one says them.
ROLE_WORDS: Final = {
    Role.DOPANT: "dopant",
    Role.METAL_VACANCY: "metal vacancy",
    Role.CHALCOGEN_VACANCY: "chalcogen vacancy",
    Role.CHALCOGEN_DIVACANCY: "chalcogen divacancy",
    Role.OXYGEN: "oxygen",
    Role.METAL_ANTISITE: "metal antisite",
    Role.CHALCOGEN_ANTISITE: "chalcogen antisite",
    Role.SUBSTITUTION: "substituted chalcogen",
    Role.DOUBLE_SUBSTITUTION: "substituted chalcogen pair",
    Role.DOPANT_WITH_VACANCY: "dopant with a vacancy",
}
