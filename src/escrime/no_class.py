"""What stands in place of the number of a class where there is none: in records, tensors and files alike."""

NO_TARGET = -1  # of an attack that only leads away from the label
NO_CLASS = -1  # the prediction of a model that returns NaN or infinity
