use foundation_market::market::{Book, BookRules, Kind, Order, Placed, Report, SelfTrade, Side};
use foundation_market::{Error, Money};
use proptest::prelude::*;

fn price(ticks: i64) -> Money {
    Money::from_micros(ticks)
}

/// A book that looks at every order each time.
#[derive(Default)]
struct Naive {
    waiting: Vec<(u64, Order)>,
    last_id: u64,
}

impl Naive {
    /// The place of the order that comes next for that one.
    fn best(&self, order: &Order) -> Option<usize> {
        let suits = |other: &Order| match (order.kind, order.side) {
            (Kind::Market, side) => other.side != side,
            (_, Side::Buy) => other.side == Side::Sell && other.price <= order.price,
            (_, Side::Sell) => other.side == Side::Buy && other.price >= order.price,
        };
        (0..self.waiting.len())
            .filter(|&at| suits(&self.waiting[at].1))
            .min_by_key(|&at| {
                let (id, other) = &self.waiting[at];
                let price = other.price.micros();
                (
                    if order.side == Side::Buy { price } else { -price },
                    self.rank(*id),
                )
            })
    }

    /// Orders stand in the list in the order of their time.
    fn rank(&self, id: u64) -> usize {
        self.waiting.iter().position(|(other, _)| *other == id).unwrap()
    }

