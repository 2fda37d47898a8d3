use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Hands requests to the test.
struct Inbox(mpsc::UnboundedSender<(Request, Responder)>);

impl Handler for Inbox {
    fn request(&self, request: Request, responder: Responder) {
        let _ = self.0.send((request, responder));
    }

    fn cancel(&self, _: u64) {}
}

/// Answers what it is asked, backwards.
struct Reverser(AtomicUsize);

impl Handler for Reverser {
    fn request(&self, request: Request, responder: Responder) {
        self.0.fetch_add(1, Ordering::Relaxed);
        responder.answer(status::OK, request.payload.iter().rev().copied().collect());
    }

    fn cancel(&self, _: u64) {}
}

fn member(name: &str, secret: &str, gateway: bool) -> ClusterSettings {
    ClusterSettings {
        name: name.into(),
        membership: Membership::Member {
            secret: Secret::new(secret),
            accepted: vec![],
            gateway: gateway.then(|| "127.0.0.1:0".parse().unwrap()),
        },
        gateways: vec![],
        quota: Quota::default(),
    }
}

fn foreign(name: &str, of: &str, secret: &str, gateways: Vec<SocketAddr>) -> ClusterSettings {
    let node = PeerName::new("any@host").unwrap();
    let identity =
        Identity::from_secret(name, node, &Secret::new(secret), IdentityOptions::default()).unwrap();
    ClusterSettings {
        name: name.into(),
        membership: Membership::Foreign {
            of: of.into(),
            authorities: identity.authorities(),
        },
        gateways,
        quota: Quota::default(),
    }
}

async fn start(node: &str, clusters: Vec<ClusterSettings>, handler: Arc<dyn Handler>) -> Federation {
    let node = PeerName::new(node).unwrap();
    Federation::start(
        Settings {
            node,
            boot: 1,
            clusters,
            max_payload: 10_000,
        },
        handler,
    )
    .await
    .unwrap()
}

fn reverser() -> Arc<Reverser> {
    Arc::new(Reverser(AtomicUsize::new(0)))
}

async fn call(from: &Federation, to: &str, payload: &[u8], within: u64) -> Result<(u32, Bytes), CallError> {
    let (sender, answer) = oneshot::channel();
    let _calling = from.call(
        to,
        Bytes::copy_from_slice(payload),
        Duration::from_millis(within),
        |answer| {
            let _ = sender.send(answer);
        },
    )?;
    answer.await.unwrap()
}

