use crate::units;
use foundation_market::auction::cats::{Distribution, generate};
use foundation_market::auction::{Bidding, BundleBid, determine_winners, vcg};
use foundation_market::{Error, Limits, Money, Rng, lp};

fn bid(bidder: u32, items: &[u32], price: i64) -> BundleBid {
    BundleBid {
        bidder,
        items: items.to_vec(),
        price: units(price),
    }
}

/// The best value by trying every set of bids.
fn brute(items: u32, bids: &[BundleBid], bidding: Bidding) -> Money {
    fn go(bids: &[BundleBid], at: usize, taken: u64, won: &mut Vec<u32>, xor: bool) -> i64 {
        let Some(bid) = bids.get(at) else { return 0 };
        let skipped = go(bids, at + 1, taken, won, xor);
        let mask = bid.items.iter().fold(0_u64, |mask, item| mask | 1 << item);
        if taken & mask != 0 || (xor && won.contains(&bid.bidder)) {
            return skipped;
        }
        won.push(bid.bidder);
        let with = bid.price.micros() + go(bids, at + 1, taken | mask, won, xor);
        won.pop();
        skipped.max(with)
    }
    assert!(items <= 64);
    Money::from_micros(go(bids, 0, 0, &mut Vec::new(), bidding == Bidding::Xor))
}

fn random(seed: u64, count: usize, items: u32) -> Vec<BundleBid> {
    let mut rng = Rng::new(seed);
    (0..count)
        .map(|_| {
            let mut all: Vec<u32> = (0..items).collect();
            rng.shuffle(&mut all);
            all.truncate(1 + rng.index(4.min(items as usize)));
            bid(rng.below(5) as u32, &all, rng.below(30) as i64 + all.len() as i64)
        })
        .collect()
}

/// Checks that an allocation is one, and worth what it says.
fn check(bids: &[BundleBid], winners: &[usize], value: Money, bidding: Bidding) {
    let mut taken = Vec::new();
    let mut bidders = Vec::new();
    for &at in winners {
        taken.extend(&bids[at].items);
        bidders.push(bids[at].bidder);
    }
    let unique = |list: &mut Vec<u32>| {
        let before = list.len();
        list.sort_unstable();
        list.dedup();
        list.len() == before
    };
    assert!(unique(&mut taken), "an item is sold twice");
    assert!(
        bidding == Bidding::Or || unique(&mut bidders),
        "a bidder wins twice"
    );
    assert_eq!(Money::sum(winners.iter().map(|&at| bids[at].price)), Ok(value));
}

#[test]
fn small_instances_are_solved_as_by_brute_force() {
    for seed in 0..400 {
        let bids = random(seed, 14, 8);
        for bidding in [Bidding::Or, Bidding::Xor] {
            let best = determine_winners(8, &bids, bidding, &Limits::none()).unwrap();
            assert!(best.optimal());
            assert_eq!(best.value, brute(8, &bids, bidding), "seed {seed}, {bidding:?}");
            check(&bids, &best.winners, best.value, bidding);
        }
    }
}

#[test]
fn small_cats_instances_are_solved_as_by_brute_force() {
    for seed in 0..40 {
        for distribution in [Distribution::Regions, Distribution::Arbitrary] {
            let bids = generate(distribution, 12, 20, seed);
            let best = determine_winners(12, &bids, Bidding::Xor, &Limits::none()).unwrap();
            assert_eq!(best.value, brute(12, &bids, Bidding::Xor));
        }
    }
}

/// The value of the linear relaxation: no allocation is worth more.
fn relaxation(items: u32, bids: &[BundleBid]) -> f64 {
    let bidders = bids.iter().map(|bid| bid.bidder).max().unwrap() + 1;
    let has = |taken: &dyn Fn(&BundleBid) -> bool| {
        (
            bids.iter()
                .map(|bid| f64::from(u8::from(taken(bid))))
                .collect::<Vec<f64>>(),
            1.0,
        )
    };
    let mut rows: Vec<_> = (0..items)
        .map(|item| has(&|bid| bid.items.contains(&item)))
        .collect();
    rows.extend((0..bidders).map(|bidder| has(&|bid| bid.bidder == bidder)));
    let prices: Vec<f64> = bids.iter().map(|bid| bid.price.to_f64()).collect();
    lp::maximise(&rows, &prices, &Limits::none()).unwrap().value
}

#[test]
fn larger_cats_instances_are_proved_and_stay_below_the_relaxation() {
    for seed in 0..6 {
        for distribution in [Distribution::Regions, Distribution::Arbitrary] {
            let bids = generate(distribution, 50, 200, seed);
            assert_eq!(bids.len(), 200);
            let best = determine_winners(50, &bids, Bidding::Xor, &Limits::none()).unwrap();
            assert!(best.optimal());
            check(&bids, &best.winners, best.value, Bidding::Xor);
            let top = relaxation(50, &bids);
            let part = best.value.to_f64() / top;
            assert!(
                part <= 1.0 + 1e-9 && part > 0.6,
                "seed {seed}: {part} of the relaxation"
            );
        }
    }
}

#[test]
fn a_stopped_search_says_how_far_it_may_be_off() {
    for seed in 0..30 {
        let bids = generate(Distribution::Arbitrary, 30, 120, seed);
        let best = determine_winners(30, &bids, Bidding::Xor, &Limits::none())
            .unwrap()
            .value;
        for steps in [0, 1, 60, 200] {
            let found = determine_winners(30, &bids, Bidding::Xor, &Limits::steps(steps)).unwrap();
            check(&bids, &found.winners, found.value, Bidding::Xor);
            assert!(
                found.value <= best && best <= found.bound,
                "seed {seed}, {steps} steps"
            );
            assert_eq!(found.gap(), found.bound.minus(found.value).unwrap());
        }
    }
    let stop = || true;
    let bids = generate(Distribution::Regions, 30, 100, 1);
    assert!(determine_winners(30, &bids, Bidding::Xor, &Limits::until(u64::MAX, &stop)).is_ok());
}

