"""A plan as pure functions: Program(init, step, enter, evaluate, encode), its state, optimizer and devices."""
