//! The node's name in its certificate: a URI, `foundation://cluster/name`, percent-encoded.

use foundation_overlay::PeerName;

const SCHEME: &str = "foundation://";

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub name: PeerName,
}

impl Subject {
    /// The URI that goes into the certificate's subject alternative names.
    pub fn uri(&self) -> String {
        let mut uri = String::from(SCHEME);
        encode(&self.cluster, &mut uri);
        uri.push('/');
        encode(self.name.as_str(), &mut uri);
        uri
    }

    /// Reads such a URI; `None` for any other text. A name is one path segment: no query, no fragment, no port.
    pub fn parse(uri: &str) -> Option<Self> {
        let (cluster, name) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let cluster = decode(cluster)?;
        let name = PeerName::new(&decode(name)?).ok()?;
        valid_cluster(&cluster).then_some(Self { cluster, name })
    }
}

/// Whether a text can name a cluster: 1 to 255 bytes without control characters.
pub fn valid_cluster(cluster: &str) -> bool {
    !cluster.is_empty() && cluster.len() <= crate::hello::MAX_NAME && !cluster.chars().any(char::is_control)
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte)
}

fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if plain(byte) {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)].into());
            out.push(HEX[usize::from(byte & 15)].into());
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
                out.push(u8::try_from(value).ok()?);
            }
            byte if plain(byte) => out.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_usual_name_reads_well() {
        let subject = Subject {
            cluster: "shop".into(),
            name: PeerName::new("app@10.0.0.1").unwrap(),
        };
        assert_eq!(subject.uri(), "foundation://shop/app@10.0.0.1");
    }

    #[test]
    fn other_uris_name_no_node() {
        for uri in [
            "",
            "foundation://",
            "foundation:///name",
            "foundation://cluster",
            "foundation://cluster/",
            "foundation://cluster/a/b",
            "foundation://cluster/a?b",
            "foundation://cluster/a%2",
            "foundation://cluster/a%zz",
            "foundation://cluster/%ff",
            "foundation://cluster/%00",
            "foundation://cluster:1/a",
            "https://cluster/a",
        ] {
            assert_eq!(Subject::parse(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn a_subject_comes_back_as_it_was(cluster in "[^\\p{C}]{1,60}", name in "[^\\p{C}]{1,60}") {
            let subject = Subject { cluster, name: PeerName::new(&name).unwrap() };
            prop_assert!(subject.uri().is_ascii());
            prop_assert_eq!(Subject::parse(&subject.uri()), Some(subject));
        }

        #[test]
        fn any_text_is_a_subject_or_not(text in ".{0,80}") {
            let _ = Subject::parse(&text);
            let _ = Subject::parse(&format!("{SCHEME}{text}"));
        }
    }
}
