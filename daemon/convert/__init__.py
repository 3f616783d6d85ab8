"""A dataset in the other version of LeRobot's format, kept up to date: resumable, and nothing is made twice.

place.py       where conversions lie
admission.py   whether a folder may be one, and what cannot
finished.py    which episodes can be converted now
records.py     what is known of a conversion, in `.episoded/convert/` of the result
conversion.py  examine the episodes, make the files, then the metadata
sidecars.py    what lies beside the format's own files goes with them
result.py      what is said on the way and at the end
swap.py        the result takes the place of its source
export.py      the service keeps one up to date while episodes become ready
standing.py    how far one is behind, for those who look
"""
