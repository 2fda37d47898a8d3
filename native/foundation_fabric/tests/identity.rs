//! Identities from secrets and from files, and what of them can be seen from outside.
#![allow(missing_docs)]

mod support;

use foundation_fabric::identity::{IdentityError, IdentityOptions, PemFiles};
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{Identity, Reason, Secret, Transport, TransportError};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

fn from_pem(files: PemFiles) -> Result<Identity, IdentityError> {
    Identity::from_pem("shop", name("a@host"), files, IdentityOptions::default())
}

#[test]
fn nodes_of_one_secret_have_one_authority() {
    assert_eq!(identity("a@host").authorities(), identity("b@host").authorities());
    assert_ne!(
        identity("a@host").authorities(),
        identity_in("shop", "other", "a@host").authorities()
    );
}

#[test]
fn what_cannot_be_an_identity_is_refused() {
    let secret = Secret::new(SECRET);
    let make = |cluster: &str, secret: &Secret| {
        Identity::from_secret(cluster, name("a@host"), secret, IdentityOptions::default())
    };
    assert!(matches!(
        make("shop", &Secret::new("")),
        Err(IdentityError::NoSecret)
    ));
    for cluster in ["", "a\nb", &"x".repeat(256)] {
        assert!(
            matches!(make(cluster, &secret), Err(IdentityError::Cluster)),
            "{cluster:?}"
        );
    }
    assert!(make(&"x".repeat(255), &secret).is_ok());
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let company = Authority::new("company");
    let roots = [company.certificate.clone()];
    let good = company.issue(&["foundation://shop/a@host"], VALID);
    let files = write_pem(dir.path(), &good, &roots);
    assert!(from_pem(files.clone()).is_ok());

    let missing = PemFiles {
        key: dir.path().join("nothing"),
        ..files.clone()
    };
    assert!(matches!(from_pem(missing), Err(IdentityError::File { .. })));
    std::fs::write(dir.path().join("noise"), "noise").unwrap();
    for broken in [
        PemFiles {
            chain: dir.path().join("noise"),
            ..files.clone()
        },
        PemFiles {
            key: dir.path().join("noise"),
            ..files.clone()
        },
        PemFiles {
            roots: dir.path().join("noise"),
            ..files.clone()
        },
    ] {
        assert!(matches!(from_pem(broken), Err(IdentityError::Pem(_))));
    }
    let unnamed = write_pem(
        dir.path(),
        &company.issue(&["https://example.org"], VALID),
        &roots,
    );
    assert!(matches!(from_pem(unnamed), Err(IdentityError::NoNodeName(_))));
    let other = write_pem(
        dir.path(),
        &company.issue(&["foundation://shop/b@host"], VALID),
        &roots,
    );
    assert!(matches!(from_pem(other), Err(IdentityError::OtherName { .. })));
    let (certificate, _) = good;
    let (_, key) = company.issue(&["foundation://shop/a@host"], VALID);
    let mixed = write_pem(dir.path(), &(certificate, key), &roots);
    assert!(matches!(from_pem(mixed), Err(IdentityError::Key(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_read_again_and_broken_ones_are_not_taken() {
    let clock = Clock::new();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let both = [old.certificate.clone(), new.certificate.clone()];
    let uri = |node: &str| format!("foundation://shop/{node}");
    let node = |node: &str, dir: &std::path::Path, trusts: &[_]| {
        let files = write_pem(dir, &old.issue(&[&uri(node)], VALID), trusts);
        let options = IdentityOptions {
            clock: clock.clone(),
            ..IdentityOptions::default()
        };
        Arc::new(Identity::from_pem("shop", name(node), files, options).unwrap())
    };
    let (one, two) = (
        node("a@host", dir.path(), &both),
        node("b@host", other.path(), &both[1..]),
    );
    let (a, b) = (tls(one.clone()).await, tls(two.clone()).await);
    // b trusts the new authority only, and a still has a certificate of the old one.
    assert!(a.connect(b.local_addr(), None, &hello(&*a)).await.is_err());
    refused(&b, Reason::Stranger, 1).await;

    std::fs::write(dir.path().join("chain.pem"), "half written").unwrap();
    clock.advance(Duration::from_secs(11));
    assert!(a.connect(b.local_addr(), None, &hello(&*a)).await.is_err());
    assert_eq!(one.renewals(), 0);

    write_pem(dir.path(), &new.issue(&[&uri("a@host")], VALID), &both);
    clock.advance(Duration::from_secs(11));
    let _links = pair(&a, &b).await;
    assert_eq!(one.renewals(), 1);
    // Nothing changed since: nothing is read again.
    clock.advance(Duration::from_secs(11));
    let _links = pair(&a, &b).await;
    assert_eq!(one.renewals(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_exchanged_without_a_node_being_refused() {
    let (old, new) = (Secret::new("the old secret"), Secret::new("the new secret"));
    let node = |name: &str| identity_in("shop", "the old secret", name);
    let (one, two) = (node("a@host"), node("b@host"));
    let (a, b) = (tls(one.clone()).await, tls(two.clone()).await);
    let first = pair(&a, &b).await;

    // Each round reaches one node before the other, and both ways work at each moment.
    let old_then_new: [(&Secret, &[Secret]); 3] = [
        (&old, std::slice::from_ref(&new)),
        (&new, std::slice::from_ref(&old)),
        (&new, &[]),
    ];
    for (secret, accepted) in old_then_new {
        for identity in [&one, &two] {
            identity.set_secrets(secret, accepted).unwrap();
            let (_there, _back) = (pair(&a, &b).await, pair(&b, &a).await);
        }
    }
    assert_eq!(a.refused().total() + b.refused().total(), 0);
    assert_eq!(
        one.authorities(),
        identity_in("shop", "the new secret", "c@host").authorities()
    );
    // The link from before is open still, and who has the old secret alone is a stranger.
    let (mut opened, mut accepted) = first;
    opened.write.write_all(b"!").await.unwrap();
    opened.write.flush().await.unwrap();
    assert_eq!(accepted.read.read_u8().await.unwrap(), b'!');
    let third = node("c@host");
    third.set_secrets(&old, std::slice::from_ref(&new)).unwrap();
    let late = tls(third).await;
    assert!(late.connect(b.local_addr(), None, &hello(&*late)).await.is_err());
    refused(&b, Reason::Stranger, 1).await;

    assert!(matches!(
        one.set_secrets(&Secret::new(""), &[]),
        Err(IdentityError::NoSecret)
    ));
    let dir = tempfile::tempdir().unwrap();
    let company = Authority::new("company");
    let chain = company.issue(&["foundation://shop/a@host"], VALID);
    let files = write_pem(dir.path(), &chain, std::slice::from_ref(&company.certificate));
    let pem = from_pem(files).unwrap();
    assert!(matches!(
        pem.set_secrets(&new, &[]),
        Err(IdentityError::NoSecrets)
    ));
}

/// Everything that is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().push('\n');
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Works with the secret in every way, and looks for it, for its keys and for what is sent over links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_neither_shown_nor_logged_nor_sent() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let member = identity("a@host");
    let config = TransportConfig {
        handshake: Duration::from_secs(5),
        ..config()
    };
    let a: Arc<dyn Transport> = Arc::new(TlsTransport::bind(member.clone(), config.clone()).await.unwrap());
    let b = tls(identity("b@host")).await;
    let stranger = tls(identity_in("shop", "a wrong guess", "c@host")).await;

    let wire = Arc::new(Mutex::new(Vec::new()));
    let recorded = wire.clone();
    let address = proxy(b.local_addr(), move |client, server| {
        let recorded = recorded.clone();
        async move {
            let (from, to) = (client.into_split(), server.into_split());
            let copy = |mut read: tokio::net::tcp::OwnedReadHalf,
                        mut write: tokio::net::tcp::OwnedWriteHalf| {
                let recorded = recorded.clone();
                async move {
                    let mut bytes = vec![0; 65_536];
                    while let Ok(count @ 1..) = read.read(&mut bytes).await {
                        recorded.lock().extend_from_slice(&bytes[..count]);
                        let _ = write.write_all(&bytes[..count]).await;
                    }
                }
            };
            tokio::join!(copy(from.0, to.1), copy(to.0, from.1));
        }
    })
    .await;
    let accepting = tokio::spawn({
        let b = b.clone();
        async move { b.accept().await.unwrap() }
    });
    let mut opened = a.connect(address, None, &hello(&*a)).await.unwrap();
    let mut accepted = accepting.await.unwrap();
    opened.write.write_all(b"what users say").await.unwrap();
    accepted.read.read_exact(&mut [0; 14]).await.unwrap();
    let failed = stranger.connect(b.local_addr(), None, &hello(&*stranger)).await;
    assert!(matches!(failed, Err(TransportError::Refused(Reason::Stranger))));
    let files = PemFiles {
        chain: "/nothing".into(),
        key: "/nothing".into(),
        roots: "/nothing".into(),
    };
    let error = from_pem(files).unwrap_err();

    let shown = format!(
        "{member:?} {config:?} {opened:?} {failed:?} {error:?} {error} {:?} {:?} {}",
        Secret::new(SECRET),
        b.refused(),
        log.0.lock(),
    );
    let wire = wire.lock();
    let hidden = |needle: &[u8]| {
        let absent = |hay: &[u8]| !hay.windows(needle.len()).any(|window| window == needle);
        assert!(absent(shown.as_bytes()), "shown: {shown}");
        assert!(absent(&wire), "sent");
    };
    hidden(SECRET.as_bytes());
    hidden(b"a wrong guess");
    use foundation_fabric::secret::Use;
    for purpose in [Use::Authority, Use::Datagram, Use::Mdns] {
        hidden(Secret::new(SECRET).derive(purpose, b"").bytes());
    }
    assert!(!wire.windows(14).any(|window| window == b"what users say"));
    // The client's name is sent under the keys of the handshake already.
    assert!(!wire.windows(6).any(|window| window == b"a@host"));
    assert!(shown.contains("refused"), "nothing was logged: {shown}");
}
