"""The table of Imagenette robustness on images that no ImageNet training set holds: how its rows are made and shown."""
