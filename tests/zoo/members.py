"""All members of the zoo."""

from . import backward, component, decoys, flat, fragile, grid, honest, photos  # isort: skip
from . import published, randomness, slow, state, together, transforms

FAMILIES = (published, component, decoys, backward, flat, grid, together, state, randomness, slow, fragile, transforms)
FAMILIES += (honest, photos)
MEMBERS = {member.name: member for family in FAMILIES for member in family.MEMBERS}
COUNT = sum(len(family.MEMBERS) for family in FAMILIES)  # more than MEMBERS has where two share a name
