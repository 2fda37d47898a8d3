//! Glue for the `events` domain.
