//! What a node announces, as a TXT record (RFC 6763, section 6) and back.

use crate::error::Error;
use crate::proof::{PROOF_LEN, ProofKey};

/// Bytes of a node's name at most: `node=` and the name fit into one string of a TXT record.
pub const MAX_NODE: usize = 250;
/// Bytes of an application's or a cluster's name at most.
pub const MAX_NAME: usize = 120;

const VERSION: &str = "1";
const KEYS: [&str; 6] = ["v", "node", "app", "cluster", "boot", "proof"];

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The Erlang node name.
    pub node: String,
    /// The application that the cluster is for.
    pub app: String,
    /// The name of the cluster; nodes of another name are not ours to connect to.
    pub cluster: String,
    /// A number that grows with each boot: microseconds since the epoch.
    pub boot: u64,
    /// The port of the service record.
    pub port: u16,
}

/// A TXT record that was read, its proof not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What the record says.
    pub facts: Facts,
    /// The proof that came with it.
    pub proof: [u8; PROOF_LEN],
}

impl Facts {
    /// The same, once everything fits into a TXT record and can be shown to people.
    pub fn checked(self) -> Result<Self, Error> {
        if !is_node(&self.node) {
            return Err(Error::Node);
        }
        if !is_name(&self.app) || !is_name(&self.cluster) {
            return Err(Error::Name);
        }
        Ok(self)
    }

    /// The strings of the TXT record, the proof last.
    pub fn txt(&self, key: &ProofKey) -> Vec<(&'static str, String)> {
        let values = [
            VERSION.to_owned(),
            self.node.clone(),
            self.app.clone(),
            self.cluster.clone(),
            format!("{:016x}", self.boot),
            hex(&key.sign(self)),
        ];
        KEYS.into_iter().zip(values).collect()
    }

    /// Reads the strings of a TXT record; the first of each key counts. `None` when one is missing, or not as it is
    /// written here.
    pub fn read<'a>(strings: impl Iterator<Item = (&'a str, &'a [u8])>, port: u16) -> Option<Claim> {
        let mut values: [Option<&[u8]>; KEYS.len()] = [None; KEYS.len()];
        for (key, value) in strings {
            if let Some(at) = KEYS.iter().position(|known| known.eq_ignore_ascii_case(key)) {
                values[at].get_or_insert(value);
            }
        }
        let [version, node, app, cluster, boot, proof] = values.map(|value| std::str::from_utf8(value?).ok());
        if version? != VERSION {
            return None;
        }
        let boot = boot?;
        let canonical = boot.len() == 16 && boot.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let facts = Facts {
            node: node?.to_owned(),
            app: app?.to_owned(),
            cluster: cluster?.to_owned(),
            boot: u64::from_str_radix(boot, 16).ok().filter(|_| canonical)?,
            port,
        };
        Some(Claim {
            facts: facts.checked().ok()?,
            proof: unhex(proof?)?,
        })
    }

    /// The bytes that a proof covers: every field, each preceded by its length.
    pub(crate) fn signed(&self) -> Vec<u8> {
        let mut bytes = b"foundation/mdns/1".to_vec();
        for text in [&self.node, &self.app, &self.cluster] {
            // Checked names are far shorter than 2^16 bytes; longer ones only fail to verify.
            bytes.extend((text.len() as u16).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.boot.to_be_bytes());
        bytes.extend(self.port.to_be_bytes());
        bytes
    }
}

fn is_node(text: &str) -> bool {
    let parts = text.split_once('@');
    text.len() <= MAX_NODE
        && printable(text)
        && parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && printable(text)
}

pub(crate) fn printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn unhex(text: &str) -> Option<[u8; PROOF_LEN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * PROOF_LEN {
        return None;
    }
    let mut bytes = [0; PROOF_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
