"""HDF5 files that land whole: what a record of a session and a recording of frames are both written through."""
