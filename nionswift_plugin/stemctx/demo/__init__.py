"""The operator of the window tests: presses, looks, and writes down what was seen; begin with `steps`, what is done."""
