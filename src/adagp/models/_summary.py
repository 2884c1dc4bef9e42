"""Counts of a model's parameters and layers, for the book's Table 1."""

from functools import cache

from ._zoo import create


@cache
def summary(name: str, dataset: str = "imagenet") -> dict[str, int]:
    """Return counts of a full-width model, made on the meta device. (Its work in MACs: ``accelerator.workload``.)

    Returns:
        parameters; predicted_layers and predicted_weights; largest_row (in_ch/groups * kernel area of the largest layer);
        predictor_parameters with tensor reorganization, and predictor_parameters_flat without. The latter has one
        output for every weight of the largest layer, the former one for every weight of the longest row.
    """
    import torch

    from ..predictors import Layer, PredictorSize, layer_types

    with torch.device("meta"):
        model = create(name, dataset)
    layers = [
        Layer(name=name, module=module, index=0, kind=kind)
        for name, module in model.named_modules()
        for kind in layer_types(module)
    ]
    predictor = PredictorSize()
    row = max(layer.shape[1] for layer in layers)
    largest = max(layer.weight.numel() for layer in layers)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "predicted_layers": len(layers),
        "predicted_weights": sum(layer.weight.numel() for layer in layers),
        "largest_row": row,
        "predictor_parameters": predictor.parameters(row),
        "predictor_parameters_flat": predictor.parameters(largest),
    }
