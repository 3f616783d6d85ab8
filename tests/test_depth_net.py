"""The network computes what Video-Depth-Anything computes, in every mode and size."""

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import depth_golden  # noqa: E402
from depth_golden import difference, digest, loaded, pictures, runs  # noqa: E402
from episoded.processors.depth.net import ARCHITECTURES, VideoDepthNet, build  # noqa: E402
from episoded.processors.depth.preprocess import model_size  # noqa: E402

GOLDEN = json.loads(depth_golden.FILE.read_text())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net() -> VideoDepthNet:
    return loaded()


def test_every_mode_gives_the_numbers_of_the_original(net: VideoDepthNet) -> None:
    found = {name: difference(digest(values), GOLDEN[name]) for name, values in runs(net).items()}
    assert found.keys() == GOLDEN.keys()
    assert max(found.values()) < 1e-4, found


def _no_temporal_modules(net: VideoDepthNet) -> None:
    for module in net.head.motion_modules:
        torch.nn.init.zeros_(module.temporal_transformer.proj_out.weight)
        torch.nn.init.zeros_(module.temporal_transformer.proj_out.bias)


def _no_positions_in_time(net: VideoDepthNet) -> None:
    for name, value in net.named_buffers():
        assert name.endswith(".pe")
        value.zero_()


def _no_final_norm(net: VideoDepthNet) -> None:
    net.pretrained.norm = torch.nn.Identity()


def _another_layer(net: VideoDepthNet) -> None:
    net.pretrained.taken = (2, 5, 8, 10)


def _another_norm(net: VideoDepthNet) -> None:
    for module in net.head.motion_modules:
        module.temporal_transformer.norm.eps = 1e-2


@pytest.mark.parametrize(
    "mistake", [_no_temporal_modules, _no_positions_in_time, _no_final_norm, _another_layer, _another_norm]
)
def test_a_network_with_a_mistake_does_not(mistake: Callable[[VideoDepthNet], None]) -> None:
    net = loaded()
    mistake(net)
    with torch.inference_mode():
        window = torch.stack([net.preprocess(frame, 42) for frame in pictures(5, 42, 56)])
        assert difference(digest(net(window[None])[0].numpy()), GOLDEN["forward of 5"]) > 5e-4


def test_the_position_table_is_resized_with_the_offset_it_was_trained_with(
    net: VideoDepthNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("episoded.processors.depth.encoder._OFFSET", 1e-6)
    with torch.inference_mode():
        window = torch.stack([net.preprocess(frame, 42) for frame in pictures(5, 42, 56)])
        assert difference(digest(net(window[None])[0].numpy()), GOLDEN["forward of 5"]) > 5e-4


def test_the_norms_have_the_epsilons_of_the_original(net: VideoDepthNet) -> None:
    """1e-5 for 1e-6 would not show in the numbers above."""
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.GroupNorm):
            assert module.eps == 1e-6
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == (1e-6 if name.startswith("pretrained") else 1e-5)


@pytest.mark.parametrize(
    ("encoder", "tensors", "parameters"),
    [("vits", 351, 29_035_137), ("vitb", 351, 114_441_409), ("vitl", 519, 384_390_337)],
)
def test_the_parameters_are_those_of_the_published_checkpoints(encoder: str, tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        net = build(encoder)
    assert len(net.state_dict()) == tensors
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize("encoder", ["vitb", "vitl"])
def test_the_larger_sizes_run_and_see_the_other_frames(encoder: str) -> None:
    with torch.device("meta"):
        net = VideoDepthNet(ARCHITECTURES[encoder]).eval()
    net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(1)
    for name, value in net.state_dict().items():
        reach = 1.7 / max(1, np.prod(value.shape[1:])) ** 0.5
        value.uniform_(0 if "output_conv2" in name else -reach, reach, generator=generator)
    with torch.inference_mode():
        frames = torch.stack([net.preprocess(frame, 28) for frame in pictures(3, 28, 28)])
        depth = net(frames[None])[0]
        alone = net(frames[None, :1])[0, 0]
    assert depth.shape == (3, 28, 28)
    assert torch.isfinite(depth).all()
    assert depth.std() > 0
    assert not torch.allclose(depth[0], alone, rtol=1e-3)


def test_features_of_a_frame_do_not_depend_on_its_neighbours_and_the_head_can_work_in_parts(net: VideoDepthNet) -> None:
    with torch.inference_mode():
        frames = torch.stack([net.preprocess(frame, 42) for frame in pictures(8, 42, 56)])
        together = net.features(frames)
        apart = [torch.cat(levels) for levels in zip(*(net.features(frame[None]) for frame in frames), strict=True)]
        for one, other in zip(together, apart, strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
        whole, parts = net.depth(together, 8, batch=8), net.depth(apart, 8, batch=3)
    assert (whole - parts).abs().max() < 1e-5 * whole.max()


def test_a_stream_gives_each_depth_before_it_takes_the_next_frame(net: VideoDepthNet) -> None:
    taken = []
    frames = (taken.append(k) or frame for k, frame in enumerate(pictures(3, 28, 28)))  # type: ignore[func-returns-value]
    stream = net.stream(frames, 28)
    for expected in ([0], [0, 1], [0, 1, 2]):
        next(stream)
        assert taken == expected


@pytest.mark.parametrize(
    ("height", "width", "at_518", "at_280"),
    [
        (480, 640, (518, 686), (280, 378)),
        (478, 848, (518, 924), (280, 490)),
        (720, 1280, (518, 924), (280, 504)),
        (848, 478, (924, 518), (490, 280)),
        (400, 1200, (308, 924), (168, 504)),
    ],
)
def test_the_model_sees_a_picture_at_the_size_of_the_original(
    height: int, width: int, at_518: tuple[int, int], at_280: tuple[int, int]
) -> None:
    assert model_size(height, width, 518) == at_518
    assert model_size(height, width, 280) == at_280


def test_metric_windows_are_cross_faded_but_not_aligned(net: VideoDepthNet) -> None:
    metric = VideoDepthNet(ARCHITECTURES["vits"], metric=True).eval()
    metric.load_state_dict(net.state_dict())
    frames = pictures(40, 28, 28)
    one, other = (np.stack(list(each.infer_video(frames, 28))) for each in (net, metric))
    assert np.array_equal(one[:25], other[:25])
    second = torch.stack([net.preprocess(frames[min(k, 39)], 28) for k in (0, 12, *range(24, 54))])
    with torch.inference_mode():
        raw = net(second[None])[0].numpy()
    assert np.array_equal(other[32:], raw[10:18])
    assert not np.allclose(one[32:], other[32:], rtol=1e-3)
