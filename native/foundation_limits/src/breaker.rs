//! Circuit breaker state machines.
