"""A program of training run step by step on memories of numpy, word by word as the blocks do: between golden model and RTL."""

import numpy as np

from adagp.rtl import golden
from adagp.rtl._gemm import COUNT
from adagp.rtl._host import REGIONS
from adagp.rtl._move import LOOPS, MASK, SUBTRACT, TARGETS
from adagp.rtl._sequencer import BP, GP
from adagp.rtl._train_golden import output_error, residual_of
from adagp.rtl._train_program import step_words
from adagp.rtl._train_run import load_training
from adagp.rtl._trainer import TRAIN_UNITS

GARBAGE = 12345
"""What memories hold that nobody has written."""


def fields_of(step):
    """A step's job as the block reads it from the program memory."""
    return dict(zip(TRAIN_UNITS[step.unit], step_words(step)[3:], strict=True))


def signed(value):
    return (value + (1 << (COUNT - 1))) % (1 << COUNT) - (1 << (COUNT - 1))


def walk(job, rows, cols):
    """Yield (first, second, target, outside, opens, closes) of a movement's words; an address is (bank, word)."""
    counts = [job[f"count{loop}"] for loop in range(LOOPS)]
    index = [0] * LOOPS
    names = {"first": [("first_bank", "first_fold", cols)], "second": [("second_bank", "second_fold", cols)],
             "to": [("to_col", "to_col_fold", cols), ("to_row", "to_row_fold", rows)]}  # fmt: skip
    word = {name: job[name] for name in names}
    bank = {field: 0 for kinds in names.values() for field, _, _ in kinds}
    y, x = signed(job["y"]), signed(job["x"])
    while True:
        window = range(job["window"])
        outside = not (0 <= y < job["height"] and 0 <= x < job["width"])
        opens, closes = all(index[i] == 0 for i in window), all(index[i] == counts[i] - 1 for i in window)
        target = {
            "input": (bank["to_row"], word["to"]), "output": (bank["to_col"], word["to"]),
            "weight": (bank["to_col"], (word["to"] + rows - 1 - bank["to_row"]) % (1 << COUNT)),
        }[TARGETS[job["target"]]]  # fmt: skip
        yield (bank["first_bank"], word["first"]), (bank["second_bank"], word["second"]), target, outside, opens, closes
        level = next((loop for loop in range(LOOPS) if index[loop] < counts[loop] - 1), None)
        if level is None:
            return
        index[level] += 1
        index[:level] = [0] * level
        for name, kinds in names.items():
            word[name] += job[f"{name}{level}"]
            for field, fold, number in kinds:
                bank[field] += job[f"{field}{level}"]
                if bank[field] >= number:
                    bank[field] -= number
                    word[name] += job[fold]
            word[name] %= 1 << COUNT
        y, x = signed(y + job[f"y{level}"]), signed(x + job[f"x{level}"])


def moved(job, rows, cols, output, master, width=16):
    """What a movement writes, {(bank, word): value}; ``output`` and ``master`` read an address."""
    written, total = {}, 0
    for first, second, target, outside, opens, closes in walk(job, rows, cols):
        if job["pair"] == MASK:
            value = output(second) if output(first) > 0 else 0
        elif job["pair"] == SUBTRACT:
            words = np.array(output(first)), np.array(output(second))
            value = int(residual_of(*words, job["first_shift"], job["second_shift"], width))
        else:
            word = 0 if outside else master(first[1]) if job["master"] else output(first)
            value = max(word, 0) if job["rectify"] else word
        total = value if opens else total + value
        if closes:
            written[target] = total if job["wide"] else int(golden.narrow(np.array(total), job["shift"], width))
    return written


