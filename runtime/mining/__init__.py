"""Hard negatives: the nearest texts that are no answers, found with the weights as they stand."""
