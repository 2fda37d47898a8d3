//! Glue for the `metrics` domain.
