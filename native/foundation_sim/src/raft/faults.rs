//! What goes wrong in a run, by the seed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::world::{World, name};

/// Lets one thing after the other go wrong until the time has come.
pub(crate) async fn trouble(world: Arc<World>, until: Instant) {
    while Instant::now() < until {
        sleep(Duration::from_millis(100 + world.below(500) as u64)).await;
        let node = world.below(world.size());
        match world.below(10) {
            0..=2 => crash(&world, node),
            3 => fail_disk(&world, node),
            4 | 5 => cut(&world),
            6 => storm(&world),
            7 => world.skew(node, world.below(6_000) as i64 - 3_000),
            8 => transfer(&world, node),
            _ => change_members(&world, node),
        }
    }
}

fn crash(world: &Arc<World>, node: usize) {
    let down = Duration::from_millis(20 + world.below(900) as u64);
    // Now and then the power goes for all.
    let all = world.chance(10);
    let power = world.chance(70);
    for node in (0..world.size()).filter(|other| all || *other == node) {
        world.crash(node, power);
        let world = world.clone();
        tokio::spawn(async move {
            sleep(down).await;
            world.boot(node).await;
        });
    }
}

/// A disk that fails ends the member; some time later the machine is started again.
fn fail_disk(world: &Arc<World>, node: usize) {
    world.fail_disk(node, world.chance(50));
    let wait = Duration::from_millis(50 + world.below(300) as u64);
    let world = world.clone();
    tokio::spawn(async move {
        sleep(wait).await;
        world.crash(node, true);
        sleep(wait).await;
        world.boot(node).await;
    });
}

fn cut(world: &Arc<World>) {
    let mut side: Vec<bool> = (0..world.size()).map(|_| world.chance(50)).collect();
    // Often it is the leader that is alone, and does not know it.
    if let Some(leader) = world.leader().filter(|_| world.chance(50)) {
        side = (0..world.size()).map(|node| node == leader).collect();
    }
    let one_way = world.chance(30);
    {
        let mut weather = world.weather.lock();
        weather.cut.clear();
        for from in 0..side.len() {
            for to in 0..side.len() {
                if side[from] != side[to] && (!one_way || side[from]) {
                    weather.cut.insert((from, to));
                }
            }
        }
    }
    let wait = Duration::from_millis(200 + world.below(1_800) as u64);
    let world = world.clone();
    tokio::spawn(async move {
        sleep(wait).await;
        world.weather.lock().cut.clear();
    });
}

fn storm(world: &Arc<World>) {
    let (loss, doubling) = (world.below(25) as f64 / 100.0, world.below(15) as f64 / 100.0);
    {
        let mut weather = world.weather.lock();
        (weather.loss, weather.doubling, weather.slowest_us) = (loss, doubling, 30_000);
    }
    let wait = Duration::from_millis(200 + world.below(1_000) as u64);
    let world = world.clone();
    tokio::spawn(async move {
        sleep(wait).await;
        let mut weather = world.weather.lock();
        (weather.loss, weather.doubling, weather.slowest_us) = (0.0, 0.0, 2_000);
    });
}

fn transfer(world: &Arc<World>, node: usize) {
    let to = name(world.below(world.size()));
    if let Some(group) = world.group(node) {
        tokio::spawn(async move {
            // Whether it succeeds is not the point.
            let _ = group
                .transfer_leadership(&to, Instant::now() + Duration::from_millis(700))
                .await;
        });
    }
}

/// Three voters or more, of all nodes.
fn change_members(world: &Arc<World>, node: usize) {
    let mut voters: Vec<usize> = (0..world.size()).collect();
    while voters.len() > 3 && world.chance(60) {
        voters.remove(world.below(voters.len()));
    }
    let voters: Vec<String> = voters.into_iter().map(name).collect();
    if let Some(group) = world.group(node) {
        tokio::spawn(async move {
            // As above.
            let _ = group
                .change_members(&voters, Instant::now() + Duration::from_secs(2))
                .await;
        });
    }
}

/// Everything is well again.
pub(crate) async fn calm(world: &Arc<World>) {
    sleep(Duration::from_millis(2_500)).await;
    {
        let mut weather = world.weather.lock();
        weather.cut.clear();
        (weather.loss, weather.doubling, weather.slowest_us) = (0.0, 0.0, 2_000);
    }
    for node in 0..world.size() {
        // A member whose disk has failed is stopped and stays so until its machine is started again.
        if world
            .group(node)
            .is_none_or(|group| group.status().error.is_some())
        {
            world.crash(node, false);
            world.boot(node).await;
        }
    }
}
