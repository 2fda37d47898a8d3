use super::*;
use proptest::prelude::*;
use rustls::time_provider::DefaultTimeProvider;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn secret() -> Secret {
    Secret::new("a cluster's secret")
}

fn sealed(sealer: &Sealer, now: Duration, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(now, payload, &mut out).unwrap();
    out
}

fn opener() -> Opener {
    Opener::new(&secret(), "shop", 8)
}

fn sealer(session: u8) -> Sealer {
    Sealer::new(&secret(), "shop", [session; 16])
}

#[test]
fn opens_to_what_was_sealed_once() {
    let (sealer, mut opener) = (sealer(1), opener());
    for payload in [&b""[..], b"ping", &[7; MAX_PAYLOAD]] {
        let bytes = sealed(&sealer, NOW, payload);
        assert_eq!(bytes.len(), payload.len() + OVERHEAD);
        assert!(payload.is_empty() || !bytes.windows(payload.len()).any(|window| window == payload));
        let opened = opener
            .open(NOW, &mut bytes.clone())
            .map(|opened| (opened.session, opened.payload.to_vec()));
        assert_eq!(opened, Ok(([1; 16], payload.to_vec())));
        assert_eq!(opener.open(NOW, &mut bytes.clone()), Err(DatagramError::Replay));
    }
}

#[test]
fn order_does_not_matter_within_the_window() {
    let (sealer, mut opener) = (sealer(1), opener());
    let mut datagrams: Vec<_> = (0..500_u32)
        .map(|n| sealed(&sealer, NOW, &n.to_be_bytes()))
        .collect();
    datagrams.reverse();
    assert!(
        datagrams
            .iter()
            .all(|bytes| opener.open(NOW, &mut bytes.clone()).is_ok())
    );
    assert!(
        datagrams
            .iter()
            .all(|bytes| opener.open(NOW, &mut bytes.clone()) == Err(DatagramError::Replay))
    );
}

#[test]
fn another_secret_or_cluster_is_forged() {
    for other in [
        Sealer::new(&Secret::new("other"), "shop", [1; 16]),
        Sealer::new(&secret(), "other", [1; 16]),
    ] {
        assert_eq!(
            opener().open(NOW, &mut sealed(&other, NOW, b"x")),
            Err(DatagramError::Forged)
        );
    }
}

#[test]
fn while_secrets_are_exchanged_both_are_taken_and_replays_are_not() {
    let (old, new) = (sealer(1), Sealer::new(&Secret::new("new"), "shop", [2; 16]));
    let mut opener = opener();
    let [first, second, third] = [b"1", b"2", b"3"].map(|payload| sealed(&old, NOW, payload));
    let [early, late] = [b"4", b"5"].map(|payload| sealed(&new, NOW, payload));
    assert!(opener.open(NOW, &mut first.clone()).is_ok());
    assert_eq!(opener.open(NOW, &mut early.clone()), Err(DatagramError::Forged));

    opener.set_secrets([&secret(), &Secret::new("new")]);
    assert_eq!(opener.open(NOW, &mut first.clone()), Err(DatagramError::Replay));
    assert!(opener.open(NOW, &mut second.clone()).is_ok());
    assert_eq!(opener.open(NOW, &mut early.clone()).unwrap().payload, b"4");
    assert_eq!(opener.open(NOW, &mut early.clone()), Err(DatagramError::Replay));
    let guess = Sealer::new(&Secret::new("guess"), "shop", [3; 16]);
    assert_eq!(
        opener.open(NOW, &mut sealed(&guess, NOW, b"x")),
        Err(DatagramError::Forged)
    );

    opener.set_secrets([&Secret::new("new")]);
    assert_eq!(opener.open(NOW, &mut third.clone()), Err(DatagramError::Forged));
    assert_eq!(opener.open(NOW, &mut early.clone()), Err(DatagramError::Replay));
    assert!(opener.open(NOW, &mut late.clone()).is_ok());
    assert_eq!(opener.senders_known(), 1);
}

#[test]
fn a_forged_datagram_leaves_no_trace() {
    let (sealer, mut opener) = (sealer(1), opener());
    let good = sealed(&sealer, NOW, b"x");
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(opener.open(NOW, &mut bad.clone()), Err(DatagramError::Forged));
    assert_eq!(opener.senders_known(), 0);
    assert!(opener.open(NOW, &mut good.clone()).is_ok());
    assert_eq!(opener.open(NOW, &mut bad), Err(DatagramError::Replay));
}

