"""Proof that the checks see: each holds of the package, and each of eight deliberate faults turns them red."""

import importlib
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader

import checks
import pytest

from adagp import accelerator as acc

CHECKS = (
    checks.tilings, checks.buffer_accesses, checks.weight_gradients, checks.predictors_optimizer, checks.second_array,
    checks.stages,
)  # fmt: skip

# Fault: module, the text that is right, the text that is wrong, and what sees it beside the goldens.
MUTANTS = {
    "no partial sums": ("_tiling", "2 * visits - 1", "visits", checks.tilings),
    "no halo": ("_tiling", "np.maximum(self.kernel_rows - self.stride, 0)", "0 * self.stride", checks.tilings),
    "no double buffering": ("_tiling", "2 if p == max(pace) >= 0 else 1", "1", checks.tilings),
    "free Adam": ("_costs", "adam = 4 * weights.max()", "adam = 0 * weights.max()", checks.predictors_optimizer),
    "unfolded buffer accesses": ("_counts", "m * k * fc + k * n + m", "m * k + k * n + m", checks.buffer_accesses),
    "dW sent to DRAM": ("_costs", "dram[:, WEIGHT_GRADIENT] -= table.learned", "pass", checks.weight_gradients),
    "MAX's predictor free": ("_time_line", "return float((done + after).max())", "return float(done[-1])", checks.second_array),
    "wrong pipeline cut": ("_pipeline_training", "np.maximum(best[:i], total[i] - total[:i])", "best[:i] + 0", checks.stages),
}


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
    module, right, wrong, check = MUTANTS[fault]
    with mutant(module, right, wrong) as faulty:
        with pytest.raises(AssertionError):
            check(faulty)
        with pytest.raises(AssertionError):
            checks.goldens(faulty, names=("vgg13 cifar10",))
    check(acc)


def test_the_mutants_machinery_changes_nothing_by_itself():
    with mutant("_tiling", "import numpy as np", "import numpy as np  # the same") as same:
        assert same is not acc
        checks.goldens(same, names=("vgg13 cifar10",))
