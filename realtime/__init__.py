"""The live side of stemctx: the wire, both its ends, engines, and the frame pipeline. Nothing here knows Nion Swift.

No module is imported here, so that the plug-in, which needs only `realtime.client`, does not load an engine.
"""

import os

# OpenBLAS reads this when NumPy is imported. The matrices of a frame are small: a second thread waits, spinning, longer
# than it helps, and a frame of 512 x 512 took four times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
