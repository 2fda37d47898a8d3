//! The figures of the market core: medians and the worst of some runs, each with its result checked.
//!
//! `cargo bench -p foundation_market [--bench figures] [-- NAME]` runs those whose name contains the word.

use foundation_market::assignment::{Costs, auction, hungarian};
use foundation_market::auction::cats::{Distribution, generate};
use foundation_market::auction::{
    Bid, Bidding, Pricing, UnitBid, determine_winners, multi_unit, vcg, vickrey,
};
use foundation_market::market::{Book, BookRules, Kind, Order, Report, Side};
use foundation_market::vote::{Ballot, TieBreak, schulze};
use foundation_market::{Limits, Money, Rng};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Times each of `runs` calls, with the number of the run.
fn measure(name: &str, runs: usize, mut call: impl FnMut(u64)) {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    if wanted.is_some_and(|word| !name.contains(&word)) {
        return;
    }
    let mut times: Vec<Duration> = (0..runs as u64)
        .map(|run| {
            let start = Instant::now();
            call(run);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, worst) = (times[runs / 2], times[runs - 1]);
    println!("{name:<48} median {median:>12.3?}   worst {worst:>12.3?}   {runs} runs");
}

fn sealed() {
    let mut rng = Rng::new(1);
    let bids: Vec<Bid> = (0..10_000)
        .map(|bidder| Bid {
            bidder,
            amount: Money::from_micros(rng.below(1 << 40) as i64),
        })
        .collect();
    measure("sealed: 10,000 bids, second price", 100, |_| {
        let sale = vickrey(black_box(&bids), Money::ZERO).expect("there is a bid");
        assert!(
            bids.iter()
                .all(|bid| bid.bidder == sale.bidder || bid.amount <= sale.price)
        );
    });
    let bids: Vec<UnitBid> = (0..10_000)
        .map(|bidder| UnitBid {
            bidder,
            units: 1 + rng.below(5),
            price: Money::from_micros(1 + rng.below(1 << 20) as i64),
        })
        .collect();
    measure("sealed: 10,000 bids, 5,000 units, uniform price", 100, |_| {
        let outcome =
            multi_unit(black_box(&bids), 5_000, Money::ZERO, Pricing::Uniform).expect("no overflow");
        assert_eq!(outcome.wins.iter().map(|win| win.units).sum::<u64>(), 5_000);
    });
}

fn combinatorial() {
    for (name, distribution) in [
        ("arbitrary", Distribution::Arbitrary),
        ("regions", Distribution::Regions),
    ] {
        measure(
            &format!("combinatorial: CATS {name}, 200 bids, 50 items"),
            40,
            |seed| {
                let bids = generate(distribution, 50, 200, seed);
                let best = determine_winners(50, &bids, Bidding::Xor, &Limits::none()).expect("valid bids");
                assert!(best.optimal());
            },
        );
        measure(
            &format!("combinatorial: the same with VCG ({name})"),
            15,
            |seed| {
                let bids = generate(distribution, 50, 200, seed);
                assert!(
                    vcg(50, &bids, Bidding::Xor, &Limits::none())
                        .expect("valid bids")
                        .exact()
                );
            },
        );
        measure(
            &format!("combinatorial: CATS {name}, 500 bids, 100 items"),
            5,
            |seed| {
                let bids = generate(distribution, 100, 500, seed);
                let best =
                    determine_winners(100, &bids, Bidding::Xor, &Limits::steps(5_000)).expect("valid bids");
                println!(
                    "    {} nodes, gap {:.3} %",
                    best.nodes,
                    100.0 * best.gap().to_f64() / best.value.to_f64()
                );
            },
        );
    }
}

fn book() {
    let mut rng = Rng::new(2);
    let orders: Vec<Order> = (0..1_000_000)
        .map(|_| Order {
            owner: rng.below(1_000) as u32,
            side: if rng.below(2) == 0 { Side::Buy } else { Side::Sell },
            kind: Kind::Limit,
            price: Money::from_micros(1_000 + (20.0 * rng.normal()) as i64),
            quantity: 1 + rng.below(100),
        })
        .collect();
    measure("book: 1,000,000 limit orders, about 100 levels", 5, |_| {
        let mut book = Book::new(BookRules::default()).expect("valid rules");
        let mut report = Report::default();
        let (mut traded, mut given) = (0, 0);
        for order in &orders {
            report.clear();
            let placed = book.place(*order, &mut report).expect("a valid order");
            traded += 2 * placed.filled;
            given += order.quantity - placed.dropped;
        }
        let waiting: u128 = [Side::Buy, Side::Sell]
            .iter()
            .flat_map(|side| book.depth(*side, 10_000))
            .map(|d| d.quantity)
            .sum();
        assert_eq!(u128::from(given), u128::from(traded) + waiting);
    });
}

fn assignment() {
    for (name, range) in [("0..1,000", 1_000), ("0..1,000,000", 1_000_000)] {
        let mut rng = Rng::new(3);
        let cells: Vec<i64> = (0..1_000_000).map(|_| rng.below(range) as i64).collect();
        let costs = Costs::from_micros(1_000, 1_000, cells).expect("a full matrix");
        let mut best = Money::ZERO;
        measure(
            &format!("assignment: 1,000 x 1,000, {name}, Hungarian"),
            7,
            |_| {
                let found = hungarian(black_box(&costs), &Limits::none()).expect("no limits");
                assert!(found.columns.iter().all(Option::is_some));
                best = found.cost;
            },
        );
        measure(&format!("assignment: 1,000 x 1,000, {name}, auction"), 3, |_| {
            let found = auction(black_box(&costs), &Limits::none()).expect("no limits");
            assert!(best == Money::ZERO || found.assignment.cost == best);
        });
    }
    // The matrix that is hard for many: costs i · j (Machol and Wien 1976).
    let cells: Vec<i64> = (0..1_000_000)
        .map(|at| (at / 1_000 + 1) * (at % 1_000 + 1))
        .collect();
    let costs = Costs::from_micros(1_000, 1_000, cells).expect("a full matrix");
    measure("assignment: 1,000 x 1,000, i * j, Hungarian", 3, |_| {
        let found = hungarian(black_box(&costs), &Limits::none()).expect("no limits");
        assert!(
            found
                .columns
                .iter()
                .enumerate()
                .all(|(row, col)| *col == Some(999 - row as u32))
        );
    });
}

fn votes() {
    let mut rng = Rng::new(4);
    let ballots: Vec<Ballot> = (0..10_000)
        .map(|_| {
            let mut ranking: Vec<u32> = (0..10).collect();
            rng.shuffle(&mut ranking);
            Ballot { ranking, weight: 1 }
        })
        .collect();
    measure("vote: 10,000 ballots on 10 options, Schulze", 20, |_| {
        let result = schulze(10, black_box(&ballots), TieBreak::Lowest).expect("valid ballots");
        assert!(result.winner.is_some());
    });
}

fn main() {
    sealed();
    combinatorial();
    book();
    assignment();
    votes();
}
