"""The card of a dataset on the Hub: what is inside, in front matter for machines and in words for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: A card that has this line is ours, and is written anew; without it, somebody took it over.
MARK: Final = "<!-- This card is kept up to date by episoded; remove this line to write your own. -->"


def dataset_card(name: str, info: Mapping[str, Any]) -> bytes:
    """The card of a dataset with this `meta/info.json`; of a repo with several datasets where it is empty."""
    head = ["---", "task_categories:", "- robotics", "tags:", "- episoded"]
    if info:
        head += ["- LeRobot", "configs:", "- config_name: default", "  data_files: data/*/*.parquet"]
    return "\n".join([*head, "---", MARK, "", f"# {name}", "", *_body(info), ""]).encode()


def _body(info: Mapping[str, Any]) -> Iterator[str]:
    if not info:
        yield "Robot episodes, one folder for each dataset."
        return
    version = info.get("codebase_version", "?")
    yield f"A [LeRobot](https://github.com/huggingface/lerobot) dataset, format {version}."
    yield ""
    for words, key in (("robot", "robot_type"), ("episodes", "total_episodes"), ("frames", "total_frames")):
        if info.get(key) is not None:
            yield f"- {words}: {info[key]}"
    if info.get("fps"):
        yield f"- frames per second: {info['fps']}"
    yield from _features(info.get("features"))
    yield ""
    yield f"The tag `{version}` is set, and moved, once every episode is here: whoever loads it gets a dataset without"
    yield "holes, while more episodes arrive on `main`."
    yield ""
    yield "```json"
    yield json.dumps({key: value for key, value in info.items() if key != "features"}, indent=2, ensure_ascii=False)
    yield "```"


def _features(features: object) -> Iterator[str]:
    if not isinstance(features, dict):
        return
    yield ""
    yield "| feature | dtype | shape |"
    yield "|---|---|---|"
    for key, feature in features.items():
        if isinstance(feature, dict):
            shape = " x ".join(map(str, feature.get("shape") or ()))
            yield f"| `{key}` | {feature.get('dtype', '?')} | {shape} |"
