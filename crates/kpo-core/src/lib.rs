//! The decisions of kpo: a value and a function, without clocks, IO or randomness.
