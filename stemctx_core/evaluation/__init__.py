"""How good the classifier is: the benchmark of 576 cases."""
