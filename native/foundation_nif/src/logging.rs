//! Rust's `tracing` events, on their way to Elixir's Logger.
//!
//! Scheduler threads may not send from an environment of their own, so every event goes through a bounded channel to
//! one thread that sends it to the process registered by [`attach`]. A full channel drops the event and counts it:
//! a log line never makes a caller wait. Panics take the same way, at level error.

use crate::atoms;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rustler::{Encoder, LocalPid, OwnedEnv};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

const QUEUE: usize = 4096;
const MAX_TEXT: usize = 8192;
/// The rank of an error.
const ERROR: u8 = 4;

static CHANNEL: OnceLock<Sender<Line>> = OnceLock::new();
static SINK: Mutex<Option<LocalPid>> = Mutex::new(None);
static LEVEL: AtomicU8 = AtomicU8::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Line {
    level: u8,
    target: String,
    text: String,
}

/// Starts the thread, the subscriber and the panic hook. Called once, when the library is loaded.
pub(crate) fn install() {
    let (sender, receiver) = bounded(QUEUE);
    if CHANNEL.set(sender).is_err() {
        return;
    }
    let started = std::thread::Builder::new()
        .name("foundation-log".into())
        .spawn(move || forward(&receiver));
    if started.is_err() {
        return;
    }
    let _ = tracing::subscriber::set_global_default(ToLogger);
    std::panic::set_hook(Box::new(|info| {
        push(Line {
            level: 4,
            target: "foundation::panic".into(),
            text: info.to_string(),
        });
    }));
}

/// Sends what follows to `pid`, at `level` (0 none, 1 debug, 2 info, 3 warning, 4 error) and above.
pub(crate) fn attach(pid: LocalPid, level: u8) {
    *SINK.lock() = Some(pid);
    set_level(level);
}

/// Changes the least level that is forwarded; 0 turns forwarding off.
pub(crate) fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
    tracing_core::callsite::rebuild_interest_cache();
}

/// How many events were dropped because the queue was full.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn push(line: Line) {
    if let Some(channel) = CHANNEL.get()
        && let Err(TrySendError::Full(_)) = channel.try_send(line)
    {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn forward(receiver: &Receiver<Line>) {
    let mut env = OwnedEnv::new();
    for line in receiver {
        let Some(pid) = *SINK.lock() else { continue };
        let level = match line.level {
            1 => atoms::debug(),
            2 => atoms::info(),
            3 => atoms::warning(),
            _ => atoms::error(),
        };
        let sent = env.send_and_clear(&pid, |env| {
            (
                atoms::foundation_native_log(),
                level,
                line.target.as_str(),
                line.text.as_str(),
            )
                .encode(env)
        });
        if sent.is_err() {
            let mut sink = SINK.lock();
            if *sink == Some(pid) {
                *sink = None;
            }
        }
    }
}

struct ToLogger;

impl ToLogger {
    fn rank(level: &Level) -> u8 {
        match *level {
            Level::ERROR => 4,
            Level::WARN => 3,
            Level::INFO => 2,
            _ => 1,
        }
    }
}

impl Subscriber for ToLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let least = LEVEL.load(Ordering::Relaxed);
        // Raft tells of every message below an error, and of every heartbeat that a dead member does not answer.
        let least = if metadata.target().starts_with("openraft") {
            least.max(ERROR)
        } else {
            least
        };
        LEVEL.load(Ordering::Relaxed) > 0 && metadata.is_event() && Self::rank(metadata.level()) >= least
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        push(Line {
            level: Self::rank(metadata.level()),
            target: metadata.target().to_owned(),
            text: text.finish(),
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        if self.message.len() > MAX_TEXT {
            let cut = (0..=MAX_TEXT)
                .rev()
                .find(|&i| self.message.is_char_boundary(i))
                .unwrap_or(0);
            self.message.truncate(cut);
        }
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
