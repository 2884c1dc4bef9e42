"""Second half of ``make validate``: DRAM traffic of the forward pass beside ZigZag, which another group wrote.

1. The same mapping costed by both: random tilings that divide their layers, in every order of the loops. Words of X, W and Y
   must be equal; ZigZag counts a partial sum's visits f as 2f moves, we as 2f - 1 (there is nothing to read before the
   first), so Y's own words are taken off its figure where f > 1.
2. The best mapping of both with the same buffer, as a bracket: ours gives each tensor that streams two places, ZigZag one,
   so our search is run with twice the buffer, too. ZigZag tiles columns and kernels as well, but only by divisors.

ZigZag is installed into .venv-zigzag (validation/requirements-zigzag.txt). The comparison is written to
artifact/recorded/validation_zigzag.json.
"""

import json
import random
import subprocess
import sys
from math import prod
from pathlib import Path

from environments import interpreter

from adagp import accelerator as acc
from adagp.running import write_recorded

ROOT = Path(__file__).resolve().parents[1]
CASES = 200
BUFFER_WORDS = 55_296  # the default preset's
# Small and large maps, windows and batches: where halos, weights or outputs decide.
SEARCHED = (
    ("vgg13", ("features.3", "features.10", "features.17", "features.24", "classifier.3")),
    ("resnet50", ("layer1.0.conv2", "layer1.0.conv3", "layer3.0.conv2", "layer4.0.downsample.0")),
    ("densenet121", ("features.conv0", "features.denseblock2.denselayer1.conv2", "features.transition1.conv")),
)


def shape(batch: int, ci: int, co: int, rows: int, cols: int, kernel: int, stride: int) -> acc.LayerShape:
    """A convolution without padding."""
    return acc.LayerShape(
        name="x", kind="conv", batch=batch, in_channels=ci, out_channels=co, out_size=(rows, cols),
        in_size=((rows - 1) * stride + kernel, (cols - 1) * stride + kernel), kernel=(kernel,) * 2, stride=(stride,) * 2,
    )  # fmt: skip


def sizes(x: acc.LayerShape) -> dict[str, int]:
    return {
        "B": x.batch, "K": x.out_channels, "C": x.in_channels, "OY": x.out_size[0], "OX": x.out_size[1],
        "FY": x.kernel[0], "FX": x.kernel[1],
    }  # fmt: skip


def random_case(draw: random.Random) -> tuple[dict, list[int], dict]:
    """A question for ZigZag, our answer, and what it is about. Every loop has at least two turns."""
    turns = {loop: draw.choice((2, 3, 4)) for loop in acc.LOOPS}
    tile = {"n": draw.choice((1, 2, 3, 4)), "c": draw.choice((1, 2, 3, 4))}
    by_rows = draw.random() < 0.5
    batch, images, rows = draw.choice((2, 3)), draw.choice((1, 2)), draw.choice((2, 3, 4))
    if by_rows:
        images, out_rows = 1, rows * turns["m"]
    else:
        batch, out_rows = images * turns["m"], rows
    kernel = draw.choice((1, 2, 3))
    x = shape(
        batch, tile["c"] * turns["c"], tile["n"] * turns["n"], out_rows, draw.choice((2, 3)), kernel, draw.choice((1, kernel))
    )
    order = draw.sample(acc.LOOPS, 3)
    inside = {tensor: order[order.index(still) + 1 :] for tensor, still in acc.STILL.items()}
    covered = {tensor: "".join(loops) if draw.random() < 0.5 else "" for tensor, loops in inside.items()}

    own = {"FX": kernel, "FY": kernel, "OX": x.out_size[1], "OY": rows, "B": images, "C": tile["c"], "K": tile["n"]}
    loops = [[dim, size] for dim, size in own.items() if size > 1]
    held = dict.fromkeys(covered, len(loops))
    for loop in reversed(order):
        found = {"n": [["K", turns["n"]]], "c": [["C", turns["c"]]], "m": [["B", turns["m"]]]}[loop]
        if loop == "m" and by_rows:
            found = [["OY", turns["m"]], ["B", batch]]
        loops += found
        for tensor, loops_held in covered.items():
            if loop in loops_held:
                held[tensor] = len(loops)
    question = {
        "sizes": sizes(x), "stride": x.stride[0], "loops": loops,
        "inside": dict(zip("IWO", (held[t] for t in "XWY"), strict=True)),
    }  # fmt: skip
    about = {"order": "".join(order), "covered": covered, "by_rows": by_rows}
    size = tile["n"], tile["c"], images, rows if by_rows else out_rows
    return question, acc.tiling_words(x, about["order"], tuple(covered[t] for t in "XWY"), size), about


def searched() -> list[tuple[str, acc.LayerShape]]:
    found = []
    for name, layers in SEARCHED:
        work = {layer.name: layer for layer in acc.workload(name, dataset="cifar10", batch=8).layers}
        for layer in layers:
            x = work[layer]
            found.append(
                (f"{name} {layer}", shape(x.batch, x.in_channels, x.out_channels, *x.out_size, x.kernel[0], x.stride[0]))
            )
    return found


def best(x: acc.LayerShape, words: int) -> list[int]:
    chip = acc.Hardware(rows=1, cols=1, buffer_bytes=2 * words)
    return [int(w) for w in acc.dram_traffic([x], chip).words[0, 0]]


def without_first_reads(answer: list[int], x_sizes: dict[str, int]) -> list[int]:
    """ZigZag's words, with our way to count partial sums."""
    outputs = prod(x_sizes[dim] for dim in ("B", "K", "OY", "OX"))
    return [*answer[:2], answer[2] - outputs if answer[2] > outputs else answer[2]]


def main() -> int:
    draw = random.Random(0)
    cases, layers = [random_case(draw) for _ in range(CASES)], searched()
    questions = {
        "mappings": [question for question, _, _ in cases],
        "searches": [{"sizes": sizes(x), "stride": x.stride[0], "buffer_words": BUFFER_WORDS} for _, x in layers],
    }
    answer = subprocess.run(
        [str(interpreter("zigzag")), str(ROOT / "validation" / "cost_mappings.py")],
        input=json.dumps(questions), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    theirs = json.loads(answer.stdout)
    mappings = [
        {**about, "sizes": question["sizes"], "model": ours, "zigzag": without_first_reads(found["words"], question["sizes"])}
        for (question, ours, about), found in zip(cases, theirs["mappings"], strict=True)
    ]
    searches = [
        {
            "layer": name, "sizes": sizes(x), "stride": x.stride[0], "model": best(x, BUFFER_WORDS),
            "model_twice_the_buffer": best(x, 2 * BUFFER_WORDS),
            "zigzag": without_first_reads(found["words"], sizes(x)), "zigzag_seconds": round(found["seconds"], 1),
        }
        for (name, x), found in zip(layers, theirs["searches"], strict=True)
    ]  # fmt: skip
    record = {
        "zigzag": "3.9.1",
        "buffer_words": BUFFER_WORDS,
        "mappings": mappings,
        "searches": searches,
    }
    write_recorded("validation_zigzag.json", record)
    equal = sum(case["model"] == case["zigzag"] for case in mappings)
    print(f"{equal} of {len(mappings)} mappings cost the same words of X, W and Y in ZigZag")
    for row in searches:
        ours, twice = (sum(row[key]) / sum(row["zigzag"]) for key in ("model", "model_twice_the_buffer"))
        print(f"{row['layer']}: {ours:.3f} of ZigZag's words; {twice:.3f} with twice the buffer")
    return 0 if equal == len(mappings) else 1


if __name__ == "__main__":
    sys.exit(main())
