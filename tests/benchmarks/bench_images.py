"""Pictures a second of the pipeline and of a plain Pillow loop, as ratios: python -m tests.benchmarks.bench_images

JPEG, PNG and WebP of 640 × 480 and of 2000 × 1500 pixels to 224 × 224, as CLIP's processor does. The loop opens,
converts, resizes and crops, with none of the checks. The forms take turns; the best round of each counts. ``threads_2``: pictures a second by two threads over
those of the loop; ``work_2``: processor time over that of the loop, which a busy machine changes less.
No test: times depend on the machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from specrun.runtime.images.cache import image_cache, image_digests
from specrun.runtime.images.decode import decode_all
from specrun.runtime.images.processor import read_processor
from specrun.spec.plan.images import ImageProcessor
from tests.runtime.images.pictures import noise, saved

PICTURES = 60
ROUNDS = 3
LIMIT = 100_000_000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = '{"image_processor_type": "CLIPImageProcessor"}'
        (folder / "preprocessor_config.json").write_text(config)
        processor = read_processor(folder)
        for height, width in ((480, 640), (1500, 2000)):
            for kind in ("JPEG", "PNG", "WebP"):
                paths = _write(folder, height, width, kind)
                taken = _measure(paths, processor)
                wall, work = taken.pop("plain")
                row = {"pictures": f"{kind} {width}x{height}", "plain_per_s": len(paths) / wall}
                row |= {f"threads_{form}": wall / mine for form, (mine, _) in taken.items()}
                row |= {f"work_{form}": mine / work for form, (_, mine) in taken.items()}
                print(json.dumps({k: _short(v) for k, v in row.items()}))
        _cached(paths, processor)


def _write(folder: Path, height: int, width: int, kind: str) -> list[str]:
    paths = []
    for seed in range(PICTURES // 10 if height > 1000 else PICTURES):
        paths.append(folder / f"{seed}.{kind}.{height}")
        paths[-1].write_bytes(saved(noise(height, width, seed=seed), kind))
    return list(map(str, paths))


def _measure(paths: list[str], processor: ImageProcessor) -> dict[str, tuple[float, float]]:
    """Least seconds of each form over all pictures, on the clock and of the processors."""

    def threads(count: int) -> Callable[[], list[np.ndarray]]:
        return lambda: list(decode_all(paths, processor, LIMIT, count))  # type: ignore[misc]

    forms = {"plain": lambda: list(map(_plain, paths)), "1": threads(1), "2": threads(2)}
    taken: dict[str, list[tuple[float, float]]] = {form: [] for form in forms}
    for _ in range(ROUNDS):
        outputs = []
        for form, run in forms.items():
            begun, worked = time.perf_counter(), time.process_time()
            outputs.append(run())
            taken[form].append((time.perf_counter() - begun, time.process_time() - worked))
        assert all(
            np.array_equal(a, b) for one in outputs for a, b in zip(one, outputs[0], strict=True)
        )
    return {form: (min(w for w, _ in t), min(p for _, p in t)) for form, t in taken.items()}


def _plain(path: str) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    scale = 224 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.array(image.crop((left, top, left + 224, top + 224)))


def _cached(paths: list[str], processor: ImageProcessor) -> None:
    """Pictures a second out of the array, in random rows."""
    images = image_cache(paths, image_digests(paths, LIMIT, 2), processor, LIMIT, 2)  # type: ignore[arg-type]
    rows = np.random.default_rng(0).integers(0, len(images), 256)
    begun = time.perf_counter()
    for _ in range(20):
        images.gather(rows)
    print(json.dumps({"from_the_array_per_s": _short(20 * 256 / (time.perf_counter() - begun))}))


def _short(value: object) -> object:
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
