//! The secret that a cluster shares, and the keys made from it.

use ring::hkdf;
use std::fmt;
use zeroize::Zeroizing;

/// What a key made from the secret is for. Keys for different uses say nothing about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The cluster's certificate authority.
    Authority,
    /// Sealed datagrams.
    Datagram,
    /// The proof in an mDNS announcement.
    Mdns,
}

impl Use {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Authority => b"foundation/ca",
            Self::Datagram => b"foundation/datagram",
            Self::Mdns => b"foundation/mdns",
        }
    }
}

/// A cluster secret: bytes that are never shown, and are overwritten when dropped.
///
/// Who can reach a node's port sees values made from the secret and can try guesses on them at home, so a secret
/// must not be guessable: 16 random bytes or more (a generated Erlang cookie has about 94 bits).
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the secret's bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is the same secret. For who holds both: the time it takes says how far they agree.
    pub(crate) fn same(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }

    /// A key of 32 bytes for one use: HKDF-SHA256 with the use's label, then `context`.
    pub fn derive(&self, purpose: Use, context: &[u8]) -> Key {
        self.derive_labelled(purpose.label(), context)
    }

    /// A key of 32 bytes under a label of the caller's own.
    pub fn derive_labelled(&self, label: &[u8], context: &[u8]) -> Key {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"foundation/1");
        let mut key = Zeroizing::new([0; 32]);
        // The label's length keeps (label, context) pairs apart that would join to the same bytes.
        let length = [u8::try_from(label.len()).unwrap_or(u8::MAX)];
        let info = [length.as_slice(), label, context];
        salt.extract(&self.0)
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .expect("32 bytes are the hash's length, which HKDF always gives");
        Key(key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key made from a [`Secret`].
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// The key's bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_gives_the_same_key_for_a_use() {
        let key =
            |secret: &str, purpose, context: &[u8]| *Secret::new(secret).derive(purpose, context).bytes();
        assert_eq!(key("a", Use::Authority, b""), key("a", Use::Authority, b""));
        assert_ne!(key("a", Use::Authority, b""), key("b", Use::Authority, b""));
        assert_ne!(key("a", Use::Authority, b""), key("a", Use::Datagram, b""));
        assert_ne!(key("a", Use::Datagram, b"1"), key("a", Use::Datagram, b"2"));
    }

    #[test]
    fn label_and_context_do_not_run_into_each_other() {
        let secret = Secret::new("a");
        assert_ne!(
            secret.derive_labelled(b"ab", b"c").bytes(),
            secret.derive_labelled(b"a", b"bc").bytes()
        );
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("hunter2hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", secret.derive(Use::Mdns, b"")), "Key(..)");
    }
}
