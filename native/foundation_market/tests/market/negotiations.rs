use crate::units;
use foundation_market::negotiation::{
    AlternatingOffers, Issues, Turn, rubinstein, rubinstein_finite, zeuthen,
};
use foundation_market::{Error, Limits, Money, Rng};

#[test]
fn patience_is_worth_what_rubinstein_says() {
    // Equal patience δ: the first one gets 1 / (1 + δ).
    assert!((rubinstein(0.5, 0.5).unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert!((rubinstein(0.9, 0.8).unwrap() - 0.2 / 0.28).abs() < 1e-12);
    assert_eq!(rubinstein_finite(0.9, 0.8, 1), Ok(1.0));
    // In the last of two rounds the second one would get it all: now worth its patience.
    assert!((rubinstein_finite(0.9, 0.8, 2).unwrap() - 0.2).abs() < 1e-12);
    assert!((rubinstein_finite(0.9, 0.8, 3).unwrap() - (1.0 - 0.8 * (1.0 - 0.9))).abs() < 1e-12);
    assert!((rubinstein_finite(0.9, 0.8, 1_000).unwrap() - 0.2 / 0.28).abs() < 1e-9);
    assert!(rubinstein(1.0, 0.5).is_err() && rubinstein(f64::NAN, 0.5).is_err());
}

#[test]
fn offers_alternate_until_one_is_accepted() {
    let mut talk = AlternatingOffers::new(units(100), 3).unwrap();
    assert_eq!(talk.offer(1, units(50)), Err(Error::NotYourTurn));
    assert_eq!(talk.offer(0, units(101)), Err(Error::Invalid("keep")));
    talk.offer(0, units(90)).unwrap();
    assert_eq!(talk.answer(0, true), Err(Error::NotYourTurn));
    assert_eq!(talk.answer(1, false), Ok(Turn::Offer(1)));
    talk.offer(1, units(60)).unwrap();
    assert_eq!(talk.offered(), Some([units(40), units(60)]));
    assert_eq!(talk.answer(0, true), Ok(Turn::Over));
    let agreed = talk.agreement().unwrap();
    assert_eq!((agreed.shares, agreed.round), ([units(40), units(60)], 1));
    assert_eq!(talk.offer(0, Money::ZERO), Err(Error::Closed));
    let mut stubborn = AlternatingOffers::new(units(1), 2).unwrap();
    for party in [0, 1] {
        stubborn.offer(party, units(1)).unwrap();
        stubborn.answer(1 - party, false).unwrap();
    }
    assert_eq!((stubborn.turn(), stubborn.agreement()), (Turn::Over, None));
}

#[test]
fn who_plays_the_equilibrium_agrees_at_once() {
    let (first, second) = (0.9, 0.7);
    let mut talk = AlternatingOffers::new(units(1), 100).unwrap();
    // Party 0 offers what party 1 would get, one round later, by offering itself.
    let keep = Money::floor(rubinstein(first, second).unwrap()).unwrap();
    talk.offer(0, keep).unwrap();
    let waiting = second * rubinstein(second, first).unwrap();
    let offered = talk.offered().unwrap()[1].to_f64();
    assert!(offered >= waiting - 1e-9 && offered < waiting + 1e-5);
    talk.answer(1, offered >= waiting - 1e-9).unwrap();
    assert_eq!(talk.agreement().unwrap().round, 0);
}

#[test]
fn concessions_end_at_the_largest_product() {
    let mut rng = Rng::new(1);
    for _ in 0..500 {
        let count = 1 + rng.index(20);
        let mut draw = || (0..count).map(|_| rng.unit() * 10.0).collect::<Vec<f64>>();
        let (a, b) = (draw(), draw());
        let conflict = (1.0, 1.0);
        let result = zeuthen(&a, &b, conflict).unwrap();
        let fits = |deal: usize| a[deal] >= 1.0 && b[deal] >= 1.0;
        let product = |deal: usize| (a[deal] - 1.0) * (b[deal] - 1.0);
        let best = (0..count)
            .filter(|deal| fits(*deal))
            .map(product)
            .fold(f64::NEG_INFINITY, f64::max);
        match result.deal {
            Some(deal) => assert!((product(deal as usize) - best).abs() < 1e-12, "{a:?} {b:?}"),
            None => assert!((0..count).all(|deal| !fits(deal))),
        }
        // Nobody ever takes a concession back.
        for step in result.path.windows(2) {
            assert!(b[step[1].0 as usize] >= b[step[0].0 as usize]);
            assert!(a[step[1].1 as usize] >= a[step[0].1 as usize]);
        }
    }
    assert!(zeuthen(&[], &[], (0.0, 0.0)).is_err());
    assert!(zeuthen(&[f64::NAN], &[1.0], (0.0, 0.0)).is_err());
}

#[test]
fn improvements_help_someone_and_hurt_nobody() {
    let mut rng = Rng::new(2);
    for _ in 0..100 {
        let options: Vec<usize> = (0..3).map(|_| 1 + rng.index(4)).collect();
        let points: Vec<Vec<Vec<i64>>> = (0..2 + rng.index(2))
            .map(|_| {
                options
                    .iter()
                    .map(|count| (0..*count).map(|_| rng.below(20) as i64).collect())
                    .collect()
            })
            .collect();
        let issues = Issues::new(points).unwrap();
        let start: Vec<u32> = options.iter().map(|count| rng.index(*count) as u32).collect();
        let before = issues.worth(&start).unwrap();
        let found = issues.improve(&start, &Limits::none()).unwrap();
        assert!(
            found.complete
                && found
                    .worth
                    .iter()
                    .zip(&before)
                    .all(|(after, before)| after >= before)
        );
        assert_eq!(issues.worth(&found.deal).unwrap(), found.worth);
        let frontier = issues.frontier(&Limits::none()).unwrap();
        for (deal, worth) in &frontier {
            assert_eq!(&issues.worth(deal).unwrap(), worth);
            let beaten = |other: &Vec<i64>| other != worth && other.iter().zip(worth).all(|(a, b)| a >= b);
            assert!(!frontier.iter().any(|(_, other)| beaten(other)));
        }
        assert!(
            frontier
                .iter()
                .any(|(_, worth)| worth.iter().zip(&found.worth).all(|(a, b)| a >= b))
        );
    }
    assert!(Issues::new(vec![]).is_err() && Issues::new(vec![vec![vec![]]]).is_err());
    let wide = Issues::new(vec![vec![vec![1, 2]; 30]]).unwrap();
    assert_eq!(wide.frontier(&Limits::none()), Err(Error::TooLarge("deals")));
    assert!(!wide.improve(&[0; 30], &Limits::steps(2)).unwrap().complete);
}
