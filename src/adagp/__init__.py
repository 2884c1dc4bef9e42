"""ADA-GP: training deep networks with predicted gradients, and the accelerator that profits from it.

``import adagp`` brings the training engine; torchvision, pandas and matplotlib are imported only where they are used.
"""

__version__ = "0.1.0"
