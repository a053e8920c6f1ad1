//! Bits of parameter sets.
