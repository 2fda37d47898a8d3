//! Who writes what was queued: the thread that queued it, or the lane's task.

use super::pipe::Pipe;
use super::remote::Lane;
use crate::channel::{Channel, Reliability, Settings};
use crate::error::Error;
use crate::frame::{Grant, HEADER};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

/// What a message takes up on the link when it stands alone.
const FRAME: usize = HEADER + 4 + 5;

/// A lane whose task waits, with a link that takes so many bytes before the other end reads.
fn lane(settings: Settings, capacity: usize) -> (Lane, DuplexStream) {
    let channel = Channel {
        name: "channel".into(),
        settings,
    };
    // It was never written since it began a second ago.
    let began = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let lane = Lane::new(&channel, 0, began, true);
    let (near, far) = duplex(capacity);
    *lane.pipe.lock() = Some(Pipe::new(Box::new(near), channel.settings.compress_above));
    let grant = Grant {
        delivered: 0,
        bytes: 1 << 20,
        messages: 1_000,
    };
    lane.outbox.lock().link_up(grant, 1 << 20, lane.now());
    lane.asleep.store(true, Ordering::SeqCst);
    (lane, far)
}

fn queue(lane: &Lane) {
    lane.queue(None, |outbox, now| outbox.push(1, b"hello", None, now))
        .unwrap();
}

/// Whether the task was left asleep.
fn asleep(lane: &Lane) -> bool {
    lane.asleep.load(Ordering::SeqCst)
}

async fn read(far: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let reading = far.read_exact(&mut bytes);
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("nothing was written")
        .unwrap();
    bytes
}

#[tokio::test]
async fn a_small_message_on_an_idle_link_is_written_by_who_queued_it() {
    let (lane, mut far) = lane(Settings::default(), 1 << 16);
    queue(&lane);
    assert!(read(&mut far, FRAME).await.ends_with(b"hello"));
    assert!(asleep(&lane));
    assert!(!lane.outbox.lock().waits());
}

#[tokio::test]
async fn what_comes_right_after_is_left_to_the_task() {
    let (lane, _far) = lane(Settings::default(), 1 << 16);
    lane.wrote.store(lane.now() + 1_000_000, Ordering::Relaxed);
    queue(&lane);
    assert!(!asleep(&lane));
    assert!(lane.outbox.lock().waits());
}

#[tokio::test]
async fn what_is_large_or_kept_nowhere_is_left_to_the_task() {
    let (large, _far) = lane(Settings::default(), 1 << 20);
    large
        .queue(None, |outbox, now| outbox.push(1, &[7; 9_000], None, now))
        .unwrap();
    assert!(!asleep(&large));
    let (best_effort, _far) = lane(
        Settings {
            reliability: Reliability::BestEffort,
            ..Settings::default()
        },
        1 << 16,
    );
    queue(&best_effort);
    assert!(!asleep(&best_effort));
}

#[tokio::test]
async fn the_task_goes_on_where_the_link_had_no_room() {
    let (lane, mut far) = lane(Settings::default(), 10);
    queue(&lane);
    assert!(!asleep(&lane));
    assert!(lane.stuck.load(Ordering::SeqCst));
    queue(&lane);
    let write = poll_fn(|context| lane.poll_write(context, |_| ()));
    let (written, bytes) = tokio::join!(write, read(&mut far, 2 * FRAME));
    written.unwrap();
    assert!(bytes[..FRAME].ends_with(b"hello") && bytes.ends_with(b"hello"));
}

#[tokio::test]
async fn the_task_is_told_of_a_link_that_broke() {
    let (lane, far) = lane(Settings::default(), 1 << 16);
    drop(far);
    queue(&lane);
    assert!(!asleep(&lane));
    let written = poll_fn(|context| lane.poll_write(context, |_| ())).await;
    assert!(written.is_err());
    assert!(matches!(
        lane.queue(None, |_, _| Err(Error::Closed)),
        Err(Error::Closed)
    ));
}
