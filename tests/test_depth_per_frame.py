"""Models that see one frame at a time: the numbers that transformers gives, and what they mean, or a refusal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from depth_scene import SIZE, SceneFrames, picture  # noqa: E402
from episoded.processors.depth.per_frame import LICENCES, PerFrameSource, kind_of, per_frame_model  # noqa: E402
from episoded.processors.errors import EpisodedError  # noqa: E402


def dinov2(**settings: Any) -> Any:
    small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    return transformers.Dinov2Config(**small | settings)


STAGES = [f"stage{number}" for number in (1, 2, 3, 4)]
NECK: dict[str, Any] = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}


def depth_anything(kind: str) -> tuple[Any, Any]:
    backbone = dinov2(out_features=STAGES, reshape_hidden_states=False)
    more = {"reassemble_hidden_size": 16, "head_hidden_size": 4, "patch_size": 14, "max_depth": 20}
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        depth_estimation_type=kind,
        **NECK,
        **more | ({} if kind == "metric" else {"max_depth": 1}),
    )
    size = {"size": {"height": 56, "width": 56}, "ensure_multiple_of": 14, "keep_aspect_ratio": True}
    return transformers.DepthAnythingForDepthEstimation(config), ("dpt", "DPT", size)


def dpt() -> tuple[Any, Any]:
    small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.DPTConfig(**small, **NECK, backbone_out_indices=[0, 1, 2, 3], image_size=64, is_hybrid=False)
    return transformers.DPTForDepthEstimation(config), ("dpt", "DPT", {"size": {"height": 64, "width": 64}})


def glpn() -> tuple[Any, Any]:
    small = {
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1] * 4,
        "decoder_hidden_size": 8,
        "num_attention_heads": [1] * 4,
    }
    return transformers.GLPNForDepthEstimation(transformers.GLPNConfig(**small)), ("glpn", "GLPN", {})


def zoedepth() -> tuple[Any, Any]:
    small = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    backbone = transformers.BeitConfig(
        image_size=32, patch_size=16, **small, out_features=STAGES, reshape_hidden_states=False
    )
    bins = {"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}
    more = {
        "bottleneck_features": 8,
        "num_relative_features": 8,
        "bin_embedding_dim": 8,
        "num_attractors": [4, 2, 2, 1],
    }
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, backbone_hidden_size=16, bin_configurations=[bins], **NECK, **more
    )
    return transformers.ZoeDepthForDepthEstimation(config), (
        "zoedepth",
        "ZoeDepth",
        {"size": {"height": 32, "width": 64}},
    )


def depth_pro(*, use_fov_model: bool = True) -> tuple[Any, Any]:
    encoders = {
        f"{name}_model_config": dinov2(num_hidden_layers=2, image_size=32, patch_size=8)
        for name in ("image", "patch", "fov")
    }
    hooks = {
        "intermediate_hook_ids": [1, 0],
        "intermediate_feature_dims": [8, 8],
        "scaled_images_feature_dims": [8] * 3,
    }
    config = transformers.DepthProConfig(
        patch_size=32, fusion_hidden_size=16, merge_padding_value=1, use_fov_model=use_fov_model, **hooks, **encoders
    )
    return transformers.DepthProForDepthEstimation(config), None


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "metric depth anything": lambda: depth_anything("metric"),
    "relative depth anything": lambda: depth_anything("relative"),
    "dpt": dpt,
    "glpn": glpn,
    "zoedepth": zoedepth,
    "depth pro": depth_pro,
}
METRIC = {"metric depth anything", "glpn", "zoedepth", "depth pro"}


def processor_of(kind: tuple[str, str, dict[str, Any]]) -> Any:
    from importlib import import_module

    folder, name, settings = kind
    module = import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
    return getattr(module, f"{name}ImageProcessorPil")(**settings)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def save(name: str) -> Path:
        if name not in made:
            torch.manual_seed(1)
            net, processor = MODELS[name]()
            for parameter in net.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
            if name == "depth pro":  # a field of view of 60 degrees, and depth of about a metre
                last = {"fov_model": net.fov_model.head.layers[-1], "head": net.head.layers[-2]}
                for part, value in (("fov_model", 60.0), ("head", 1.0)):
                    torch.nn.init.normal_(last[part].weight, std=0.001)
                    torch.nn.init.constant_(last[part].bias, value)
            made[name] = tmp_path_factory.mktemp("model")
            net.save_pretrained(made[name])
            if processor is not None:
                processor_of(processor).save_pretrained(made[name])
        return made[name]

    return save


def maps_of(source: PerFrameSource, count: int = 2) -> np.ndarray:
    return np.stack([values for piece in source.maps(SceneFrames(count)) for values in piece.maps])


@pytest.mark.parametrize("name", MODELS)
def test_each_architecture_gives_finite_maps_of_the_right_kind_at_the_size_of_the_frames(
    name: str, saved: Callable[[str], Path]
) -> None:
    source = per_frame_model(str(saved(name)))
    maps = maps_of(source)
    assert maps.shape == (2, *SIZE)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.std() > 0
    assert source.kind == ("metric_m" if name in METRIC else "disparity_relative")


@pytest.mark.parametrize("name", ["metric depth anything", "dpt", "glpn"])
def test_the_numbers_are_those_of_transformers_own_processing(name: str, saved: Callable[[str], Path]) -> None:
    folder = saved(name)
    net = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        outputs = net(**processor(images=picture(0), return_tensors="pt"))
    (theirs,) = processor.post_process_depth_estimation(outputs, target_sizes=[SIZE])
    expected = np.maximum(theirs["predicted_depth"].numpy(), 0)
    assert np.allclose(maps_of(per_frame_model(str(folder)), 1)[0], expected, atol=1e-6 * expected.max())


def test_depth_pro_is_metric_by_its_own_field_of_view(saved: Callable[[str], Path]) -> None:
    folder = saved("depth pro")
    net = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    scaled = torch.from_numpy(picture(0)).permute(2, 0, 1)[None].float() / 127.5 - 1
    square = torch.nn.functional.interpolate(scaled, (128, 128), mode="bilinear")
    with torch.inference_mode():
        outputs = net(pixel_values=square)
    focal = 0.5 * SIZE[1] / np.tan(0.5 * np.radians(float(outputs.field_of_view[0])))
    canonical = torch.nn.functional.interpolate(outputs.predicted_depth[None], SIZE, mode="bilinear")[0, 0].numpy()
    expected = 1 / np.clip(canonical * SIZE[1] / focal, 1e-4, 1e4)
    assert np.allclose(maps_of(per_frame_model(str(folder)), 1)[0], expected, rtol=1e-4)


def test_the_padding_of_zoedepth_is_cut_off_again(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = saved("zoedepth")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["do_pad"] is True
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"do_pad": False}))
    padded, plain = (maps_of(per_frame_model(str(path)), 1) for path in (folder, tmp_path))
    assert padded.shape == plain.shape == (1, *SIZE)
    assert not np.allclose(padded, plain, rtol=1e-4)


def test_it_goes_on_after_any_piece(saved: Callable[[str], Path]) -> None:
    source, frames = per_frame_model(str(saved("glpn"))), SceneFrames(11)
    first, second = source.maps(frames)
    pieces = source.maps(frames)
    state = next(pieces).state()
    pieces.close()
    (rest,) = source.maps(frames, state)
    assert [len(first.maps), len(second.maps)] == [8, 3]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(rest.maps, second.maps, strict=True))
    assert list(source.maps(frames, rest.state())) == []


def test_the_number_of_threads_changes_nothing(saved: Callable[[str], Path]) -> None:
    source = per_frame_model(str(saved("glpn")))
    one, three = (
        b"".join(values.tobytes() for piece in source.maps(SceneFrames(9), threads=n) for values in piece.maps)
        for n in (1, 3)
    )
    assert one == three


def test_weights_that_are_not_finite_fail_with_the_frame_named(saved: Callable[[str], Path], tmp_path: Path) -> None:
    net = transformers.AutoModelForDepthEstimation.from_pretrained(saved("dpt"))
    next(net.parameters()).data.fill_(torch.nan)
    net.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes((saved("dpt") / "preprocessor_config.json").read_bytes())
    with pytest.raises(EpisodedError, match="frame 0") as caught:
        maps_of(per_frame_model(str(tmp_path)))
    assert caught.value.code == "depth_not_finite"


def test_a_source_says_what_it_is(saved: Callable[[str], Path]) -> None:
    facts = per_frame_model(str(saved("dpt"))).facts
    assert facts["architecture"] == "dpt"
    assert len(facts["weights_sha256"]["model.safetensors"]) == 64
    assert facts["weights_licence"] == "unknown"
    assert json.loads(json.dumps(facts)) == facts


class TestRefused:
    @pytest.mark.parametrize(
        "config",
        [{"model_type": "chmv2"}, {"model_type": "vit"}, {}, {"model_type": "depth_pro", "use_fov_model": False}],
    )
    def test_models_whose_numbers_have_no_known_meaning(self, config: dict[str, Any]) -> None:
        with pytest.raises(EpisodedError) as caught:
            kind_of(config, "somebody/something")
        assert caught.value.code == "unknown_depth_kind"

    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(EpisodedError, match="holds no model") as caught:
            per_frame_model(str(tmp_path))
        assert caught.value.code == "model_missing"

    def test_a_model_that_is_not_here_and_cannot_be_fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(EpisodedError, match="HF_HUB_OFFLINE") as caught:
            per_frame_model("Intel/dpt-large")
        assert caught.value.code == "model_missing"
        assert "hf download Intel/dpt-large" in caught.value.hint


def test_licences_that_forbid_commercial_use_say_so() -> None:
    for licence, note in LICENCES.values():
        assert note if licence not in ("Apache-2.0", "MIT") else True
