use crate::units;
use foundation_market::auction::{
    Bid, Dutch, DutchRules, English, EnglishRules, Pricing, Rule, Sealed, UnitBid, first_price, mcafee,
    multi_unit, vickrey,
};
use foundation_market::{Error, Money, Rng};

fn bids(amounts: &[i64]) -> Vec<Bid> {
    let pairs = (0_u32..).zip(amounts);
    pairs
        .map(|(bidder, amount)| Bid {
            bidder,
            amount: units(*amount),
        })
        .collect()
}

#[test]
fn the_second_price_is_paid() {
    // Vickrey 1961: the highest bidder wins at the second highest bid.
    let sale = vickrey(&bids(&[30, 100, 70]), units(10)).unwrap();
    assert_eq!((sale.bidder, sale.price), (1, units(70)));
    assert_eq!(
        vickrey(&bids(&[30, 100, 70]), units(90)).unwrap().price,
        units(90)
    );
    assert_eq!(vickrey(&bids(&[30, 100]), units(101)), None);
    assert_eq!(
        first_price(&bids(&[30, 100, 70]), units(10)).unwrap().price,
        units(100)
    );
    // A tie: the earlier bid wins, and pays as much.
    let tie = vickrey(&bids(&[5, 9, 9]), Money::ZERO).unwrap();
    assert_eq!((tie.bidder, tie.price), (1, units(9)));
    // A bidder's own second bid is no competition.
    let twice = [
        Bid {
            bidder: 3,
            amount: units(8),
        },
        Bid {
            bidder: 3,
            amount: units(9),
        },
    ];
    assert_eq!(vickrey(&twice, units(2)).unwrap().price, units(2));
}

/// Whether some bidder gains by a bid that is not its value.
fn profitable_lie(rule: fn(&[Bid], Money) -> Option<foundation_market::auction::Sale>, seed: u64) -> bool {
    let mut rng = Rng::new(seed);
    let values: Vec<i64> = (0..4).map(|_| rng.below(20) as i64).collect();
    let reserve = units(rng.below(10) as i64);
    let gain = |amounts: &[i64], bidder: usize| match rule(&bids(amounts), reserve) {
        Some(sale) if sale.bidder as usize == bidder => units(values[bidder]).minus(sale.price).unwrap(),
        _ => Money::ZERO,
    };
    (0..4).any(|bidder| {
        let honest = gain(&values, bidder);
        (0..25).any(|lie| {
            let mut amounts = values.clone();
            amounts[bidder] = lie;
            gain(&amounts, bidder) > honest
        })
    })
}

#[test]
fn nobody_gains_by_a_lie_at_the_second_price_and_many_do_at_the_first() {
    assert!((0..300).all(|seed| !profitable_lie(vickrey, seed)));
    assert!((0..300).filter(|seed| profitable_lie(first_price, *seed)).count() > 100);
}

#[test]
fn sealed_bids_are_taken_until_the_end() {
    let mut auction = Sealed::open(Rule::Vickrey, units(5), Some(100)).unwrap();
    let bid = |bidder, amount| Bid {
        bidder,
        amount: units(amount),
    };
    auction.bid(0, bid(1, 10)).unwrap();
    auction.bid(1, bid(2, 20)).unwrap();
    auction.bid(2, bid(1, 20)).unwrap();
    assert_eq!(auction.bid(3, bid(3, 4)), Err(Error::TooLow));
    assert_eq!(auction.bidders(), 2);
    assert!(!auction.tick(99));
    assert_eq!(auction.bid(100, bid(3, 50)), Err(Error::Closed));
    // Bidder 1 lost its place with its second bid.
    assert_eq!(auction.close().unwrap().bidder, 2);
    assert_eq!(auction.close().unwrap().price, units(20));
}

#[test]
fn an_english_auction_rises_and_is_extended() {
    let rules = EnglishRules {
        start: units(10),
        reserve: units(15),
        increment: units(2),
        closes_at: 1_000,
        extend_ms: 100,
    };
    let mut auction = English::open(rules).unwrap();
    let bid = |bidder, amount| Bid {
        bidder,
        amount: units(amount),
    };
    assert_eq!(auction.bid(0, bid(1, 9)), Err(Error::TooLow));
    assert_eq!(auction.bid(0, bid(1, 10)), Ok(1_000));
    assert_eq!(auction.bid(1, bid(1, 20)), Err(Error::NotYourTurn));
    assert_eq!(auction.bid(1, bid(2, 11)), Err(Error::TooLow));
    assert_eq!(auction.clone().close(), None);
    assert_eq!(auction.bid(950, bid(2, 16)), Ok(1_050));
    assert_eq!(auction.asking(), Ok(units(18)));
    assert!(!auction.tick(1_049) && auction.tick(1_050));
    assert_eq!(auction.bid(1_050, bid(1, 99)), Err(Error::Closed));
    let sale = auction.close().unwrap();
    assert_eq!((sale.bidder, sale.price), (2, units(16)));
}

