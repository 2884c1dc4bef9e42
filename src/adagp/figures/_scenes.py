"""Images of a data set for detection, with the boxes of their objects."""

from typing import TYPE_CHECKING

import numpy as np

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..data import Dataset


@style.drawing
def scenes(dataset: "Dataset", count: int = 6) -> tuple["Figure", "pd.DataFrame"]:
    """The first test images with the box and class of each object.

    Returns:
        The drawing, and its boxes: image, class, left, top, right and bottom in pixels.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.patches import Rectangle

    split, rows = dataset.split("test"), []
    images = split.images[np.arange(min(count, len(split)))]
    with style.use():
        wide = style.columns(len(images), 3)
        figure, panels = plt.subplots(-(-len(images) // wide), wide, figsize=style.size(7.4, 1.5, 2.9), squeeze=False)
        for number, axes in enumerate(panels.flat):
            axes.set_axis_off()
            if number >= len(images):
                continue
            axes.imshow(images[number].transpose(1, 2, 0))
            side = images.shape[2]
            for kind, *edges, _ in split.labels[number][split.labels[number][:, 0] >= 0].tolist():
                left, top, right, bottom = (edge * side for edge in edges)
                name = dataset.classes[int(kind)]
                axes.add_patch(
                    Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=style.ORANGE)
                )
                axes.text(right, top, name, color=style.SKY, va="top", fontsize=9)
                rows.append((number, name, left, top, right, bottom))
    plt.close(figure)
    return figure, pd.DataFrame(rows, columns=["image", "class", "left", "top", "right", "bottom"])
