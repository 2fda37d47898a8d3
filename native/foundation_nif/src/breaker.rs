//! Glue for the `breaker` domain.
