"""Short printed phrases as they stand on forms, labels and signs: words, amounts, codes, dates and times.

ASCII only, so that every character is in the dictionary of the recogniser.
"""

from __future__ import annotations

import numpy as np

_WORDS = """
abroad acorn advance agenda almond anchor apron arrival artist atlas bakery banner barley battery beacon
blanket border bottle branch bronze bucket cabinet candle canvas captain cargo cement chamber cherry
circuit citizen climate cluster cobalt compass copper cotton courier cradle crystal cushion dairy decade
depot desert diagram domain dragon dynamo eagle eclipse elbow embassy emerald engine estate exhibit fabric
falcon feather ferry filter finger fleet forest fossil funnel galaxy gallery ginger goblet granite gravel
grocery hammer harvest hazard helmet hinge hollow honey horizon hydrant icicle insect invoice ivory jacket
jasmine jigsaw juniper kettle keyboard knuckle ladder lantern lattice leather ledger legend lemon lever
limestone lobby locker lumber magnet mammoth marble margin meadow mercury meteor mineral mixture monitor
mosaic mustard napkin nectar needle notebook nozzle nutmeg oatmeal olive onion opera orchard organ osprey
oxygen oyster paddle palace pantry parade parsley pebble pepper permit pigeon pilot plaster plumber pocket
polish portal poster prairie pulley pumpkin quarry quartz quilt rabbit radar ramp raven ribbon rocket
rubber saddle salmon sandal satin scaffold scissors sensor shelter shovel sickle silk siren sleeve socket
spindle sponge stable stamp statue stencil studio sugar summit sunset syrup tablet tailor tariff temple
thicket thunder timber tissue toffee topaz torch tractor trellis tripod trumpet tunnel turbine umbrella
uniform urchin vacuum vanilla vault velvet vendor vessel violet visitor voucher voyage waffle wagon walrus
warden wharf wheat whistle willow window wizard workshop yacht yogurt zenith zipper
"""
WORDS = tuple(_WORDS.split())
CODE_SIGNS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789-/"
SUFFIXES = ("", "%", " kg", " mm", " EUR")


def phrase(g: np.random.Generator) -> str:
    """One random phrase of 3 to about 24 characters."""
    kind = g.random()
    if kind < 0.5:
        return _words(g)
    if kind < 0.75:
        return _amount(g)
    if kind < 0.9:
        signs = g.integers(len(CODE_SIGNS), size=int(g.integers(6, 13)))
        return "".join(CODE_SIGNS[i] for i in signs).strip("-/")
    day, month, year = g.integers(1, 29), g.integers(1, 13), g.integers(1990, 2031)
    return f"{day:02d}/{month:02d}/{year} {g.integers(24):02d}:{g.integers(60):02d}"


def _words(g: np.random.Generator) -> str:
    text = " ".join(WORDS[i] for i in g.integers(len(WORDS), size=int(g.integers(1, 4))))
    case = g.integers(4)
    if case == 3:
        return text.capitalize() + (".", ",", "!")[g.integers(3)]
    return (text, text.title(), text.upper())[case]


def _amount(g: np.random.Generator) -> str:
    label = WORDS[g.integers(len(WORDS))].title()
    cents = f".{g.integers(100):02d}" if g.random() < 0.5 else ""
    return f"{label}: {g.integers(1, 99999)}{cents}{SUFFIXES[g.integers(len(SUFFIXES))]}"
