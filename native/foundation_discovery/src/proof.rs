//! The proof that whoever announces itself knows the cluster's secret.
//!
//! HMAC-SHA256 over everything announced, under a key that HKDF-SHA256 derives from the secret with the label
//! `foundation/mdns`. The record can be repeated by a stranger as it is, which gains nothing: what is found is only
//! tried, and a connection asks for the secret again. Who listens can try words from a list against a proof, so the
//! secret must be a random one, as a generated cookie is.

use crate::error::Error;
use crate::facts::Facts;
use ring::{hkdf, hmac};

/// Bytes of a proof.
pub const PROOF_LEN: usize = 32;
const LABEL: &[u8] = b"foundation/mdns";

/// The key of the proofs of one cluster. Shows nothing of itself when printed.
#[derive(Clone)]
pub struct ProofKey(hmac::Key);

impl std::fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofKey(..)")
    }
}

impl ProofKey {
    /// The key that belongs to the cluster's secret.
    pub fn derive(secret: &[u8]) -> Result<Self, Error> {
        if secret.is_empty() {
            return Err(Error::Secret);
        }
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
        let expanded = extracted
            .expand(&[LABEL], hmac::HMAC_SHA256)
            .map_err(|_| Error::Secret)?;
        Ok(Self(hmac::Key::from(expanded)))
    }

    /// The proof for these facts.
    pub fn sign(&self, facts: &Facts) -> [u8; PROOF_LEN] {
        let tag = hmac::sign(&self.0, &facts.signed());
        let mut proof = [0; PROOF_LEN];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    /// Whether the proof is one for these facts; takes the same time either way.
    pub fn verify(&self, facts: &Facts, proof: &[u8]) -> bool {
        hmac::verify(&self.0, &facts.signed(), proof).is_ok()
    }
}
