//! States as bytes: a version, and what postcard makes of the rest.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state that can be kept elsewhere and go on there: in a log, on another node.
///
/// Bytes are trusted as far as memory goes, not further: what contradicts itself is refused.
pub trait State: Serialize + DeserializeOwned {
    /// The first byte, different for each type and changed with its layout.
    const TAG: u8;

    /// Whether the state is one that the type's own calls may lead to.
    fn sound(&self) -> bool;

    /// The state as bytes.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be written.
        postcard::to_extend(self, vec![Self::TAG]).unwrap_or_default()
    }

    /// The state from bytes of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Malformed`].
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let rest = bytes.strip_prefix(&[Self::TAG]).ok_or(Error::Malformed)?;
        let state: Self = postcard::from_bytes(rest).map_err(|_| Error::Malformed)?;
        if state.sound() {
            Ok(state)
        } else {
            Err(Error::Malformed)
        }
    }
}
