"""Loss terms and the combinators over them."""
