"""Hardware built from sources in which one expression is replaced, to see that tests catch the fault."""

import importlib
import inspect
import sys
import types

MODULES = ("_sizes", "_fixed", "_array", "_host", "_memory", "_layout", "_gemm", "_pool", "_unfold", "_update", "_sequencer")


def mutant(module, old, new, more=()):
    """{module: the module} of ``MODULES`` and ``more``, with ``old`` replaced by ``new`` in ``module``."""
    package = types.ModuleType("adagp_rtl_mutant")
    package.__path__ = []
    found = {}
    for name in (*MODULES, *more):
        source = inspect.getsource(importlib.import_module(f"adagp.rtl.{name}"))
        if name == module:
            assert source.count(old) == 1, f"{old} is no longer in {name}: adapt the fault"
            source = source.replace(old, new)
        for other in found:
            source = source.replace(f"from .{other} import", f"from adagp_rtl_mutant.{other} import")
        source = source.replace("from ..", "from adagp.").replace("from ._", "from adagp.rtl._")
        made = types.ModuleType(f"adagp_rtl_mutant.{name}")
        sys.modules[made.__name__] = made
        exec(compile(source, made.__name__, "exec"), made.__dict__)
        found[name] = made
    for made in found.values():
        del sys.modules[made.__name__]
    return found
