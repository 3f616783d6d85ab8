"""A dataset in the other version of LeRobot's format, kept up to date: resumable, and nothing is made twice.

records.py     what is known of a conversion, in `.episoded/convert/` of the result
conversion.py  examine the episodes, make the files, then the metadata
sidecars.py    what lies beside the format's own files goes with them
swap.py        the result takes the place of its source
"""
