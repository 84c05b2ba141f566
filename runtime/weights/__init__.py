"""Reading and writing of weights files: checked headers, one table of names, nothing executed."""
