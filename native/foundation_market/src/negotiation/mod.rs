//! Negotiation.
