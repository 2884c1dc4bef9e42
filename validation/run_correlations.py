"""Measure how far predictions follow the true gradients of single samples; writes artifact/recorded/correlations.json.

A thin VGG13 is trained on 10,000 images of CIFAR-10 ($ADAGP_DATA/cifar10) for each seed while the predictors learn: about
two minutes a seed on one core.
"""

import argparse
import sys

from adagp import evidence

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    evidence.record_correlations(seeds=parser.parse_args().seeds, report=lambda line: print(line, file=sys.stderr, flush=True))
