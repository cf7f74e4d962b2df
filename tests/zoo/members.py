"""All members of the zoo."""

from . import component, decoys, flat, grid, honest

FAMILIES = (component, decoys, flat, grid, honest)
MEMBERS = {member.name: member for family in FAMILIES for member in family.MEMBERS}
COUNT = sum(len(family.MEMBERS) for family in FAMILIES)  # more than MEMBERS has where two share a name