#[test]
fn a_datagram_has_its_time() {
    let sealer = sealer(1);
    let bytes = sealed(&sealer, NOW, b"x");
    let second = Duration::from_secs(1);
    for (at, expected) in [
        (NOW + MAX_AGE + second, Err(DatagramError::TooOld)),
        (NOW - MAX_AGE - second, Err(DatagramError::TooOld)),
        (NOW + MAX_AGE, Ok(())),
        (NOW - MAX_AGE, Ok(())),
    ] {
        assert_eq!(
            opener().open(at, &mut bytes.clone()).map(|_| ()),
            expected,
            "{at:?}"
        );
    }
}

#[test]
fn senders_are_bounded_and_silent_ones_make_room() {
    let mut opener = opener();
    for session in 0..8 {
        assert!(opener.open(NOW, &mut sealed(&sealer(session), NOW, b"x")).is_ok());
    }
    assert_eq!(
        opener.open(NOW, &mut sealed(&sealer(8), NOW, b"x")),
        Err(DatagramError::TooMany)
    );
    let later = NOW + 2 * MAX_AGE + Duration::from_secs(1);
    assert!(opener.open(later, &mut sealed(&sealer(8), later, b"x")).is_ok());
    // Nothing of a forgotten sender is taken again: by then it is too old.
    assert_eq!(
        opener.open(later, &mut sealed(&sealer(0), NOW, b"x")),
        Err(DatagramError::TooOld)
    );
}

#[test]
fn an_oversized_payload_is_not_sealed() {
    let mut out = Vec::new();
    assert_eq!(
        sealer(1).seal(NOW, &[0; MAX_PAYLOAD + 1], &mut out),
        Err(DatagramError::Oversized)
    );
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn a_changed_bit_is_refused(payload in proptest::collection::vec(any::<u8>(), 0..60), at: prop::sample::Index) {
        let mut bytes = sealed(&sealer(1), NOW, &payload);
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(opener().open(NOW, &mut bytes).is_err());
    }

    #[test]
    fn any_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(opener().open(NOW, &mut bytes).is_err());
        if bytes.len() >= HEADER {
            bytes[0] = VERSION;
            let time = u64::try_from(NOW.as_millis()).unwrap();
            bytes[HEADER - 8..HEADER].copy_from_slice(&time.to_be_bytes());
            prop_assert!(opener().open(NOW, &mut bytes).is_err());
        }
    }
}

async fn port(secret: &Secret) -> Sealed {
    let any = "127.0.0.1:0".parse().unwrap();
    Sealed::bind(any, secret, "shop", Arc::new(DefaultTimeProvider))
        .await
        .unwrap()
}

#[tokio::test]
async fn on_sockets_only_good_datagrams_arrive_and_nothing_is_answered() {
    let (a, b, stranger) = (
        port(&secret()).await,
        port(&secret()).await,
        port(&Secret::new("guess")).await,
    );
    let raw = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let to = b.local_addr().unwrap();
    raw.send_to(b"noise", to).await.unwrap();
    raw.send_to(&[1; 2_000], to).await.unwrap();
    stranger.send(b"let me in", to).unwrap();
    // A recording of a good datagram, said twice.
    let recorded = sealed(&Sealer::new(&secret(), "shop", [5; 16]), b.now(), b"recorded");
    raw.send_to(&recorded, to).await.unwrap();
    raw.send_to(&recorded, to).await.unwrap();
    a.send(b"hello", to).unwrap();
    assert_eq!(b.receive().await.unwrap().0, &b"recorded"[..]);
    let (payload, from) = b.receive().await.unwrap();
    assert_eq!((&payload[..], from), (&b"hello"[..], a.local_addr().unwrap()));
    assert_eq!(b.refused_for(DatagramError::Malformed), 1);
    assert_eq!(b.refused_for(DatagramError::TooOld), 1);
    assert_eq!(b.refused_for(DatagramError::Forged), 1);
    assert_eq!(b.refused_for(DatagramError::Replay), 1);
    let mut answer = [0; 100];
    assert_eq!(
        raw.try_recv(&mut answer).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_does_not_stop_the_others() {
    let (a, b) = (port(&secret()).await, port(&secret()).await);
    let gone = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    for _ in 0..3 {
        a.send(b"x", gone).unwrap();
        b.send(b"hello", a.local_addr().unwrap()).unwrap();
        assert_eq!(a.receive().await.unwrap().0, &b"hello"[..]);
    }
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?} {:?}", sealer(1), opener());
    assert_eq!(shown, "Sealer(..) Opener { senders: 0, .. }");
}
