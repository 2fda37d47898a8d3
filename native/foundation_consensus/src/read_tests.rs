//! What a member says when a leader asks whether it has promised nobody else: frames in, frames out. And queries of a
//! machine that asks others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::codec::Reader;
use crate::message::{Message, Request, Response, next, put_request};
use crate::{
    Answering, Applied, Consistency, Engine, EngineConfig, Group, GroupConfig, Instant, Machine,
    MachineError, Network, ReadError,
};

/// Keeps what would leave at once; nobody else is there.
#[derive(Default)]
struct Said(Mutex<Vec<Bytes>>);

impl Network for Said {
    fn send(&self, _to: &str, _frame: Bytes) -> bool {
        false
    }

    fn send_at_once(&self, _to: &str, frame: &Bytes) -> bool {
        self.0.lock().push(frame.clone());
        true
    }
}

/// Hands its questions on.
struct Passing(mpsc::UnboundedSender<Answering>);

impl Machine for Passing {
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>> {
        async move { entries.iter().map(|_| Bytes::new()).collect() }.boxed()
    }

    fn query(&mut self, _query: Bytes, answer: Answering) {
        // A test that has ended asks nothing any more.
        let _ = self.0.send(answer);
    }

    fn asks_others(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Bytes> {
        async { Bytes::new() }.boxed()
    }

    fn restore(&mut self, _snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        async { Ok(()) }.boxed()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A group of one, and the questions to its machine.
async fn alone(said: Arc<Said>) -> (Engine, Group, mpsc::UnboundedReceiver<Answering>) {
    let (sender, questions) = mpsc::unbounded_channel();
    let engine = Engine::start(EngineConfig::new("me"), Handle::current(), said).expect("an engine");
    let group = engine.start_group(GroupConfig::new("g", ["me"]), Box::new(Passing(sender)));
    let group = group.await.expect("a group");
    (engine, group, questions)
}

#[tokio::test]
async fn who_has_promised_a_later_term_agrees_with_no_earlier_leader() {
    let said = Arc::new(Said::default());
    let (engine, group, mut questions) = alone(said.clone()).await;
    let asked = group.read(Bytes::new(), Consistency::Linearizable, soon());
    let (led, ()) = tokio::join!(asked, async {
        questions.recv().await.expect("a question")(Bytes::new());
    });
    assert_eq!(led, Ok(Bytes::new()), "it leads by its own vote");
    let term = group.status().term;
    let agrees = |asked: u64, number: u64| {
        let mut frame = Vec::new();
        put_request(&mut frame, number, "g", &Request::Agree(asked));
        engine.receive("leader", frame.into());
        let answers: Vec<Bytes> = said.0.lock().drain(..).collect();
        let answers = answers.into_iter().map(|frame| match next(&mut Reader(frame)) {
            Ok(Some(Message::Response { number, response })) => {
                assert!(matches!(response, Response::Agreed));
                number
            }
            _ => panic!("no answer is expected but this"),
        });
        answers.collect::<Vec<u64>>()
    };
    assert_eq!(agrees(term - 1, 1), []);
    assert_eq!(agrees(term, 2), [2]);
    assert_eq!(
        agrees(term + 1, 3),
        [3],
        "it has promised nothing to that one's rivals"
    );
    engine.stop().await;
    assert_eq!(agrees(term, 4), [], "it is stopped");
}

#[tokio::test]
async fn a_local_answer_is_told_where_it_is_given_and_one_that_never_comes_is_told_too() {
    let (engine, group, mut questions) = alone(Arc::default()).await;
    let told: Arc<Mutex<Vec<_>>> = Arc::default();
    let ask = |deadline: Instant| {
        let told = told.clone();
        let place = group.place().expect("room");
        let note = Box::new(move |answer| told.lock().push((std::thread::current().id(), answer)));
        place.ask(Bytes::new(), Consistency::Local, deadline, note);
    };
    let heard = async || {
        while told.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        told.lock().remove(0)
    };
    ask(soon());
    let answer = questions.recv().await.expect("a question");
    let thread = std::thread::spawn(move || answer(Bytes::from_static(b"x")));
    let there = thread.thread().id();
    thread.join().expect("it ends");
    assert_eq!(heard().await, (there, Ok(Bytes::from_static(b"x"))));

    ask(soon());
    drop(questions.recv().await);
    assert_eq!(heard().await.1, Err(ReadError::Stopped), "at once");

    ask(Instant::now() + Duration::from_millis(50));
    let late = questions.recv().await.expect("a question");
    assert_eq!(heard().await.1, Err(ReadError::Timeout));
    late(Bytes::new());
    assert_eq!(told.lock().len(), 0, "it is told once");
    engine.stop().await;
}