/// `app` with a gateway, and `ai` which calls it.
async fn two(handler: Arc<dyn Handler>) -> (Federation, Federation) {
    let clusters = vec![member("app", "one", true), foreign("ai", "app", "two", vec![])];
    let app = start("gate@app", clusters, handler).await;
    let gateway = app.gateway("app").unwrap();
    let clusters = vec![
        member("ai", "two", false),
        foreign("app", "ai", "one", vec![gateway]),
    ];
    (app, start("node@ai", clusters, reverser()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_without_a_common_secret_call_each_other() {
    let (_app, ai) = two(reverser()).await;
    assert_eq!(
        call(&ai, "app", b"hello", 5_000).await,
        Ok((status::OK, Bytes::from_static(b"olleh")))
    );
    assert_eq!(ai.linked("app").unwrap().name.as_str(), "gate@app");
    assert_eq!(
        call(&ai, "bank", b"hello", 5_000).await,
        Err(CallError::UnknownCluster)
    );
    assert_eq!(
        call(&ai, "app", &[0; 10_001], 5_000).await,
        Err(CallError::TooLarge)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_calls_its_own_clusters_gateway() {
    let app = start("gate@app", vec![member("app", "one", true)], reverser()).await;
    let mut again = member("app", "one", false);
    again.gateways = vec![app.gateway("app").unwrap()];
    let other = start("other@app", vec![again], reverser()).await;
    assert_eq!(call(&other, "app", b"abc", 5_000).await.unwrap().1, &b"cba"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_is_proven_and_many_calls_share_a_link() {
    let (sender, mut inbox) = mpsc::unbounded_channel();
    let (_app, ai) = two(Arc::new(Inbox(sender))).await;
    let ai = Arc::new(ai);
    let calls: Vec<_> = (0..20_u8)
        .map(|n| {
            let ai = ai.clone();
            tokio::spawn(async move { call(&ai, "app", &[n], 5_000).await })
        })
        .collect();
    let mut requests = Vec::new();
    while requests.len() < 20 {
        requests.push(inbox.recv().await.unwrap());
    }
    // Answered in another order than they came.
    for (request, responder) in requests.into_iter().rev() {
        assert_eq!(
            (request.cluster.as_str(), request.node.name.as_str()),
            ("ai", "node@ai")
        );
        assert!(request.within <= Duration::from_secs(5));
        responder.answer(status::FIRST, request.payload);
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(
            call.await.unwrap(),
            Ok((status::FIRST, Bytes::from(vec![n as u8])))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_that_were_not_pinned_are_refused() {
    let app = start("gate@app", vec![member("app", "one", true)], reverser()).await;
    let gateway = app.gateway("app").unwrap();
    let clusters = vec![
        member("ai", "two", false),
        foreign("app", "ai", "one", vec![gateway]),
    ];
    let ai = start("node@ai", clusters, reverser()).await;
    assert_eq!(call(&ai, "app", b"x", 5_000).await, Err(CallError::Unreachable));
    // One that says it is a cluster it is not.
    let clusters = vec![
        member("app2", "two", false),
        foreign("app", "app2", "guess", vec![gateway]),
    ];
    let liar = start("node@ai", clusters, reverser()).await;
    assert_eq!(call(&liar, "app", b"x", 5_000).await, Err(CallError::Unreachable));
    // The gateway counts when its end of the handshake is over, which the caller does not wait for.
    let counted = async {
        while app.refused().total() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), counted).await;
    assert_eq!(app.refused().total(), 2, "{:?}", app.refused());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_another_cluster_gets_no_request() {
    let handler = reverser();
    let clusters = vec![
        member("bank", "three", true),
        foreign("ai", "bank", "two", vec![]),
    ];
    let bank = start("gate@bank", clusters, handler.clone()).await;
    let at = vec![bank.gateway("bank").unwrap()];
    // `ai` pinned both, and was told that this is the gateway of `app`.
    let clusters = vec![
        member("ai", "two", false),
        foreign("app", "ai", "one", at),
        foreign("bank", "ai", "three", vec![]),
    ];
    let ai = start("node@ai", clusters, reverser()).await;
    assert_eq!(call(&ai, "app", b"x", 5_000).await, Err(CallError::Unreachable));
    assert_eq!(handler.0.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_hold_for_each_cluster() {
    let (sender, mut inbox) = mpsc::unbounded_channel();
    let mut ai = foreign("ai", "app", "two", vec![]);
    ai.quota = Quota {
        calls: 100,
        bytes: 100_000,
        at_a_time: 2,
    };
    let app = start(
        "gate@app",
        vec![member("app", "one", true), ai],
        Arc::new(Inbox(sender)),
    )
    .await;
    let at = vec![app.gateway("app").unwrap()];
    let clusters = vec![member("ai", "two", false), foreign("app", "ai", "one", at)];
    let ai = Arc::new(start("node@ai", clusters, reverser()).await);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let ai = ai.clone();
            tokio::spawn(async move { call(&ai, "app", b"slow", 5_000).await })
        })
        .collect();
    let responders = [inbox.recv().await.unwrap().1, inbox.recv().await.unwrap().1];
    let (refused, retry) = call(&ai, "app", b"third", 5_000).await.unwrap();
    assert_eq!((refused, retry.len()), (status::QUOTA, 8));
    // Dropping a request gives its place back and tells the caller.
    drop(responders);
    for call in held {
        assert_eq!(call.await.unwrap(), Ok((status::LOST, Bytes::new())));
    }
    let again = tokio::spawn(async move { call(&ai, "app", b"fourth", 5_000).await });
    inbox.recv().await.unwrap().1.answer(status::OK, Bytes::new());
    assert_eq!(again.await.unwrap(), Ok((status::OK, Bytes::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_gateway_times_out_and_a_lost_one_is_told() {
    let (sender, mut inbox) = mpsc::unbounded_channel();
    let (app, ai) = two(Arc::new(Inbox(sender))).await;
    let start = Instant::now();
    assert_eq!(call(&ai, "app", b"x", 100).await, Err(CallError::Timeout));
    assert!(start.elapsed() >= Duration::from_millis(100));
    inbox
        .recv()
        .await
        .unwrap()
        .1
        .answer(status::OK, vec![0; 10_001].into());
    // An answer above the bound becomes a short one.
    let ai = Arc::new(ai);
    let last = tokio::spawn({
        let ai = ai.clone();
        async move { call(&ai, "app", b"last", 5_000).await }
    });
    inbox
        .recv()
        .await
        .unwrap()
        .1
        .answer(status::OK, vec![0; 10_001].into());
    assert_eq!(last.await.unwrap(), Ok((status::TOO_LARGE, Bytes::new())));
    // One that stops ends its links, and who waits is told at once.
    let waiting = tokio::spawn({
        let ai = ai.clone();
        async move { call(&ai, "app", b"waiting", 60_000).await }
    });
    let _unanswered = inbox.recv().await.unwrap();
    drop(app);
    assert_eq!(waiting.await.unwrap(), Err(CallError::Broken));
    assert_eq!(call(&ai, "app", b"x", 5_000).await, Err(CallError::Unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_takes_over() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let clusters = || vec![member("app", "one", true), foreign("ai", "app", "two", vec![])];
    let app = start("gate2@app", clusters(), reverser()).await;
    let at = vec![gone, app.gateway("app").unwrap()];
    let clusters = vec![member("ai", "two", false), foreign("app", "ai", "one", at)];
    let ai = start("node@ai", clusters, reverser()).await;
    assert_eq!(call(&ai, "app", b"abc", 5_000).await.unwrap().1, &b"cba"[..]);
}

#[tokio::test]
async fn settings_are_checked() {
    let node = PeerName::new("n@h").unwrap();
    let start = |clusters| {
        let settings = Settings {
            node: node.clone(),
            boot: 1,
            clusters,
            max_payload: 10,
        };
        Federation::start(settings, reverser())
    };
    let twice = start(vec![member("app", "one", false), member("app", "two", false)]).await;
    assert!(matches!(twice, Err(FederationError::Twice(name)) if name == "app"));
    let nobody = start(vec![foreign("ai", "app", "two", vec![])]).await;
    assert!(matches!(nobody, Err(FederationError::NotMember(name)) if name == "app"));
    let empty = start(vec![member("app", "", false)]).await;
    assert!(matches!(
        empty,
        Err(FederationError::Identity(IdentityError::NoSecret))
    ));
    let shown = format!("{:?}", member("app", "hunter2", false));
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// Keeps requests without an answer, and what is cancelled of them.
struct Silent {
    requests: mpsc::UnboundedSender<u64>,
    cancelled: mpsc::UnboundedSender<u64>,
    held: parking_lot::Mutex<Vec<Responder>>,
}

impl Handler for Silent {
    fn request(&self, request: Request, responder: Responder) {
        self.held.lock().push(responder);
        let _ = self.requests.send(request.number);
    }

    fn cancel(&self, number: u64) {
        let _ = self.cancelled.send(number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_side_hears_that_nobody_waits() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let (cancels, mut cancelled) = mpsc::unbounded_channel();
    let silent = Arc::new(Silent {
        requests: sender,
        cancelled: cancels,
        held: Default::default(),
    });
    let (app, ai) = two(silent.clone()).await;
    let soon = Duration::from_secs(5);

    // The deadline of the caller.
    assert_eq!(call(&ai, "app", b"one", 300).await, Err(CallError::Timeout));
    let one = requests.recv().await.unwrap();
    assert_eq!(
        tokio::time::timeout(soon, cancelled.recv()).await.unwrap(),
        Some(one)
    );

    // The caller lets go of the call.
    let (sender, answer) = oneshot::channel();
    let done = |answer| drop(sender.send(answer));
    let calling = ai
        .call("app", Bytes::from_static(b"two"), 10 * soon, done)
        .unwrap();
    let two = requests.recv().await.unwrap();
    drop(calling);
    assert_eq!(answer.await.unwrap(), Err(CallError::Timeout));
    assert_eq!(
        tokio::time::timeout(soon, cancelled.recv()).await.unwrap(),
        Some(two)
    );

    // An answered one is not cancelled, and the end of the link cancels what is left.
    let done = |_| {};
    let answered = ai
        .call("app", Bytes::from_static(b"three"), 10 * soon, done)
        .unwrap();
    let _ = requests.recv().await.unwrap();
    let last = silent.held.lock().pop();
    last.unwrap().answer(status::OK, Bytes::new());
    let calling = ai
        .call("app", Bytes::from_static(b"four"), 10 * soon, done)
        .unwrap();
    let four = requests.recv().await.unwrap();
    drop(ai);
    assert_eq!(
        tokio::time::timeout(soon, cancelled.recv()).await.unwrap(),
        Some(four)
    );
    drop((answered, calling, app));
    assert!(cancelled.try_recv().is_err());
}
