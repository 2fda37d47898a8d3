use crate::units;
use foundation_market::market::{CallOrder, Lmsr, Search, Side, Trader, clear, equilibrium};
use foundation_market::{Error, Limits, Money, Rng};

fn order(owner: u32, side: Side, price: i64, quantity: u64) -> CallOrder {
    CallOrder {
        owner,
        side,
        price: units(price),
        quantity,
    }
}

#[test]
fn a_call_clears_at_the_largest_volume() {
    let orders = [
        order(1, Side::Buy, 12, 50),
        order(2, Side::Buy, 11, 30),
        order(3, Side::Buy, 10, 40),
        order(4, Side::Sell, 9, 30),
        order(5, Side::Sell, 10, 40),
        order(6, Side::Sell, 11, 60),
    ];
    // At 10: 120 bid, 70 asked; at 11: 80 bid, 130 asked: 80 change hands.
    let cleared = clear(&orders, None).unwrap();
    assert_eq!(
        (cleared.price, cleared.volume, cleared.imbalance),
        (Some(units(11)), 80, -50)
    );
    let fills: Vec<(u32, u64)> = cleared
        .fills
        .iter()
        .map(|fill| (fill.owner, fill.quantity))
        .collect();
    assert_eq!(fills, vec![(1, 50), (2, 30), (4, 30), (5, 40), (6, 10)]);
    assert_eq!(clear(&orders[..3], None).unwrap().price, None);
    assert_eq!(clear(&[], None).unwrap().volume, 0);
    assert_eq!(
        clear(&[order(1, Side::Buy, 0, 1)], None),
        Err(Error::Invalid("price"))
    );
}

#[test]
fn a_call_breaks_ties_by_the_reference_or_the_middle() {
    let orders = [order(1, Side::Buy, 20, 10), order(2, Side::Sell, 10, 10)];
    assert_eq!(clear(&orders, None).unwrap().price, Some(units(15)));
    assert_eq!(clear(&orders, Some(units(12))).unwrap().price, Some(units(12)));
    assert_eq!(clear(&orders, Some(units(99))).unwrap().price, Some(units(20)));
}

#[test]
fn what_is_bought_is_sold_and_no_price_does_better() {
    let mut rng = Rng::new(8);
    for _ in 0..500 {
        let orders: Vec<CallOrder> = (0..rng.below(12))
            .map(|owner| {
                let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
                order(owner as u32, side, 1 + rng.below(10) as i64, 1 + rng.below(9))
            })
            .collect();
        let cleared = clear(&orders, None).unwrap();
        let volume = |price: Money| {
            let sum = |side, fits: &dyn Fn(Money) -> bool| {
                let list = orders
                    .iter()
                    .filter(|order| order.side == side && fits(order.price));
                list.map(|order| order.quantity).sum::<u64>()
            };
            sum(Side::Buy, &|limit| limit >= price).min(sum(Side::Sell, &|limit| limit <= price))
        };
        assert_eq!(
            cleared.volume,
            (1..=10).map(|price| volume(units(price))).max().unwrap()
        );
        let filled = |side| {
            let list = cleared
                .fills
                .iter()
                .filter(|fill| orders[fill.order].side == side);
            list.map(|fill| fill.quantity).sum::<u64>()
        };
        assert_eq!(
            (filled(Side::Buy), filled(Side::Sell)),
            (cleared.volume, cleared.volume)
        );
        for fill in &cleared.fills {
            let order = orders[fill.order];
            let price = cleared.price.unwrap();
            assert!(fill.quantity <= order.quantity);
            assert!(if order.side == Side::Buy {
                order.price >= price
            } else {
                order.price <= price
            });
        }
    }
}

#[test]
fn the_scoring_rule_prices_as_hanson_says() {
    let mut market = Lmsr::new(2, units(100)).unwrap();
    assert_eq!(market.prices(), vec![0.5, 0.5]);
    // C(q) = b ln Σ exp(q/b): ten shares of one outcome cost 100·ln((e^0.1 + 1) / 2) = 5.1249...
    let cost = market.trade_one(0, units(10)).unwrap();
    assert!((cost.to_f64() - 100.0 * ((0.1_f64.exp() + 1.0) / 2.0).ln()).abs() < 2e-6);
    assert!((market.prices()[0] - 1.0 / (1.0 + (-0.1_f64).exp())).abs() < 1e-12);
    assert_eq!(market.max_loss(), Money::ceil(100.0 * 2_f64.ln()));
    assert_eq!(market.trade_one(0, units(60_000)), Err(Error::Invalid("change")));
    assert_eq!(market.trade_one(5, units(1)), Err(Error::Invalid("outcome")));
    assert_eq!(market.quote(&[Money::ZERO, Money::ZERO]), Ok(Money::ZERO));
}

