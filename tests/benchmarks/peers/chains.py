"""Networks that the peers can take."""

from darb_prune.encoded import Level
from tests.draws import SeedDraw
from tests.networks import random_chain

EIGHT = (Level(3, 1), Level(2, 1))


def chain(seed, *sizes, **options):
    return random_chain(SeedDraw(seed), sizes=sizes, levels=EIGHT, **options)