#[test]
fn a_dutch_auction_falls_to_its_reserve() {
    let rules = DutchRules {
        start: units(100),
        reserve: units(75),
        decrement: units(10),
        interval_ms: 50,
        opens_at: 1_000,
    };
    let mut auction = Dutch::open(rules).unwrap();
    assert_eq!(auction.accept(999, 1), Err(Error::Closed));
    let price = |at| auction.price_at(at);
    assert_eq!(price(1_000), Some(units(100)));
    assert_eq!(price(1_149), Some(units(80)));
    assert_eq!(price(1_150), Some(units(75)));
    assert_eq!(price(1_200), None);
    let mut unsold = auction.clone();
    assert!(unsold.tick(1_200));
    assert_eq!(unsold.close(), None);
    assert_eq!(auction.accept(1_060, 7).unwrap().price, units(90));
    assert_eq!(auction.accept(1_061, 8), Err(Error::Closed));
    assert_eq!(auction.close().unwrap().bidder, 7);
}

#[test]
fn units_go_to_the_highest_prices() {
    let bid = |bidder, count, price| UnitBid {
        bidder,
        units: count,
        price: units(price),
    };
    let bids = [bid(0, 3, 10), bid(1, 2, 12), bid(2, 4, 8), bid(3, 1, 2)];
    let uniform = multi_unit(&bids, 7, units(3), Pricing::Uniform).unwrap();
    let won: Vec<(u32, u64)> = uniform.wins.iter().map(|win| (win.bidder, win.units)).collect();
    assert_eq!(won, vec![(1, 2), (0, 3), (2, 2)]);
    // The third bid is filled in part: its price is the highest one rejected.
    assert_eq!(uniform.revenue, units(7 * 8));
    let own = multi_unit(&bids, 7, units(3), Pricing::Discriminatory).unwrap();
    assert_eq!(own.revenue, units(24 + 30 + 16));
    let plenty = multi_unit(&bids, 20, units(3), Pricing::Uniform).unwrap();
    assert_eq!((plenty.unsold, plenty.revenue), (11, units(9 * 3)));
}

#[test]
fn mcafee_clears_and_keeps_the_rest() {
    // The first case of McAfee 1992: the price between the pair left out suits the last pair.
    let all = mcafee(&bids(&[9, 8, 7, 4]), &bids(&[2, 3, 4, 5])).unwrap();
    assert_eq!(
        (all.buyers.len(), all.buy_price),
        (3, Money::from_micros(4_500_000))
    );
    assert_eq!(all.surplus, Money::ZERO);
    // The second case: it does not, so the last pair gives the prices and does not trade.
    let fewer = mcafee(&bids(&[9, 8, 7, 4]), &bids(&[2, 3, 4, 12])).unwrap();
    assert_eq!(
        (fewer.buyers.len(), fewer.buy_price, fewer.sell_price),
        (2, units(7), units(4))
    );
    assert_eq!(fewer.surplus, units(6));
    assert!(mcafee(&bids(&[1]), &bids(&[2])).unwrap().buyers.is_empty());
    assert!(mcafee(&[], &bids(&[2])).unwrap().buyers.is_empty());
}

#[test]
fn mcafee_never_pays_in_and_rewards_no_lie() {
    let mut rng = Rng::new(5);
    for _ in 0..400 {
        let mut draw = || -> Vec<i64> { (0..1 + rng.below(5)).map(|_| rng.below(15) as i64).collect() };
        let (values, costs) = (draw(), draw());
        let honest = mcafee(&bids(&values), &bids(&costs)).unwrap();
        assert!(honest.surplus >= Money::ZERO && honest.buyers.len() == honest.sellers.len());
        let buyer_gain = |amounts: &[i64], at: usize| {
            let result = mcafee(&bids(amounts), &bids(&costs)).unwrap();
            if result.buyers.contains(&at) {
                units(values[at]).minus(result.buy_price).unwrap()
            } else {
                Money::ZERO
            }
        };
        let seller_gain = |amounts: &[i64], at: usize| {
            let result = mcafee(&bids(&values), &bids(amounts)).unwrap();
            if result.sellers.contains(&at) {
                result.sell_price.minus(units(costs[at])).unwrap()
            } else {
                Money::ZERO
            }
        };
        for lie in 0..16 {
            for at in 0..values.len() {
                let mut told = values.clone();
                told[at] = lie;
                assert!(
                    buyer_gain(&told, at) <= buyer_gain(&values, at),
                    "{values:?} {costs:?} {at} {lie}"
                );
            }
            for at in 0..costs.len() {
                let mut told = costs.clone();
                told[at] = lie;
                assert!(
                    seller_gain(&told, at) <= seller_gain(&costs, at),
                    "{values:?} {costs:?} {at} {lie}"
                );
            }
        }
    }
}
