/// Why nothing was started, or a fact was refused. No state changes with any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A node name is `name@host`, printable, of at most [`crate::facts::MAX_NODE`] bytes.
    #[error("not a node name")]
    Node,
    /// An application's or cluster's name is printable, of at most [`crate::facts::MAX_NAME`] bytes.
    #[error("not a name for an application or a cluster")]
    Name,
    /// A network interface's name is printable, of 1 to 64 bytes.
    #[error("not the name of a network interface")]
    Interface,
    /// The secret is empty.
    #[error("the secret is empty")]
    Secret,
    /// The mDNS daemon did not start: the system's words.
    #[error("mDNS does not start: {0}")]
    Daemon(String),
}
