//! What an append costs: `cargo bench -p foundation_storage`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use foundation_storage::{Log, Options, Sync};

fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    format!("{:>12?} {:>12?}", times[times.len() / 2], mean)
}

fn log(sync: Sync, ahead: u64) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("dir");
    let options = Options {
        sync,
        preallocate_bytes: ahead,
        ..Options::default()
    };
    let (log, _) = Log::open(dir.path(), options, &mut |_, _| {}).expect("opens");
    (dir, log)
}

fn time(rounds: usize, mut call: impl FnMut()) -> String {
    figures(
        (0..rounds)
            .map(|_| {
                let start = Instant::now();
                call();
                start.elapsed()
            })
            .collect(),
    )
}

fn main() {
    let record = vec![7u8; 300];
    let batch: Vec<&[u8]> = vec![&record; 1000];
    println!(
        "{:<46} {:>12} {:>12}",
        "call (300-byte records)", "median", "mean"
    );
    for ahead in [0, 256 << 10, 1 << 20] {
        let (_dir, log) = log(Sync::Always, ahead);
        let took = time(200, || {
            black_box(log.append(&batch).expect("appends"));
        });
        println!(
            "{:<46} {:>12?}",
            format!("always, 1000 at once, {ahead} zeroes ahead"),
            took
        );
        let took = time(500, || {
            black_box(log.append(&batch[..1]).expect("appends"));
        });
        println!(
            "{:<46} {:>12?}",
            format!("always, one, {ahead} zeroes ahead"),
            took
        );
    }
    for (name, sync) in [
        ("interval", Sync::Interval(Duration::from_millis(100))),
        ("os", Sync::Os),
    ] {
        let (_dir, log) = log(sync, 0);
        let took = time(500, || {
            black_box(log.append(&batch).expect("appends"));
        });
        println!("{:<46} {}", format!("{name}, 1000 at once"), took);
        let took = time(5000, || {
            black_box(log.append(&batch[..1]).expect("appends"));
        });
        println!("{:<46} {}", format!("{name}, one"), took);
    }
    for threads in [1usize, 4, 16] {
        let (_dir, log) = log(Sync::Always, 256 << 10);
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    (0..200).for_each(|_| {
                        log.append(&batch[..1]).expect("appends");
                    })
                });
            }
        });
        let each = start.elapsed() / (200 * threads as u32);
        let stats = log.stats();
        println!(
            "{:<46} {:>12?}  ({:.1} appends a write)",
            format!("always, one, {threads} callers, per append"),
            each,
            stats.appends as f64 / stats.groups as f64
        );
    }
    let (dir, log) = log(Sync::Os, 0);
    (0..1000).for_each(|_| {
        log.append(&batch).expect("appends");
    });
    drop(log);
    let mut count = 0u64;
    let start = Instant::now();
    let opened = Log::open(dir.path(), Options::default(), &mut |_, _| count += 1).expect("opens");
    assert_eq!(count, 1_000_000);
    println!("{:<46} {:>12?}", "opening 1,000,000 records", start.elapsed());
    drop(opened);
}
