"""Pictures from files to arrays of bytes: decoding, the model's own processor, the cache of pixels."""
