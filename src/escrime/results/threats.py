"""Threat levels: what an attacker knows of who is attacked, by the names that stand in the records."""

WHITE_BOX = "white-box"  # the network itself, with its gradients
BLACK_BOX = "black-box"  # its outputs only
TRANSFER = "transfer"  # other networks: the one without its defense, or surrogates; what is made on them is shown to it
ADAPTIVE = "adaptive"  # the defense too
UNDEFENDED = (WHITE_BOX, BLACK_BOX)  # levels of a network without a defense,
DEFENDED = (TRANSFER, ADAPTIVE)  # and with one
# No threat level of a verdict: what was made for a model, shown to the one that is deployed in its place (see deployment.py).
DEPLOYED = "deployed"
THREATS = (*UNDEFENDED, *DEFENDED, DEPLOYED)