class Interpreter:
    """The memories after the host's ``load_training``, and what each step does to them."""

    def __init__(self, program):
        self.program, s, plan = program, program.sizes, program.plan
        states = sum(one.master.size for one in plan.parameters.values())
        bank = {"input": (s.rows, s.input_depth), "weight": (s.cols, s.weight_depth), "bias": (s.cols, s.bias_depth),
                "output": (s.cols, s.output_depth), "average": (s.cols, s.average_depth), "master": (1, states),
                "velocity": (1, states)}  # fmt: skip
        self.memory = {name: np.full(shape, GARBAGE, np.int64) for name, shape in bank.items()}
        self.tables = {program.tables[layer.out_size]: plan.table(layer)[0] for layer in plan.layers}
        for _, address, value in load_training(program).steps:
            region = REGIONS[address >> 28]
            if region in self.memory:
                self.memory[region][address >> 20 & 255, address & ((1 << 20) - 1)] = value

    def batch(self, images, labels):
        """Run a batch, of Phase GP without ``labels``; the logits."""
        program, plan, grid = self.program, self.program.plan, self.program.images
        for b, c, y, x in np.ndindex(images.shape):
            self._set(grid, b * images[0, 0].size + y * images.shape[3] + x, c, images[b, c, y, x])
        last, found = plan.layers[-1].outputs, None
        for step in program.steps:
            if not step.phases & (GP if labels is None else BP):
                continue
            if step.unit == "host":
                rows = range(plan.batch)
                found = np.array([[self._get(program.outputs[-1], i, j) for j in range(last)] for i in rows])
                error = output_error(plan, found, labels)
                for i, j in np.ndindex(error.shape):
                    self._set(program.errors[-1], i, j, error[i, j])
            elif step.unit != "end":
                getattr(self, step.unit)(fields_of(step))
        return found

    def _place(self, grid, i, j):
        return j % self.program.cols, grid.base + j // self.program.cols * grid.height + i

    def _get(self, grid, i, j):
        return self.memory["output"][self._place(grid, i, j)]

    def _set(self, grid, i, j, value):
        self.memory["output"][self._place(grid, i, j)] = value

    def state(self, kind, name):
        one = self.program.plan.parameters[name].master
        at = self.program.states[name]
        return self.memory[kind][0, at : at + one.size].reshape(one.shape)

    def move(self, job):
        output, master = self.memory["output"], self.memory["master"][0]
        found = moved(job, self.program.rows, self.program.cols, lambda at: int(output[at]), lambda at: int(master[at]))
        for at, value in found.items():
            self.memory[TARGETS[job["target"]]][at] = value

    def gemm(self, job):
        rows, cols, memory, folds = self.program.rows, self.program.cols, self.memory, job["row_folds"]
        m, k = job["M"], (folds - 1) * rows + job["last_rows"]
        n = (job["col_folds"] - 1) * cols + job["last_cols"]
        a = np.array([[memory["input"][r % rows, job["input_base"] + r // rows * m + i] for r in range(k)] for i in range(m)])
        words = [[job["weight_base"] + (j // cols * folds + r // rows) * rows + rows - 1 - r % rows for j in range(n)]
                 for r in range(k)]  # fmt: skip
        b = np.array([[memory["weight"][j % cols, word] for j, word in enumerate(row)] for row in words])
        bias = np.array([memory["bias"][j % cols, job["bias_base"] + j // cols] for j in range(n)])
        found = a @ b + bias
        for i, j in np.ndindex(found.shape):
            memory["output"][j % cols, job["output_base"] + j // cols * m + i] = found[i, j]
        if job["period"]:
            for i, j in np.ndindex(job["period"], n):
                at = job["average_base"] + j // cols * job["period"] + i
                memory["average"][j % cols, at] = found[i :: job["period"], j].sum()

    def pool(self, job):
        cols, memory, plan = self.program.cols, self.memory, self.program.plan
        positions, channels = job["positions"], job["channels"]
        sums = np.array([[memory["average"][c % cols, job["sums"] + c // cols * positions + p] for c in range(channels)]
                         for p in range(positions)])  # fmt: skip
        size = positions // job["width"], job["width"]
        found = golden.pool(sums, size, self.tables[job["bins"]], job["mean_shift"], job["shift"], plan.widths)
        memory["output"][0, job["target"] : job["target"] + found.size] = found.ravel()

    def update(self, job):
        rows, cols, memory, w = self.program.rows, self.program.cols, self.memory, self.program.plan.widths
        n, k = job["outputs"], job["row"]
        at = slice(job["state"], job["state"] + n * k)

        def sums(i, j):
            bank, word = (i % cols, i // cols * k + j) if job["true"] else (j % cols, j // cols * n + i)
            return memory["output"][bank, job["prediction"] + word]

        gradient = np.array([[sums(i, j) for j in range(k)] for i in range(n)])
        if job["true"]:
            gradient = golden.narrow(gradient, job["prediction_shift"], w.state)
        else:
            raw = golden.narrow(gradient, job["prediction_shift"], w.operand)
            gradient = golden.narrow(raw * job["scale"], job["scale_shift"], w.state)
        master, velocity, weight = golden.sgd(
            memory["master"][0, at].reshape(n, k), memory["velocity"][0, at].reshape(n, k), gradient, momentum=job["momentum"],
            decay=job["decay"], decay_shift=job["decay_shift"], rate=job["rate"], rate_shift=job["rate_shift"], widths=w,
        )  # fmt: skip
        memory["master"][0, at], memory["velocity"][0, at] = master.ravel(), velocity.ravel()
        for i, j in np.ndindex(n, k):
            word = job["weight"] + i // cols * job["fold_words"] + j // rows * rows + rows - 1 - j % rows
            if job["bias"]:
                memory["bias"][i % cols, word % (1 << COUNT)] = master[i, j] << job["up"]
            else:
                memory["weight"][i % cols, word] = weight[i, j]
