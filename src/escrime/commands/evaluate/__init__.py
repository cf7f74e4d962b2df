"""`escrime evaluate`: a model of the user's on images of the user's."""
