//! From a ledger to a verdict.
