"""HDF5 files that land whole: what a record of a session and a recording of frames are both written through.

Begin with `record_file`; under it `durable` commits all or nothing, through `journal`, while `file_lock` keeps others out.
"""
