"""Runs in ZigZag's own environment: reads questions as JSON on standard input, prints its answers as JSON.

Input: {"mappings": [...], "searches": [...]}.

- A mapping has the loop sizes of a convolution, its stride, the temporal loops (innermost first) and how many of them, from the
  innermost, each operand's place in the buffer covers. Answer: words of I, W and O between DRAM and the buffer.
- A search has loop sizes, a stride and a buffer in words; ZigZag's mapper looks for the mapping with the fewest words over
  DRAM. Answer: these words.
"""

import contextlib
import io
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from zigzag.api import get_hardware_performance_zigzag
from zigzag.datatypes import LayerDim, LayerOperand
from zigzag.mapping.data_movement import DataMoveAttr
from zigzag.mapping.mapping import Mapping
from zigzag.mapping.temporal_mapping import TemporalMapping, TemporalMappingType
from zigzag.parser.accelerator_factory import AcceleratorFactory
from zigzag.parser.accelerator_validator import AcceleratorValidator
from zigzag.parser.mapping_validator import MappingValidator
from zigzag.parser.workload_factory import LayerNodeFactory
from zigzag.parser.workload_validator import WorkloadValidator

OPERANDS = ("I", "W", "O")


def memory(words: int, cost: float) -> dict:
    """One memory for all operands (innermost first in the accelerator); a word is 16 bits, ports are never the limit."""
    moves = {"I1": ("fh", "tl"), "I2": ("fh", "tl"), "O": ("fh", "tl", "fl", "th")}
    allocation = [f"{operand}, {move}" for operand, found in moves.items() for move in found]
    port = {"name": "rw_port_1", "type": "read_write", "bandwidth_min": 16, "bandwidth_max": 16, "allocation": allocation}
    return {
        "size": 16 * words, "r_cost": cost, "w_cost": cost, "area": 0, "latency": 1, "operands": ["I1", "I2", "O"],
        "ports": [port], "served_dimensions": ["D1"],
    }  # fmt: skip


def accelerator(buffer_words: int) -> dict:
    """One PE, a buffer and DRAM; only DRAM costs anything, so the cheapest mapping is the one with the fewest words there."""
    return {
        "name": "bench",
        "memories": {"buffer": memory(buffer_words, 0.0), "dram": memory(2**50, 1.0)},
        "operational_array": {"unit_energy": 0, "unit_area": 0, "dimensions": ["D1"], "sizes": [1]},
    }


def layer(question: dict) -> dict:
    sizes, stride = question["sizes"], question["stride"]
    return {
        "id": 0, "name": "layer", "operator_type": "Conv", "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": [f"iy={stride}*oy+1*fy", f"ix={stride}*ox+1*fx"],
        "loop_dims": list(sizes), "loop_sizes": list(sizes.values()),
        "operand_precision": {"O": 16, "O_final": 16, "W": 16, "I": 16}, "operand_source": {"W": 0, "I": 0},
    }  # fmt: skip


LINKS = [{"name": "default", "spatial_mapping": {"D1": ["K, 1"]}, "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"}}]


def cost(question: dict) -> list[int]:
    """Words of I, W and O of a given mapping."""
    node = LayerNodeFactory(
        WorkloadValidator([layer(question)]).normalized_data[0], MappingValidator(LINKS).normalized_data
    ).create()
    core = AcceleratorFactory(AcceleratorValidator(accelerator(2**40)).normalized_data).create()
    loops = [(LayerDim(dim), size) for dim, size in question["loops"]]
    split = {LayerOperand(o): [loops[: question["inside"][o]], loops[question["inside"][o] :]] for o in OPERANDS}
    temporal = TemporalMapping(split, node, TemporalMappingType.UNEVEN)
    spatial = {LayerOperand(o): [[], [], []] for o in OPERANDS}
    mapping = Mapping(core, spatial, temporal, node, access_same_data_considered_as_no_access=True)
    return [words_over_dram(mapping, o) for o in OPERANDS]


def words_over_dram(mapping: Mapping, operand: str) -> int:
    """What the upper memory of an operand exchanges with the lower one."""
    moves = mapping.unit_mem_data_movement[LayerOperand(operand)][1]
    amount = moves.get_attribute(DataMoveAttr.DATA_TRANS_AMOUNT_PER_PERIOD)
    count = moves.get_attribute(DataMoveAttr.DATA_TRANS_PERIOD_COUNT)
    return int(sum(amount.get(direction) * count.get(direction) for direction in amount.data))


def search(question: dict) -> list[int]:
    """Words of I, W and O of the best mapping that ZigZag finds."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.yaml" for name in ("accelerator", "mapping", "workload")}
        paths["accelerator"].write_text(yaml.safe_dump(accelerator(question["buffer_words"])))
        paths["mapping"].write_text(yaml.safe_dump(LINKS))
        paths["workload"].write_text(yaml.safe_dump([layer(question)]))
        *_, evaluations = get_hardware_performance_zigzag(
            str(paths["workload"]), str(paths["accelerator"]), str(paths["mapping"]), opt="energy", lpf_limit=7,
            nb_spatial_mappings_generated=1, loma_show_progress_bar=False, dump_folder=str(Path(folder) / "out"),
        )  # fmt: skip
    evaluation = evaluations[0][1][0][0] if isinstance(evaluations[0][1], list) else evaluations[0][0]
    return [words_over_dram(evaluation.mapping, operand) for operand in OPERANDS]


def main() -> None:
    questions = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    answers = {"mappings": [], "searches": []}
    for kind, answer in (("mappings", cost), ("searches", search)):
        for number, question in enumerate(questions[kind], 1):
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                words = answer(question)
            answers[kind].append({"words": words, "seconds": time.perf_counter() - start})
            if kind == "searches" or number % 100 == 0:
                print(f"{kind}: {number} of {len(questions[kind])}", file=sys.stderr, flush=True)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