#[test]
fn what_is_too_large_for_a_tableau_comes_with_a_gap() {
    let bids = generate(Distribution::Regions, 1_000, 5_000, 3);
    let found = determine_winners(1_000, &bids, Bidding::Xor, &Limits::steps(10_000)).unwrap();
    check(&bids, &found.winners, found.value, Bidding::Xor);
    assert!(found.gap() > Money::ZERO && found.gap().to_f64() < 0.35 * found.bound.to_f64());
}

#[test]
fn nonsense_is_refused() {
    let none = Limits::none();
    let error = |bids: &[BundleBid]| determine_winners(2, bids, Bidding::Or, &none).err();
    assert_eq!(error(&[bid(0, &[2], 1)]), Some(Error::Invalid("items")));
    assert_eq!(error(&[bid(0, &[], 1)]), Some(Error::Invalid("items")));
    let most = BundleBid {
        bidder: 0,
        items: vec![0],
        price: Money::MAX,
    };
    let two = [
        most.clone(),
        BundleBid {
            items: vec![1],
            ..most
        },
    ];
    assert_eq!(error(&two), Some(Error::Overflow));
    assert_eq!(
        determine_winners(u32::MAX, &[], Bidding::Or, &none).err(),
        Some(Error::TooLarge("items"))
    );
    let nothing = determine_winners(0, &[], Bidding::Xor, &none).unwrap();
    assert!(nothing.winners.is_empty() && nothing.optimal());
    let negative = determine_winners(1, &[bid(0, &[0], -5)], Bidding::Or, &none).unwrap();
    assert!(negative.winners.is_empty());
}

#[test]
fn the_textbook_payments() {
    // Two apples: A wants one for 5, B one for 2, C both for 6 (the example of the article "Vickrey-Clarke-Groves
    // auction" of Wikipedia): A pays 4, B pays 1.
    let bids = [
        bid(0, &[0], 5),
        bid(0, &[1], 5),
        bid(1, &[0], 2),
        bid(1, &[1], 2),
        bid(2, &[0, 1], 6),
    ];
    let outcome = vcg(2, &bids, Bidding::Xor, &Limits::none()).unwrap();
    assert!(outcome.exact());
    assert_eq!(outcome.allocation.value, units(7));
    let paid: Vec<(u32, Money)> = outcome
        .payments
        .iter()
        .map(|payment| (payment.bidder, payment.amount))
        .collect();
    assert_eq!(paid, vec![(0, units(4)), (1, units(1))]);
    // Ausubel and Milgrom 2006, "The lovely but lonely Vickrey auction": two win for nothing.
    let bids = [bid(1, &[0, 1], 2), bid(2, &[0], 2), bid(3, &[1], 2)];
    let outcome = vcg(2, &bids, Bidding::Xor, &Limits::none()).unwrap();
    assert_eq!(
        (outcome.allocation.value, outcome.revenue),
        (units(4), Money::ZERO)
    );
    // One item: Vickrey's auction.
    let bids = [bid(0, &[0], 30), bid(1, &[0], 100), bid(2, &[0], 70)];
    let outcome = vcg(1, &bids, Bidding::Xor, &Limits::none()).unwrap();
    assert_eq!(
        (outcome.payments[0].bidder, outcome.payments[0].amount),
        (1, units(70))
    );
}

#[test]
fn payments_are_those_of_brute_force() {
    for seed in 0..150 {
        let bids = random(seed, 12, 7);
        for bidding in [Bidding::Or, Bidding::Xor] {
            let outcome = vcg(7, &bids, bidding, &Limits::none()).unwrap();
            assert!(outcome.exact());
            for payment in &outcome.payments {
                let others: Vec<BundleBid> = bids
                    .iter()
                    .filter(|bid| bid.bidder != payment.bidder)
                    .cloned()
                    .collect();
                let without = brute(7, &others, bidding);
                let rest = outcome.allocation.value.minus(payment.offered).unwrap();
                assert_eq!(payment.amount, without.minus(rest).unwrap(), "seed {seed}");
            }
        }
    }
}

/// What a bidder of a true valuation gains from an outcome in which it may have told another one.
fn gain(told: &[BundleBid], truth: &[BundleBid], bidder: u32, first_price: bool) -> Money {
    let outcome = vcg(6, told, Bidding::Xor, &Limits::none()).unwrap();
    let Some(payment) = outcome.payments.iter().find(|payment| payment.bidder == bidder) else {
        return Money::ZERO;
    };
    let paid = if first_price {
        payment.offered
    } else {
        payment.amount
    };
    let worth = payment.bids.iter().map(|&at| truth[at].price);
    Money::sum(worth).unwrap().minus(paid).unwrap()
}

fn profitable_lies(first_price: bool) -> usize {
    let mut rng = Rng::new(11);
    let mut found = 0;
    for seed in 0..60 {
        let truth = random(1_000 + seed, 9, 6);
        for bidder in 0..5 {
            let honest = gain(&truth, &truth, bidder, first_price);
            for _ in 0..12 {
                let mut told = truth.clone();
                for bid in told.iter_mut().filter(|bid| bid.bidder == bidder) {
                    bid.price = bid.price.share(rng.below(31) as i64, 10).unwrap();
                }
                found += usize::from(gain(&told, &truth, bidder, first_price) > honest);
            }
        }
    }
    found
}

#[test]
fn no_lie_pays_under_vcg_and_some_do_under_first_price() {
    assert_eq!(profitable_lies(false), 0);
    assert!(profitable_lies(true) > 50);
}
