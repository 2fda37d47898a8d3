//! The forwarder between real sockets: delay, order, loss, and a path that is cut and healed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

struct Forwarder {
    child: Child,
    steer: Option<ChildStdin>,
    address: SocketAddr,
}

impl Forwarder {
    fn start(to: SocketAddr, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forwarder"))
            .args(["--to", &to.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the forwarder starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening ").expect("its address");
        let (address, steer) = (address.parse().expect("an address"), child.stdin.take());
        Self {
            child,
            steer,
            address,
        }
    }

    fn steer(&mut self, line: &str) {
        writeln!(self.steer.as_mut().expect("not ended"), "{line}").expect("written");
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.steer.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut write = stream.try_clone().expect("a second handle");
                let _ = std::io::copy(&mut &stream, &mut write);
                let _ = write.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

#[test]
fn a_stream_is_delayed_both_ways_and_arrives_whole() {
    let forwarder = Forwarder::start(tcp_echo(), &["--delay-ms", "15"]);
    let mut stream = TcpStream::connect(forwarder.address).expect("connected");
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let began = Instant::now();
    let (mut write, expected) = (stream.try_clone().expect("a second handle"), sent.clone());
    let writer = std::thread::spawn(move || {
        write.write_all(&sent).expect("written");
        write.shutdown(std::net::Shutdown::Write).expect("ended");
    });
    let mut got = vec![0];
    stream.read_exact(&mut got).expect("a first byte");
    assert!(began.elapsed() >= Duration::from_millis(30));
    stream.read_to_end(&mut got).expect("the rest");
    writer.join().expect("no panic");
    assert!(got == expected);
}

#[test]
fn a_cut_holds_a_stream_back_and_heal_lets_it_go() {
    let mut forwarder = Forwarder::start(tcp_echo(), &[]);
    let mut stream = TcpStream::connect(forwarder.address).expect("connected");
    let mut got = [0; 1];
    stream.write_all(b"a").expect("written");
    stream.read_exact(&mut got).expect("back");
    forwarder.steer("cut");
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("set");
    // The line may arrive after some of these, but not after all.
    let held = (0..50).any(|_| {
        stream.write_all(b"b").expect("written");
        stream.read_exact(&mut got).is_err()
    });
    assert!(held);
    forwarder.steer("heal");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    stream.read_exact(&mut got).expect("back");
    assert_eq!(&got, b"b");
}

#[test]
fn datagrams_are_lost_as_often_as_asked() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let forwarder = Forwarder::start(
        server.local_addr().expect("bound"),
        &["--loss", "0.5", "--seed", "7"],
    );
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut buffer = [0; 16];
    server
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("set");
    let mut arrived = 0;
    // One at a time, so that no queue overflows: the loss is the forwarder's alone.
    for n in 0..200u8 {
        client.send_to(&[n], forwarder.address).expect("sent");
        std::thread::sleep(Duration::from_micros(500));
    }
    while let Ok((1, from)) = server.recv_from(&mut buffer) {
        arrived += 1;
        server.send_to(b"x", from).expect("sent");
    }
    assert!((60..140).contains(&arrived), "{arrived} of 200");
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    client
        .recv_from(&mut buffer)
        .expect("an answer finds its way back");
}
