"""Makes a picture look like a photo of it: tilted on a ground, in uneven light, a little blurred."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageFilter

from router.negatives.sketch import Sketch


def photographed(s: Sketch) -> PIL.Image.Image:
    """The sketch's picture as if photographed by hand. Pixels near the corners may be cut off."""
    ground = Sketch(str(s.rng.random()), [s.size])
    low, high = np.array(s.colour((0, 0.6), (0.1, 0.6))), np.array(s.colour((0, 0.6), (0.3, 0.9)))
    ground.put(low + ground.smooth_field(s.count(2, 30))[..., None] * (high - low))
    scale = s.between(0.75, 1.05)
    small = s.image.resize((int(ground.size[0] * scale), int(ground.size[1] * scale)))
    mask = PIL.Image.new("L", small.size, 255)
    angle = s.between(-12, 12)
    small, mask = (each.rotate(angle, PIL.Image.Resampling.BICUBIC, expand=True) for each in (small, mask))
    ground.image.paste(
        small, ((ground.size[0] - small.width) // 2, (ground.size[1] - small.height) // 2), mask
    )
    light = s.between(0.5, 1) + s.between(0.1, 0.5) * ground.smooth_field(2)[..., None]
    noise = s.noise.normal(0, s.between(1, 6), (*ground.size[::-1], 1))
    ground.put(np.asarray(ground.image) * light + noise)
    return ground.image.filter(PIL.ImageFilter.GaussianBlur(s.between(0, 1.5)))