    /// Trades as (maker, price, quantity), what was cancelled, and what is left, dropped or waiting.
    #[expect(clippy::type_complexity, reason = "compared as a whole")]
    fn place(
        &mut self,
        order: Order,
        rule: SelfTrade,
    ) -> Result<(Vec<(u64, i64, u64)>, Vec<u64>, u64, u64), Error> {
        if order.kind == Kind::PostOnly && self.best(&order).is_some() {
            return Err(Error::WouldTrade);
        }
        let before = self.waiting.clone();
        let (mut left, mut trades, mut cancelled, mut stopped) =
            (order.quantity, Vec::new(), Vec::new(), false);
        while left > 0 && !stopped {
            let Some(at) = self.best(&order) else { break };
            let (id, other) = self.waiting[at];
            if other.owner == order.owner && rule != SelfTrade::Allow {
                stopped = rule != SelfTrade::CancelResting;
                if rule != SelfTrade::CancelIncoming {
                    cancelled.push(id);
                    self.waiting.remove(at);
                }
                continue;
            }
            let quantity = left.min(other.quantity);
            left -= quantity;
            trades.push((id, other.price.micros(), quantity));
            self.waiting[at].1.quantity -= quantity;
            if self.waiting[at].1.quantity == 0 {
                self.waiting.remove(at);
            }
        }
        if order.kind == Kind::FillOrKill && left > 0 {
            self.waiting = before;
            return Err(Error::Unfillable);
        }
        self.last_id += 1;
        if matches!(order.kind, Kind::Limit | Kind::PostOnly) && !stopped && left > 0 {
            self.waiting.push((
                self.last_id,
                Order {
                    quantity: left,
                    ..order
                },
            ));
            return Ok((trades, cancelled, left, 0));
        }
        Ok((trades, cancelled, 0, left))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Place(Order),
    Cancel(u64, u32),
    Replace(u64, u32, i64, u64),
}

fn order() -> impl Strategy<Value = Order> {
    let kinds = [
        Kind::Limit,
        Kind::Limit,
        Kind::Market,
        Kind::ImmediateOrCancel,
        Kind::FillOrKill,
        Kind::PostOnly,
    ];
    (
        0_u32..4,
        any::<bool>(),
        prop::sample::select(kinds.to_vec()),
        1_i64..9,
        1_u64..20,
    )
        .prop_map(|(owner, buys, kind, ticks, quantity)| Order {
            owner,
            side: if buys { Side::Buy } else { Side::Sell },
            kind,
            price: price(ticks),
            quantity,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => order().prop_map(Step::Place),
        1 => (1_u64..60, 0_u32..4).prop_map(|(id, owner)| Step::Cancel(id, owner)),
        1 => (1_u64..60, 0_u32..4, 1_i64..9, 1_u64..20).prop_map(|(id, owner, ticks, quantity)| {
            Step::Replace(id, owner, ticks, quantity)
        }),
    ]
}

fn agree(naive: &Naive, book: &Book) -> Result<(), TestCaseError> {
    prop_assert_eq!(book.len(), naive.waiting.len());
    for (id, order) in &naive.waiting {
        let held = book.order(*id).unwrap();
        prop_assert_eq!(
            (held.owner, held.side, held.price, held.quantity),
            (order.owner, order.side, order.price, order.quantity)
        );
    }
    for side in [Side::Buy, Side::Sell] {
        let depth = book.depth(side, 100);
        let total: u128 = depth.iter().map(|level| level.quantity).sum();
        let mine = naive.waiting.iter().filter(|(_, order)| order.side == side);
        prop_assert_eq!(
            total,
            mine.map(|(_, order)| u128::from(order.quantity)).sum::<u128>()
        );
        let sorted = depth.windows(2).all(|pair| match side {
            Side::Buy => pair[0].price > pair[1].price,
            Side::Sell => pair[0].price < pair[1].price,
        });
        prop_assert!(sorted);
    }
    Ok(())
}

fn placed(naive: &mut Naive, book: &mut Book, order: Order, rule: SelfTrade) -> Result<(), TestCaseError> {
    let mut report = Report::default();
    let answer = book.place(order, &mut report);
    let expected = naive.place(order, rule);
    match (answer, expected) {
        (
            Ok(Placed {
                filled,
                resting,
                dropped,
                ..
            }),
            Ok((trades, cancelled, left, lost)),
        ) => {
            let seen: Vec<_> = report
                .trades
                .iter()
                .map(|t| (t.maker, t.price.micros(), t.quantity))
                .collect();
            prop_assert_eq!(seen, trades);
            prop_assert_eq!(report.cancelled, cancelled);
            prop_assert_eq!((resting, dropped), (left, lost));
            prop_assert_eq!(filled + resting + dropped, order.quantity);
        }
        (answer, expected) => prop_assert_eq!(answer.err(), expected.err()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_book_does_what_the_naive_one_does(
        steps in prop::collection::vec(step(), 1..80),
        rule in prop::sample::select(vec![
            SelfTrade::Allow, SelfTrade::CancelIncoming, SelfTrade::CancelResting, SelfTrade::CancelBoth,
        ]),
    ) {
        let mut book = Book::new(BookRules { self_trade: rule, ..BookRules::default() }).unwrap();
        let mut naive = Naive::default();
        for step in steps {
            match step {
                Step::Place(order) => placed(&mut naive, &mut book, order, rule)?,
                Step::Cancel(id, owner) => {
                    let at = naive.waiting.iter().position(|(other, o)| *other == id && o.owner == owner);
                    prop_assert_eq!(book.cancel(id, owner).is_ok(), at.is_some());
                    if let Some(at) = at {
                        naive.waiting.remove(at);
                    }
                }
                Step::Replace(id, owner, ticks, quantity) => {
                    let at = naive.waiting.iter().position(|(other, o)| *other == id && o.owner == owner);
                    let mut report = Report::default();
                    let answer = book.replace(id, owner, price(ticks), quantity, &mut report);
                    let Some(at) = at else {
                        prop_assert_eq!(answer.err(), Some(Error::NotFound));
                        continue;
                    };
                    let old = naive.waiting[at].1;
                    if old.price == price(ticks) && quantity <= old.quantity {
                        naive.waiting[at].1.quantity = quantity;
                        prop_assert_eq!(answer.unwrap().id, id);
                    } else {
                        naive.waiting.remove(at);
                        let again = Order { kind: Kind::Limit, price: price(ticks), quantity, ..old };
                        let (trades, ..) = naive.place(again, rule).unwrap();
                        prop_assert_eq!(report.trades.len(), trades.len());
                        prop_assert_eq!(answer.unwrap().id, naive.last_id);
                    }
                }
            }
            agree(&naive, &book)?;
        }
    }
}

#[test]
fn bounds_and_bad_orders() {
    let rules = BookRules {
        tick: price(5),
        max_orders: 1,
        ..BookRules::default()
    };
    let mut book = Book::new(rules).unwrap();
    let mut report = Report::default();
    let order = Order {
        owner: 1,
        side: Side::Buy,
        kind: Kind::Limit,
        price: price(10),
        quantity: 1,
    };
    let refused = |book: &mut Book, order: Order| book.place(order, &mut Report::default()).err();
    assert_eq!(
        refused(&mut book, Order { quantity: 0, ..order }),
        Some(Error::Invalid("quantity"))
    );
    assert_eq!(
        refused(
            &mut book,
            Order {
                quantity: u64::MAX,
                ..order
            }
        ),
        Some(Error::Invalid("quantity"))
    );
    assert_eq!(
        refused(
            &mut book,
            Order {
                price: price(11),
                ..order
            }
        ),
        Some(Error::Invalid("price"))
    );
    assert_eq!(
        refused(
            &mut book,
            Order {
                price: price(-10),
                ..order
            }
        ),
        Some(Error::Invalid("price"))
    );
    book.place(order, &mut report).unwrap();
    assert_eq!(refused(&mut book, order), Some(Error::Full));
    assert_eq!(book.cancel(1, 2), Err(Error::NotFound));
    assert_eq!(book.best(Side::Buy), Some(price(10)));
    book.cancel(1, 1).unwrap();
    assert!(book.is_empty());
    assert!(
        Book::new(BookRules {
            tick: Money::ZERO,
            ..rules
        })
        .is_err()
    );
}

#[test]
fn how_many_an_order_would_meet() {
    let rules = [
        SelfTrade::Allow,
        SelfTrade::CancelIncoming,
        SelfTrade::CancelResting,
        SelfTrade::CancelBoth,
    ];
    for (rule, alone) in rules.into_iter().zip([3, 1, 10, 1]) {
        let mut book = Book::new(BookRules {
            self_trade: rule,
            ..BookRules::default()
        })
        .unwrap();
        let order = |owner, side, quantity| Order {
            owner,
            side,
            kind: Kind::Limit,
            price: price(10),
            quantity,
        };
        for _ in 0..10 {
            book.place(order(1, Side::Sell, 2), &mut Report::default())
                .unwrap();
        }
        // Another owner buys 5 of the first three; the same one meets what its rule lets it meet.
        for (owner, met) in [(2, 3), (1, alone)] {
            assert!(
                book.meets_more_than(&order(owner, Side::Buy, 5), met - 1),
                "{rule:?}"
            );
            assert!(
                !book.meets_more_than(&order(owner, Side::Buy, 5), met),
                "{rule:?}"
            );
        }
    }
}
