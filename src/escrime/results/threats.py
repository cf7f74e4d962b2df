"""Threat levels: what an attacker knows of who is attacked, by the names that stand in the records."""

WHITE_BOX = "white-box"  # the network itself, with its gradients
BLACK_BOX = "black-box"  # its outputs only
TRANSFER = "transfer"  # the network without its defense: examples made on it are shown to the defended one
ADAPTIVE = "adaptive"  # the defense too
UNDEFENDED = (WHITE_BOX, BLACK_BOX)  # levels of a network without a defense,
DEFENDED = (TRANSFER, ADAPTIVE)  # and with one
THREATS = UNDEFENDED + DEFENDED
