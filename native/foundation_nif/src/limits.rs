//! Glue for the `limits` domain.
