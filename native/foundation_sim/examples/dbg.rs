#![allow(missing_docs)]
use foundation_overlay::*;
use foundation_sim::*;
use std::time::Duration;
fn main() {
    let n = 40;
    let mut config = Config::lan();
    config.topology = Topology::HyParView;
    let mut net = Network::new(config, 1);
    for at in 0..n {
        net.start();
        if at > 0 {
            net.join(at, &[0]);
        }
        net.run(Duration::from_millis(1));
    }
    net.run(Duration::from_secs(5));
    let show = |net: &Network| {
        let t = net.traffic();
        println!(
            "{:?} known {:?} deg {:?} dg {} fr {} ev {} down {}",
            net.now(),
            (0..n).map(|a| net.observed.known(a)).collect::<Vec<_>>(),
            (0..n).map(|a| net.degree(a)).collect::<Vec<_>>(),
            t.datagrams,
            t.frames,
            t.events,
            net.observed.detections.len()
        );
    };
    show(&net);
    for a in 24..n {
        net.node_mut(a).group = 1;
    }
    net.faults.cut(0, 1);
    net.faults.cut(1, 0);
    for _ in 0..8 {
        net.run(Duration::from_secs(1));
        show(&net);
    }
    net.heal();
    for _ in 0..10 {
        net.run(Duration::from_secs(1));
        show(&net);
    }
    for a in 0..n {
        println!("{a} {:?}", net.nodes()[a].overlay.stats());
    }
}
