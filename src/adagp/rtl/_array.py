"""The weight-stationary array of rows x cols processing elements (PEs)."""

from amaranth.hdl import Elaboratable, Module, Signal, signed


class PE(Elaboratable):
    """A processing element: one multiply-accumulate a cycle.

    The weight stays. The operand ``x`` is passed to the right and the sum downwards, each after one cycle. The product waits a
    cycle in a register of its own, in every PE alike, so the sums of the whole array come a cycle later. While ``load`` is high,
    weights move down by one PE a cycle.
    """

    def __init__(self, width: int, sum_width: int) -> None:
        self.load = Signal()
        self.weight_in = Signal(signed(width))
        self.x_in = Signal(signed(width))
        self.sum_in = Signal(signed(sum_width))
        # Data need no reset: the array's edge masks them until the first load.
        self.weight = Signal(signed(width), reset_less=True)
        self.x = Signal(signed(width), reset_less=True)
        self.product = Signal(signed(2 * width), reset_less=True)
        self.sum = Signal(signed(sum_width), reset_less=True)

    @property
    def ports(self) -> list[Signal]:
        return [self.load, self.weight_in, self.x_in, self.sum_in, self.weight, self.x, self.sum]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.load):
            m.d.sync += self.weight.eq(self.weight_in)
        m.d.sync += [self.x.eq(self.x_in), self.product.eq(self.weight * self.x_in)]
        m.d.sync += self.sum.eq(self.sum_in + self.product)
        return m


class Array(Elaboratable):
    """An array of rows x cols PEs.

    Row r takes ``x[r]`` from the left. Column c takes ``weights[c]`` from the top and gives ``sums[c]`` at the bottom.
    """

    def __init__(self, rows: int, cols: int, width: int, sum_width: int) -> None:
        self.rows, self.cols, self.width, self.sum_width = rows, cols, width, sum_width
        self.load = Signal()
        self.x = [Signal(signed(width), name=f"x{r}") for r in range(rows)]
        self.weights = [Signal(signed(width), name=f"weight{c}") for c in range(cols)]
        self.sums = [Signal(signed(sum_width), name=f"sum{c}") for c in range(cols)]

    @property
    def ports(self) -> list[Signal]:
        return [self.load, *self.x, *self.weights, *self.sums]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pes = [[PE(self.width, self.sum_width) for _ in range(self.cols)] for _ in range(self.rows)]
        for r, row in enumerate(pes):
            for c, pe in enumerate(row):
                m.submodules[f"pe_{r}_{c}"] = pe
                m.d.comb += [
                    pe.load.eq(self.load),
                    pe.x_in.eq(row[c - 1].x if c else self.x[r]),
                    pe.sum_in.eq(pes[r - 1][c].sum if r else 0),
                    pe.weight_in.eq(pes[r - 1][c].weight if r else self.weights[c]),
                ]
        m.d.comb += [total.eq(pes[-1][c].sum) for c, total in enumerate(self.sums)]
        return m