#[test]
fn the_market_maker_never_loses_more_than_its_bound() {
    let mut rng = Rng::new(9);
    for round in 0..200 {
        let outcomes = 2 + rng.index(5);
        let mut market = Lmsr::new(outcomes, Money::from_micros(1 + rng.below(1 << 30) as i64)).unwrap();
        let most = market.max_loss().unwrap();
        let b = market.max_loss().unwrap().micros() / 2 + 1;
        for _ in 0..200 {
            // Many tiny trades in one round, as someone does who hopes for roundings; large ones in the next.
            let size = if round % 2 == 0 {
                10
            } else {
                (b as u64).saturating_mul(8)
            };
            let change: Vec<Money> = (0..outcomes)
                .map(|_| Money::from_micros(rng.below(size) as i64 - size as i64 / 3))
                .collect();
            let _ = market.trade(&change);
            for outcome in 0..outcomes {
                assert!(market.loss(outcome).unwrap() <= most);
            }
            assert!((market.prices().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn there_and_back_never_pays() {
    let mut rng = Rng::new(10);
    let mut market = Lmsr::new(3, units(50)).unwrap();
    for _ in 0..2_000 {
        let change: Vec<Money> = (0..3)
            .map(|_| Money::from_micros(rng.below(400_000_000) as i64 - 200_000_000))
            .collect();
        let back: Vec<Money> = change
            .iter()
            .map(|amount| Money::ZERO.minus(*amount).unwrap())
            .collect();
        let Ok(paid) = market.trade(&change) else { continue };
        let returned = market.trade(&back).unwrap();
        assert!(paid.plus(returned).unwrap() >= Money::ZERO);
        let _ = market.trade(&change);
    }
}

#[test]
fn prices_of_a_cobb_douglas_economy_are_those_of_the_formula() {
    // Mas-Colell, Whinston, Green, example 15.B.1, with a share of its own for each: endowments (1, 2) and (2, 1), shares
    // a and b of the first good. a·(p1 + 2·p2) + b·(2·p1 + p2) = 3·p1 gives p1 / p2 = (2a + b) / (3 - a - 2b).
    let trader = |endowment: [f64; 2], share: f64| Trader {
        endowment: endowment.to_vec(),
        weights: vec![share, 1.0 - share],
        elasticity: 1.0,
    };
    let search = Search {
        tolerance: 1e-9,
        max_rounds: 10_000,
    };
    for (a, b) in [(0.5, 0.5), (0.2, 0.7), (0.9, 0.3)] {
        let found = equilibrium(
            &[trader([1.0, 2.0], a), trader([2.0, 1.0], b)],
            search,
            &Limits::none(),
        )
        .unwrap();
        let expected = (2.0 * a + b) / (3.0 - a - 2.0 * b);
        assert!(found.cleared);
        assert!(
            (found.prices[0] / found.prices[1] - expected).abs() < 1e-6,
            "{found:?}"
        );
    }
}

#[test]
fn an_economy_clears_or_says_that_it_does_not() {
    let mut rng = Rng::new(12);
    for _ in 0..40 {
        let goods = 2 + rng.index(6);
        let traders: Vec<Trader> = (0..3 + rng.index(10))
            .map(|_| Trader {
                endowment: (0..goods).map(|_| 0.1 + rng.unit()).collect(),
                weights: (0..goods).map(|_| 0.05 + rng.unit()).collect(),
                elasticity: 0.5 + 2.0 * rng.unit(),
            })
            .collect();
        let search = Search {
            tolerance: 1e-6,
            max_rounds: 20_000,
        };
        let found = equilibrium(&traders, search, &Limits::none()).unwrap();
        assert!(found.cleared, "residual {}", found.residual);
        // Everyone spends what the own goods are worth.
        for (trader, taken) in traders.iter().zip(&found.demand) {
            let worth = |list: &[f64]| list.iter().zip(&found.prices).map(|(n, p)| n * p).sum::<f64>();
            assert!((worth(taken) - worth(&trader.endowment)).abs() < 1e-9);
        }
        let stopped = equilibrium(&traders, search, &Limits::steps(1)).unwrap();
        assert!(!stopped.cleared && stopped.residual > 1e-6);
    }
}
