//! Hundreds of endpoints on real sockets, in a few processes of this machine: joining, broadcast, failure.
//!
//! `cargo run --release -p foundation_fabric --example many -- 300 10` starts 300 endpoints in 10 processes, each with
//! its own identity, TLS listener, UDP port and overlay, kills three of the processes, and prints what it measured.

#[path = "many/node.rs"]
mod node;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A process with some of the endpoints.
struct Host {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Host {
    fn start(first: usize, count: usize) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["host", &first.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (
            child.stdin.take().expect("it is piped"),
            child.stdout.take().expect("it is piped"),
        );
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the process reads");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the process answers");
        line.trim().to_owned()
    }
}

/// One order to all, and what each answered as numbers.
fn ask(hosts: &mut [Host], order: &str) -> Vec<Vec<u64>> {
    hosts.iter_mut().for_each(|host| host.order(order));
    let numbers = |line: String| {
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    hosts.iter_mut().map(|host| numbers(host.answer())).collect()
}

/// Asks until the answers satisfy; how long that took.
fn wait(
    hosts: &mut [Host],
    order: &str,
    limit: Duration,
    done: impl Fn(&[Vec<u64>]) -> bool,
) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if done(&ask(hosts, order)) {
            return Some(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn show(what: &str, took: Option<Duration>) -> bool {
    match took {
        Some(took) => println!("| {what} | {:.2} s |", took.as_secs_f64()),
        None => println!("| {what} | never |"),
    }
    took.is_some()
}

/// Sends broadcasts one after another; whether everyone got each once, and how late the last one was.
fn broadcasts(hosts: &mut [Host], alive: usize, from: u64) -> (bool, u64) {
    const COUNT: u64 = 20;
    for number in from..from + COUNT {
        let host = number as usize % hosts.len();
        ask(&mut hosts[host..=host], &format!("broadcast {number}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = (alive as u64 - 1) * COUNT;
    let order = format!("got {from} {}", from + COUNT);
    let sum = |answers: &[Vec<u64>]| answers.iter().map(|answer| answer[0]).sum::<u64>();
    let reached = wait(hosts, &order, Duration::from_secs(20), |answers| {
        sum(answers) >= all
    })
    .is_some();
    let answers = ask(hosts, &order);
    let latest = answers.iter().map(|answer| answer[1]).max().unwrap_or(0);
    (reached && sum(&answers) == all, latest)
}

fn run(nodes: usize, processes: usize) -> std::io::Result<bool> {
    let each = nodes / processes;
    let mut hosts = Vec::new();
    let mut seeds = Vec::new();
    for process in 0..processes {
        let mut host = Host::start(process * each, each)?;
        seeds.push(host.answer());
        hosts.push(host);
    }
    let nodes = each * processes;
    println!("\n| {nodes} endpoints in {processes} processes | |\n|---|---|");
    let limit = Duration::from_secs(120);
    let joined = Instant::now();
    ask(
        &mut hosts,
        &format!("join {}", seeds[..3.min(seeds.len())].join(" ")),
    );
    let knows = |count: usize| {
        move |answers: &[Vec<u64>]| {
            answers
                .iter()
                .all(|answer| answer[0] as usize == count && answer[1] as usize == count)
        }
    };
    let all = wait(&mut hosts, "known", limit, knows(nodes - 1)).map(|_| joined.elapsed());
    let mut passed = show("from the order to join until everyone knows everyone", all);
    std::thread::sleep(Duration::from_secs(10));
    let mut most = 0;
    for _ in 0..20 {
        let links = ask(&mut hosts, "links");
        most = most.max(links.iter().map(|answer| answer[1]).max().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(200));
    }
    let links: u64 = ask(&mut hosts, "links").iter().map(|answer| answer[0]).sum();
    println!(
        "| links of an endpoint, mean and most | {:.2}; {most} (at most 10) |",
        links as f64 / nodes as f64
    );
    passed &= most <= 10;
    let cost = ask(&mut hosts, "cost");
    let mean = |which: usize| cost.iter().map(|answer| answer[which]).sum::<u64>() / nodes as u64;
    println!("| memory of an endpoint, resident | {} KiB |", mean(0));
    println!("| file descriptors of an endpoint | {} |", mean(1));
    let (reached, latest) = broadcasts(&mut hosts, nodes, 0);
    println!(
        "| 20 broadcasts: everyone got each once; the last one after | {reached}; {:.1} ms |",
        latest as f64 / 1e3
    );
    passed &= reached;
    let dead = processes * 3 / 10;
    let killed = Instant::now();
    for mut host in hosts.drain(..dead) {
        host.child.kill()?;
        host.child.wait()?;
    }
    let alive = nodes - dead * each;
    let gone = wait(&mut hosts, "known", limit, knows(alive - 1)).map(|_| killed.elapsed());
    passed &= show(
        &format!("{} endpoints killed: until everyone else knows", dead * each),
        gone,
    );
    let (reached, latest) = broadcasts(&mut hosts, alive, 1000);
    println!(
        "| 20 broadcasts after that: everyone got each once; the last one after | {reached}; {:.1} ms |",
        latest as f64 / 1e3
    );
    passed &= reached;
    for host in &mut hosts {
        host.order("end");
        host.child.wait()?;
    }
    Ok(passed)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: usize| args.get(at).and_then(|text| text.parse().ok()).unwrap_or(usual);
    if args.first().is_some_and(|arg| arg == "host") {
        node::host(number(1, 0), number(2, 1));
        return ExitCode::SUCCESS;
    }
    match run(number(0, 100), number(1, 10)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
