"""Windows folded one after another are what all of them at once give, in any mode and after any interruption."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from depth_scene import SIZE, picture, truth, window_of, windows_of
from episoded.processors.depth.align import ALIGNMENTS, Affine, Alignment, fit
from episoded.processors.depth.fold import Fold
from episoded.processors.depth.resize import Resize
from episoded.processors.depth.windows import Span, spans, window_count, window_frames

Array = NDArray[np.float32]
LENGTHS = (1, 2, 22, 24, 25, 31, 32, 33, 46, 47, 70, 130)


def folded(frames: int, alignment: Alignment = "anchored", size: tuple[int, int] = SIZE, noise: float = 0.0) -> Fold:
    fold = Fold(frames, size, alignment)
    fold.maps, fold.records = [], []  # type: ignore[attr-defined]
    for window in range(fold.windows):
        fold.maps += fold.add(window, windows_of(frames, window, noise))  # type: ignore[attr-defined]
        fold.records.append(fold.record)  # type: ignore[attr-defined]
    return fold


def maps_of(frames: int, alignment: Alignment = "anchored", **settings: object) -> Array:
    fold = folded(frames, alignment, **settings)  # type: ignore[arg-type]
    numbers, maps = zip(*fold.maps, strict=True)  # type: ignore[attr-defined]
    assert numbers == tuple(range(frames))
    return np.stack(maps)


def all_in_memory(frames: int) -> Array:
    """The formula of Video-Depth-Anything, written down as its paper and code have it: lists of all maps."""
    count = -(-frames // 22)
    seen = [list(range(32))]
    for window in range(1, count):
        seen.append([seen[-1][0], seen[-1][12], *seen[-1][24:], *range(22 * window + 10, 22 * window + 32)])
    result: list[Array] = []
    first: Array
    key: Array
    for window, numbers in enumerate(seen):
        maps = window_of(window, [picture(min(number, frames - 1)) for number in numbers]).astype(np.float64)
        if window == 0:
            first, key = maps[0], maps[12]
            result += list(maps)
            continue
        ours, theirs = np.stack(maps[:2]).ravel(), np.stack([first, key]).ravel()
        scale, shift = np.polyfit(ours, theirs, 1)
        aligned = np.maximum(scale * maps + shift, 0)
        for step in range(8):
            result[step - 8] = (1 - step / 7) * result[step - 8] + step / 7 * aligned[2 + step]
        result += list(aligned[10:])
        key = aligned[12]
    return np.stack(result[:frames])


class TestWhichFrames:
    @given(st.integers(1, 2000))
    def test_every_frame_is_in_some_window_and_none_beyond_the_last(self, frames: int) -> None:
        seen = {number for k in range(window_count(frames)) for number in window_frames(k, frames)}
        assert seen == set(range(frames))

    @given(st.integers(60, 2000))
    def test_a_window_repeats_ten_frames_of_the_one_before(self, frames: int) -> None:
        for window in range(1, window_count(frames)):
            before, here = window_frames(window - 1, frames), window_frames(window, frames)
            assert here[:10] == (before[0], before[12], *before[24:])
            assert here[10:] == tuple(min(22 * window + p, frames - 1) for p in range(10, 32))

    @given(st.integers(1, 500), st.integers(1, 9))
    def test_spans_cover_all_windows_once(self, frames: int, length: int) -> None:
        count = window_count(frames)
        parts = spans(0, count, length)
        assert [window for span in parts for window in range(span.start, span.stop)] == list(range(count))

    def test_a_span_needs_the_frames_of_its_windows_only(self) -> None:
        assert Span(2, 4).frames(1000) == (0, 34, *range(46, 98))

    def test_no_frames_make_no_window(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            window_count(0)


class TestFold:
    @pytest.mark.parametrize("frames", LENGTHS)
    def test_it_gives_what_the_formula_with_all_frames_in_memory_gives(self, frames: int) -> None:
        expected = all_in_memory(frames)
        assert np.abs(maps_of(frames) - expected).max() < 1e-5 * np.abs(expected).max()

    @pytest.mark.parametrize("alignment", ["anchored", "scale", "rma"])
    def test_a_true_scene_comes_back_up_to_the_first_windows_scale_and_shift(self, alignment: Alignment) -> None:
        maps = maps_of(200, alignment)
        ours, true = maps.ravel(), np.stack([truth(k) for k in range(200)]).ravel()
        scale, shift = np.polyfit(true, ours, 1)
        error = np.abs(ours - (scale * true + shift)).max() / ours.mean()
        assert error < (1e-5 if alignment != "scale" else 0.3)  # a scale alone cannot undo a shift

    def test_no_alignment_leaves_the_numbers_as_the_model_gave_them(self) -> None:
        maps = maps_of(70, "none")
        assert np.array_equal(maps[60], windows_of(70, 2)[60 - 44])

    def test_an_alignment_leaves_no_seam_and_the_record_shows_one_where_there_is_none(self) -> None:
        aligned = [record.seam for record in folded(300, noise=0.002).records if record.seam]  # type: ignore[attr-defined]
        naive = [record.seam for record in folded(300, "none", noise=0.002).records if record.seam]  # type: ignore[attr-defined]
        assert len(aligned) == len(naive) == window_count(300) - 1
        assert np.mean(aligned) <= 1.2
        assert np.mean(naive) > 2

    def test_maps_come_at_the_cameras_size(self) -> None:
        assert maps_of(40, size=(75, 101)).shape == (40, 75, 101)

    @pytest.mark.parametrize("alignment", ALIGNMENTS)
    @pytest.mark.parametrize("stop", [1, 4, 6])
    def test_a_fold_that_is_put_away_and_taken_up_again_gives_the_same_bytes(
        self, alignment: Alignment, stop: int
    ) -> None:
        expected = folded(150, alignment)
        file, first, second = io.BytesIO(), Fold(150, SIZE, alignment), Fold(150, SIZE, alignment)
        maps = [item for k in range(stop) for item in first.add(k, windows_of(150, k), "fp16")]
        np.savez(file, **first.state())
        maps_later = [item for k in range(stop, first.windows) for item in first.add(k, windows_of(150, k))]
        file.seek(0)
        second.restore(np.load(file))
        assert second.next == stop
        maps += [item for k in range(stop, second.windows) for item in second.add(k, windows_of(150, k))]
        assert [number for number, _ in maps] == list(range(150))
        theirs = expected.maps  # type: ignore[attr-defined]
        assert all(a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(maps, theirs, strict=True))
        assert maps_later[0][1].tobytes() == theirs[150 - len(maps_later)][1].tobytes()
        assert second.record == first.record

    def test_a_state_of_another_video_is_refused(self) -> None:
        with pytest.raises(ValueError, match="is of"):
            Fold(151, SIZE, "anchored").restore(Fold(150, SIZE, "anchored").state())

    def test_windows_out_of_order_or_half_taken_are_refused(self) -> None:
        fold = Fold(100, SIZE, "anchored")
        with pytest.raises(ValueError, match="was due"):
            fold.add(1, windows_of(100, 1))
        half = fold.add(0, windows_of(100, 0))
        next(half)
        with pytest.raises(ValueError, match="was due"):
            fold.add(0, windows_of(100, 0))
        with pytest.raises(ValueError, match="half taken"):
            fold.state()


class TestAlignment:
    SCENE = np.random.default_rng(5).uniform(1, 6, (2, 40, 50)).astype(np.float32)

    @pytest.mark.parametrize(("mode", "shift"), [("anchored", 0.7), ("rma", 0.7), ("scale", 0.0)])
    def test_it_undoes_a_scale_and_a_shift(self, mode: Alignment, shift: float) -> None:
        affine = fit(mode, self.SCENE, (1.7 * self.SCENE + shift).astype(np.float32))
        assert affine == pytest.approx((1.7, shift), abs=1e-5)

    def test_noise_shrinks_the_scale_of_least_squares_and_not_of_the_major_axis(self) -> None:
        noisy, other = (
            self.SCENE + np.random.default_rng(seed).normal(0, 1, self.SCENE.shape).astype(np.float32)
            for seed in (1, 2)
        )
        shrunk, kept = fit("anchored", noisy, other), fit("rma", noisy, other)
        assert shrunk is not None
        assert kept is not None
        assert shrunk.scale < 0.75
        assert kept.scale == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("mode", ["anchored", "rma", "scale"])
    @pytest.mark.parametrize("what", ["flat", "empty", "too large a scale"])
    def test_what_cannot_be_fitted_is_not(self, mode: Alignment, what: str) -> None:
        ours, theirs = self.SCENE, self.SCENE
        if what == "empty":
            ours = np.zeros_like(ours)
        elif what == "flat" and mode != "scale":
            ours = np.full_like(ours, 3)
        else:
            theirs = 7 * theirs
        assert fit(mode, ours, theirs) is None

    def test_a_window_that_cannot_be_fitted_keeps_the_affine_before_it_and_says_so(self) -> None:
        fold = Fold(100, SIZE, "anchored")
        records = []
        for window in range(fold.windows):
            maps = windows_of(100, window)
            list(fold.add(window, np.full_like(maps, 2) if window == 2 else maps, "fp16"))
            assert fold.record is not None
            records.append(fold.record)
        assert [record.kept for record in records] == [False, False, True, False, False]
        assert records[2].scale == records[1].scale
        assert {record.precision for record in records} == {"fp16"}

    def test_depth_is_never_negative(self) -> None:
        assert Affine(1, -2).apply(np.array([[1, 3]], np.float32)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("source", "target"), [((5, 7), (11, 16)), ((36, 48), (36, 48)), ((9, 8), (4, 20)), ((3, 3), (1, 1))]
)
def test_resizing_is_torchs_bilinear_corner_on_corner(source: tuple[int, int], target: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).random(source, np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.tensor(values)[None, None], target, mode="bilinear", align_corners=True
    )
    assert np.abs(Resize(source, target)(values) - theirs[0, 0].numpy()).max() < 1e-5
