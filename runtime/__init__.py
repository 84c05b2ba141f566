"""Plan to numbers: models, losses, data, the loop, checkpoints and the predictor."""
