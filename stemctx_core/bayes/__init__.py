"""The Bayes reference: the exact posterior over the candidates of a patch, against which classifiers are measured."""
