"""Proof that the checks see: each holds of the package, and each of these deliberate faults turns them red."""

import importlib
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader

import checks
import pytest

from adagp import accelerator as acc

CHECKS = (
    checks.tilings, checks.buffer_accesses, checks.weight_gradients, checks.pooled_maps, checks.prices,
    checks.predictors_optimizer, checks.second_array, checks.stages,
)  # fmt: skip


def goldens(acc):
    checks.goldens(acc, names=("vgg13 cifar10",))


# Fault: module, the text that is right, the text that is wrong, and what sees it.
MUTANTS = {
    "no partial sums": ("_tiling", "2 * visits - 1", "visits", checks.tilings, goldens),
    "no halo": ("_tiling", "np.maximum(reach - p.row_step, 0)", "0 * reach", checks.tilings, goldens),
    "no double buffering": ("_tiling", "2 if p == max(pace) >= 0 else 1", "1", checks.tilings, goldens),
    "free Adam": ("_costs", "dram=4 * own + 2 * np", "dram=2 * np", checks.predictors_optimizer, goldens),
    "unfolded buffer accesses": (
        "_counts", "m * k * col_folds + k * n + m", "m * k + k * n + m", checks.buffer_accesses, goldens,
    ),
    "dW sent to DRAM": (
        "_costs", "table.column(\"sums_gradient\") - weights", "table.column(\"sums_gradient\")",
        checks.weight_gradients, goldens,
    ),
    "MAX's predictor free": ("_designs", "float((done + after).max())", "float(done[-1])", checks.second_array, goldens),
    "wrong pipeline cut": (
        "_pipeline_training", "np.maximum(best[:i], total[i] - total[:i])", "best[:i] + 0", checks.stages, goldens,
    ),
    "a column fold too many": ("_counts", "-(-spatial[1] // cols)", "spatial[1] // cols + 1", checks.buffer_accesses),
    "the first layer's input gradient": (
        "_layer", "        if not self.input_grad:\n            return []\n", "", checks.predictors_optimizer, goldens,
    ),
    "momentum not written back": ("_costs", "dram=4 * weights", "dram=3 * weights", checks.weight_gradients),
    "pooled maps of another batch": (
        "_workload", "layer.handed_on // batch * new", "layer.handed_on", checks.pooled_maps,
    ),
    "registers at the network's price": (
        "_hardware", '"rf": "registers", "noc": "between PEs"', '"noc": "between PEs", "rf": "registers"', checks.prices,
    ),
    "a true gradient never written": (
        "_costs", "dram=2 * weights[at]", "dram=weights[at]", checks.predictors_optimizer, goldens,
    ),
    "a memory channel for each array": ("_designs", "max(cycles, sum(", "max(cycles, 0 * sum(", checks.second_array),
    "an update before its prediction": (
        "_designs", "np.where(applied, 0.0, update)", "np.where(backward | ~applied, update, 0.0)", checks.second_array,
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_holds(check):
    check(acc)


def test_no_component_of_any_workload_has_moved():
    checks.goldens(acc)


@contextmanager
def mutant(module, right, wrong):
    """The package with one text exchanged, loaded anew beside nothing else."""
    name = f"adagp.accelerator.{module}"

    class Loader(SourceFileLoader):
        def get_code(self, fullname):
            source = self.get_data(self.path).decode()
            assert source.count(right) >= 1, f"{right!r} is no longer in {module}; the fault must be planted elsewhere"
            return compile(source.replace(right, wrong), self.path, "exec")

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname, path=None, target=None):
            spec = super().find_spec(fullname, path, target) if fullname == name else None
            if spec:
                spec.loader = Loader(spec.loader.name, spec.loader.path)
            return spec

    import adagp

    own = {key: sys.modules.pop(key) for key in list(sys.modules) if f"{key}.".startswith("adagp.accelerator.")}
    sys.meta_path.insert(0, Finder)
    try:
        yield importlib.import_module("adagp.accelerator")
    finally:
        sys.meta_path.remove(Finder)
        for key in [key for key in sys.modules if f"{key}.".startswith("adagp.accelerator.")]:
            del sys.modules[key]
        sys.modules.update(own)
        adagp.accelerator = own["adagp.accelerator"]


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_planted_fault_is_seen(fault):
    module, right, wrong, *seen_by = MUTANTS[fault]
    with mutant(module, right, wrong) as faulty:
        for check in seen_by:
            with pytest.raises(AssertionError):
                check(faulty)


def test_the_mutants_machinery_changes_nothing_by_itself():
    with mutant("_tiling", "import numpy as np", "import numpy as np  # the same") as same:
        assert same is not acc
        goldens(same)
