"""Measure how far predictions follow the true gradients of single samples; writes artifact/recorded/correlations-MODEL.json.

A thin network is trained on 10,000 images of CIFAR-10 ($ADAGP_DATA/cifar10) for each seed while the predictors learn: about
two minutes a seed of VGG13 on one core, a quarter of an hour of ResNet-50. Seeds that are there are not measured again.
"""

import argparse
import sys
from functools import partial

from adagp import measuring

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="vgg13", help="a network without grouped convolutions")
    options = parser.parse_args()
    measuring.record_correlations(options.model, seeds=options.seeds, report=partial(print, file=sys.stderr, flush=True))
