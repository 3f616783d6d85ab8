"""Findings about the videos."""

from __future__ import annotations

from typing import Final

from .kind import HUB, REPAIR, Kind

_LATE = "opens, and fails at the first picture of the part, in the middle of training"
_PAINTED_OVER = "nothing is noticed: the decoder paints over what is damaged, up to the next key frame"
_RECODE = "restore the video, or its frames so that it is encoded again"

VIDEO: Final = {
    "video_missing": Kind("error", HUB, HUB, _RECODE),
    "video_columns_missing": Kind(
        "error", "", "opening fails with KeyError 'videos/…/chunk_index'", "episoded process PATH"
    ),
    "video_misplaced": Kind("error", HUB, HUB, "episoded repair moves it to where info.json says", repairable=True),
    "video_empty": Kind("error", _LATE, _LATE, _RECODE),
    "video_unreadable": Kind("error", _LATE, _LATE, _RECODE),
    "video_undecodable": Kind("error", _LATE, _LATE, _RECODE),
    "video_damaged": Kind("error", _PAINTED_OVER, _PAINTED_OVER, _RECODE),
    "video_short": Kind("error", _LATE, _LATE, _RECODE),
    "video_long": Kind(
        "warning",
        "nothing is noticed; if a frame too many lies between the others, all later ones are shifted",
        "nothing is noticed; if a frame too many lies between the others, all later ones are shifted",
        "compare the first and last pictures with the rows; encode the frames again if there are any",
    ),
    "video_rate": Kind("error", _LATE, _LATE, _RECODE),
    "video_start": Kind("error", _LATE, _LATE, _RECODE),
    "video_timing": Kind("error", _LATE, _LATE, _RECODE),
    "video_drift": Kind(
        "error",
        "",
        "opens, and fails from the second episode of the file on: its start is no time of a picture",
        "episoded repair sets the starts to the times of the pictures",
        repairable=True,
    ),
    "video_span": Kind(
        "error",
        "",
        "opens, and silently returns pictures of another episode of the file",
        "episoded repair sets the spans, where the lengths fill the file exactly",
        repairable=True,
    ),
    "video_end": Kind(
        "note",
        "",
        "reading is fine; LeRobot's tools that cut and join datasets lose the last picture",
        "episoded repair sets it to start + length / fps",
        repairable=True,
    ),
    "video_size": Kind(
        "error",
        "opens, and gives pictures of another size than declared: policies fail on them",
        "opens, and gives pictures of another size than declared: policies fail on them",
        "episoded repair declares the size where the whole camera agrees on it",
        repairable=True,
    ),
    "video_size_mixed": Kind(
        "error",
        "opens; a batch with pictures of two sizes cannot be stacked",
        "opens; a batch with pictures of two sizes cannot be stacked",
        "encode the camera anew in one size",
    ),
    "codec_mixed": Kind(
        "warning",
        "reading is fine; LeRobot's converter to v3.0 exits 0 and leaves a file whose end cannot be decoded",
        "reading is fine; LeRobot's own joining of files leaves one whose end cannot be decoded",
        "encode the camera anew with one codec and one set of settings",
    ),
    "video_info": Kind(
        "warning",
        "reading is fine; what is shown about the videos is wrong or absent",
        "reading is fine; what is shown about the videos is wrong or absent, and depth is not known as such",
        REPAIR,
        repairable=True,
    ),
    "video_frozen": Kind(
        "warning",
        "nothing is noticed: the camera shows one picture for the whole episode",
        "nothing is noticed: the camera shows one picture for the whole episode",
        "look at the episode; a dead camera cannot be mended",
    ),
    "keyframes_rare": Kind(
        "note",
        "reading a random picture decodes up to a whole stretch between key frames: training is slow",
        "reading a random picture decodes up to a whole stretch between key frames: training is slow",
        "encode with a short distance of key frames (gop = 2)",
    ),
}
