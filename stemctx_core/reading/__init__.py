"""Micrographs from files of many kinds, with what the files themselves say of how they were taken.

`read_micrograph` gives one image, `read_images` all that a file holds, `readable_suffixes` what can be read here.
"""

from stemctx_core.reading.images import Micrograph, RecordedImage
from stemctx_core.reading.micrograph import read_images, read_micrograph
from stemctx_core.reading.readers import readable_suffixes
from stemctx_core.reading.values import FileValues

__all__ = ["FileValues", "Micrograph", "RecordedImage", "read_images", "read_micrograph", "readable_suffixes"]
