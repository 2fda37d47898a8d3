use crate::units;
use foundation_market::game::{
    Bimatrix, Cake, Profile, Proposals, ShapleySampler, adjusted_winner, blocking_pairs, correlated,
    divide_and_choose, envy_free_up_to_one, equilibria, fictitious_play, lemke_howson, minimax, moving_knife,
    replicator, round_robin, shapley, stable_matching, undominated,
};
use foundation_market::{Error, Limits, Money, Rng};

fn game(rows: usize, cols: usize, row: &[f64], column: &[f64]) -> Bimatrix {
    Bimatrix::new(rows, cols, row.to_vec(), column.to_vec()).unwrap()
}

fn prisoners() -> Bimatrix {
    game(2, 2, &[-1.0, -3.0, 0.0, -2.0], &[-1.0, 0.0, -3.0, -2.0])
}

fn pennies() -> Bimatrix {
    game(2, 2, &[1.0, -1.0, -1.0, 1.0], &[-1.0, 1.0, 1.0, -1.0])
}

fn sexes() -> Bimatrix {
    game(2, 2, &[3.0, 0.0, 0.0, 2.0], &[2.0, 0.0, 0.0, 3.0])
}

fn near(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

fn has(profiles: &[Profile], row: &[f64], column: &[f64]) -> bool {
    profiles
        .iter()
        .any(|profile| near(&profile.row, row) && near(&profile.column, column))
}

fn all(game: &Bimatrix) -> Vec<Profile> {
    let found = equilibria(game, &Limits::none()).unwrap();
    assert!(found.complete);
    assert!(found.profiles.iter().all(|profile| game.regret(profile) < 1e-9));
    found.profiles
}

#[test]
fn equilibria_of_the_standard_games() {
    let found = all(&prisoners());
    assert_eq!(found.len(), 1);
    assert!(has(&found, &[0.0, 1.0], &[0.0, 1.0]));
    let found = all(&pennies());
    assert_eq!(found.len(), 1);
    assert!(has(&found, &[0.5, 0.5], &[0.5, 0.5]));
    let found = all(&sexes());
    assert_eq!(found.len(), 3);
    assert!(has(&found, &[1.0, 0.0], &[1.0, 0.0]) && has(&found, &[0.0, 1.0], &[0.0, 1.0]));
    assert!(has(&found, &[0.6, 0.4], &[0.4, 0.6]));
    // Rock, paper, scissors.
    let rps = [0.0, -1.0, 1.0, 1.0, 0.0, -1.0, -1.0, 1.0, 0.0];
    let minus: Vec<f64> = rps.iter().map(|payoff| -payoff).collect();
    let found = all(&game(3, 3, &rps, &minus));
    assert_eq!(found.len(), 1);
    assert!(has(&found, &[1.0 / 3.0; 3], &[1.0 / 3.0; 3]));
}

#[test]
fn equilibria_of_a_degenerate_game() {
    // von Stengel 2007, "Equilibrium computation for two-player games", figure 3.3 (a 3 by 2 game) is not degenerate:
    // three equilibria.
    let plain = game(
        3,
        2,
        &[3.0, 3.0, 2.0, 5.0, 0.0, 6.0],
        &[3.0, 2.0, 2.0, 6.0, 3.0, 1.0],
    );
    let found = all(&plain);
    assert_eq!(found.len(), 3);
    assert!(has(&found, &[1.0, 0.0, 0.0], &[1.0, 0.0]));
    assert!(has(&found, &[0.8, 0.2, 0.0], &[2.0 / 3.0, 1.0 / 3.0]));
    assert!(has(&found, &[0.0, 1.0 / 3.0, 2.0 / 3.0], &[1.0 / 3.0, 2.0 / 3.0]));
    // The same with b(1,2) = 3: against the first row both columns are best, which makes a line of equilibria.
    let degenerate = game(
        3,
        2,
        &[3.0, 3.0, 2.0, 5.0, 0.0, 6.0],
        &[3.0, 3.0, 2.0, 6.0, 3.0, 1.0],
    );
    let found = equilibria(&degenerate, &Limits::none()).unwrap();
    assert!(found.degenerate);
    assert!(has(&found.profiles, &[1.0, 0.0, 0.0], &[1.0, 0.0]));
    assert!(has(&found.profiles, &[1.0, 0.0, 0.0], &[2.0 / 3.0, 1.0 / 3.0]));
    assert!(
        found
            .profiles
            .iter()
            .all(|profile| degenerate.regret(profile) < 1e-9)
    );
    // Nothing matters: every pair of pure strategies.
    let flat = equilibria(&game(2, 2, &[1.0; 4], &[1.0; 4]), &Limits::none()).unwrap();
    assert!(flat.degenerate && flat.profiles.len() == 4);
    assert!(!equilibria(&plain, &Limits::steps(2)).unwrap().complete);
}

fn random(rng: &mut Rng, rows: usize, cols: usize, range: u64) -> Bimatrix {
    let mut draw = || {
        (0..rows * cols)
            .map(|_| rng.below(range) as f64)
            .collect::<Vec<f64>>()
    };
    let (row, column) = (draw(), draw());
    Bimatrix::new(rows, cols, row, column).unwrap()
}

#[test]
fn pivoting_ends_at_an_equilibrium_from_every_label() {
    let mut rng = Rng::new(3);
    for round in 0..300 {
        // Few different payoffs make degenerate games.
        let (rows, cols) = (1 + rng.index(6), 1 + rng.index(6));
        let game = random(&mut rng, rows, cols, if round % 2 == 0 { 3 } else { 1_000 });
        let known = equilibria(&game, &Limits::none()).unwrap();
        assert!(!known.profiles.is_empty());
        for label in 0..rows + cols {
            let profile = lemke_howson(&game, label, &Limits::steps(100_000)).unwrap();
            assert!(game.regret(&profile) < 1e-6 * 1_000.0, "{game:?} from {label}");
            if !known.degenerate {
                assert!(has(&known.profiles, &profile.row, &profile.column));
            }
        }
        // Nash 1951 and Wilson 1971: an odd number when the game is not degenerate.
        assert!(known.degenerate || known.profiles.len() % 2 == 1, "{game:?}");
    }
    assert_eq!(
        lemke_howson(&pennies(), 4, &Limits::none()),
        Err(Error::Invalid("label"))
    );
}

#[test]
fn the_value_of_zero_sum_games() {
    let none = Limits::none();
    let value = minimax(2, 2, &[1.0, -1.0, -1.0, 1.0], &none).unwrap();
    assert!(value.value.abs() < 1e-9 && near(&value.row, &[0.5, 0.5]) && near(&value.column, &[0.5, 0.5]));
    // A saddle point; and a 2 by 2 game by the formula (ad - bc) / (a + d - b - c).
    assert!((minimax(2, 2, &[3.0, 5.0, 2.0, 9.0], &none).unwrap().value - 3.0).abs() < 1e-9);
    let value = minimax(2, 2, &[4.0, 1.0, 2.0, 3.0], &none).unwrap();
    assert!((value.value - 2.5).abs() < 1e-9 && near(&value.row, &[0.25, 0.75]));
    let mut rng = Rng::new(5);
    for _ in 0..100 {
        let (rows, cols) = (1 + rng.index(8), 1 + rng.index(8));
        let payoffs: Vec<f64> = (0..rows * cols).map(|_| rng.below(21) as f64 - 10.0).collect();
        let value = minimax(rows, cols, &payoffs, &none).unwrap();
        let sure = (0..cols).map(|col| {
            (0..rows)
                .map(|row| value.row[row] * payoffs[row * cols + col])
                .sum::<f64>()
        });
        let most = (0..rows).map(|row| {
            (0..cols)
                .map(|col| value.column[col] * payoffs[row * cols + col])
                .sum::<f64>()
        });
        assert!((sure.fold(f64::INFINITY, f64::min) - value.value).abs() < 1e-7);
        assert!((most.fold(f64::NEG_INFINITY, f64::max) - value.value).abs() < 1e-7);
    }
}

#[test]
fn dominated_strategies_go() {
    let left = undominated(&prisoners(), &Limits::none()).unwrap();
    assert_eq!((left.rows, left.cols), (vec![1], vec![1]));
    assert_eq!(undominated(&sexes(), &Limits::none()).unwrap().rows, vec![0, 1]);
    // Only a mix of the first two dominates the third row (Fudenberg and Tirole 1991, figure 1.2, with other numbers).
    let mixed = game(
        3,
        2,
        &[4.0, 0.0, 0.0, 4.0, 1.0, 1.0],
        &[1.0, 2.0, 2.0, 1.0, 1.0, 2.0],
    );
    assert_eq!(undominated(&mixed, &Limits::none()).unwrap().rows, vec![0, 1]);
    // No equilibrium plays what was struck out.
    let mut rng = Rng::new(6);
    for _ in 0..100 {
        let game = random(&mut rng, 4, 4, 50);
        let left = undominated(&game, &Limits::none()).unwrap();
        for profile in all(&game) {
            let played = |mix: &[f64], kept: &[usize]| (0..4).all(|at| mix[at] < 1e-9 || kept.contains(&at));
            assert!(played(&profile.row, &left.rows) && played(&profile.column, &left.cols));
        }
    }
}

#[test]
fn a_mediator_does_better_in_the_game_of_chicken() {
    // Aumann 1974: the best plan of (6,6) (2,7) (7,2) (0,0) tells (6,6) half of the time and each of (2,7) and (7,2) a
    // quarter, worth 21/4 to each; no mixture of equilibria gives that sum.
    let chicken = game(2, 2, &[6.0, 2.0, 7.0, 0.0], &[6.0, 7.0, 2.0, 0.0]);
    let plan = correlated(&chicken, (1.0, 1.0), &Limits::none()).unwrap();
    assert!(near(&plan.probabilities.concat(), &[0.5, 0.25, 0.25, 0.0]));
    assert!((plan.payoffs.0 - 5.25).abs() < 1e-9 && (plan.payoffs.1 - 5.25).abs() < 1e-9);
    let mut rng = Rng::new(7);
    for _ in 0..60 {
        let game = random(&mut rng, 3, 4, 20);
        let plan = correlated(&game, (1.0, 1.0), &Limits::none()).unwrap();
        assert!((plan.probabilities.concat().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let best = plan.payoffs.0 + plan.payoffs.1;
        for profile in all(&game) {
            let (a, b) = game.payoffs(&profile);
            assert!(best >= a + b - 1e-7);
        }
    }
}

#[test]
fn play_comes_to_rest_where_it_must() {
    let none = Limits::none();
    // Robinson 1951: fictitious play converges in zero-sum games.
    let learned = fictitious_play(&pennies(), 200_000, 0.01, &none).unwrap();
    assert!(learned.regret <= 0.01 && learned.rounds < 200_000);
    // Shapley 1964: here it goes round for ever.
    let shapley = game(
        3,
        3,
        &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
    );
    let learned = fictitious_play(&shapley, 20_000, 0.01, &none).unwrap();
    assert!(learned.regret > 0.05 && learned.rounds == 20_000);
    let start = Profile {
        row: vec![0.5, 0.5],
        column: vec![0.5, 0.5],
    };
    let grown = replicator(&prisoners(), &start, 0.1, 100_000, 1e-9, &none).unwrap();
    assert!(near(&grown.profile.row, &[0.0, 1.0]) && grown.regret < 1e-6 && grown.rounds < 100_000);
    let leaning = Profile {
        row: vec![0.7, 0.3],
        column: vec![0.6, 0.4],
    };
    let grown = replicator(&sexes(), &leaning, 0.1, 100_000, 1e-9, &none).unwrap();
    assert!(near(&grown.profile.row, &[1.0, 0.0]) && near(&grown.profile.column, &[1.0, 0.0]));
    assert!(
        replicator(
            &sexes(),
            &Profile {
                row: vec![0.0, 0.0],
                ..leaning
            },
            0.1,
            1,
            0.0,
            &none
        )
        .is_err()
    );
}

#[test]
fn shares_of_the_glove_game_and_the_airport() {
    // Two have a left glove, one has the right one: 1/6, 1/6, 2/3.
    let gloves: Vec<Money> = (0..8_u32)
        .map(|s| units(i64::from(s & 4 != 0 && s & 3 != 0)))
        .collect();
    let shares = shapley(&gloves, &Limits::none()).unwrap();
    let micros: Vec<i64> = shares.iter().map(|share| share.micros()).collect();
    assert_eq!(micros, vec![166_667, 166_667, 666_666]);
    // Littlechild and Owen 1973: landing fees; each part of the runway is paid by those who need it, evenly.
    let needs = [12_i64, 30, 30, 54, 90];
    let cost = |s: usize| {
        (0..5)
            .filter(|at| s >> at & 1 == 1)
            .map(|at| needs[at])
            .max()
            .unwrap_or(0)
    };
    let airport: Vec<Money> = (0..32).map(|s| units(cost(s))).collect();
    let fees = shapley(&airport, &Limits::none()).unwrap();
    let expected = [2_400_000, 6_900_000, 6_900_000, 18_900_000, 54_900_000];
    assert_eq!(
        fees.iter().map(|fee| fee.micros()).collect::<Vec<i64>>(),
        expected
    );
    assert_eq!(shapley(&[Money::ZERO], &Limits::none()), Ok(vec![]));
    assert!(shapley(&gloves[..7], &Limits::none()).is_err());
    let huge = vec![Money::ZERO; 1 << 20];
    assert_eq!(shapley(&huge, &Limits::steps(5)), Err(Error::Stopped));
    assert_eq!(shapley(&huge, &Limits::none()).unwrap().len(), 20);
}

#[test]
fn exact_shares_sum_up_even_at_the_edge_of_what_fits() {
    let mut rng = Rng::new(8);
    for _ in 0..50 {
        let n = 1 + rng.index(10);
        let mut worth: Vec<Money> = (0..1 << n)
            .map(|_| Money::from_micros((rng.bits() >> 3) as i64))
            .collect();
        worth[0] = Money::ZERO;
        let shares = shapley(&worth, &Limits::none()).unwrap();
        assert_eq!(Money::sum(shares), Ok(worth[worth.len() - 1]));
    }
}

#[test]
fn sampled_shares_lie_in_their_intervals() {
    // A weighted majority game of 30 players, compared with the airport's closed form instead: 30 runways.
    let needs: Vec<f64> = (1..=30).map(f64::from).collect();
    let mut exact = vec![0.0; 30];
    for part in 0..30 {
        for fee in exact.iter_mut().skip(part) {
            *fee += 1.0 / (30 - part) as f64;
        }
    }
    let mut sampler = ShapleySampler::new(30, 0.0, 30.0, 9).unwrap();
    assert_eq!(sampler.estimate(0.1), Err(Error::NotFound));
    for _ in 0..5_000 {
        let order = sampler.order();
        let mut built = 0.0_f64;
        let added: Vec<f64> = order
            .iter()
            .map(|player| {
                let more = (needs[*player as usize] - built).max(0.0);
                built = built.max(needs[*player as usize]);
                more
            })
            .collect();
        sampler.report(&order, &added).unwrap();
    }
    let shares = sampler.estimate(0.01 / 30.0).unwrap();
    assert!(
        shares
            .iter()
            .zip(&exact)
            .all(|(share, exact)| (share.share - exact).abs() <= share.within)
    );
    assert!(shares[0].within < 0.2 && shares[29].within < 1.6);
    assert!((shares.iter().map(|share| share.share).sum::<f64>() - 30.0).abs() < 1e-6);
    assert!(sampler.report(&[0], &[1.0]).is_err());
    assert!(sampler.report(&sampler.clone().order(), &[99.0; 30]).is_err());
}

#[test]
fn matchings_are_stable_from_both_sides() {
    // Gale and Shapley 1962, example 1: three stable matchings; who asks gets the first choices.
    let men = vec![vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]];
    let women = vec![vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]];
    let one = [1, 1, 1];
    let asked = stable_matching(&men, &women, &one, Proposals::FromFirst).unwrap();
    assert_eq!(asked.partner, vec![Some(0), Some(1), Some(2)]);
    let asked = stable_matching(&men, &women, &one, Proposals::FromSecond).unwrap();
    assert_eq!(asked.partner, vec![Some(2), Some(0), Some(1)]);
    let mut rng = Rng::new(10);
    for _ in 0..300 {
        let (m, n) = (1 + rng.index(8), 1 + rng.index(8));
        let mut lists = |count: usize, others: usize| -> Vec<Vec<u32>> {
            (0..count)
                .map(|_| {
                    let mut list: Vec<u32> = (0..others as u32).collect();
                    rng.shuffle(&mut list);
                    list.truncate(rng.index(others + 1));
                    list
                })
                .collect()
        };
        let (first, second) = (lists(m, n), lists(n, m));
        let places: Vec<u32> = (0..n).map(|_| rng.below(3) as u32).collect();
        let by_first = stable_matching(&first, &second, &places, Proposals::FromFirst).unwrap();
        let by_second = stable_matching(&first, &second, &places, Proposals::FromSecond).unwrap();
        for matching in [&by_first, &by_second] {
            assert_eq!(
                blocking_pairs(&first, &second, &places, matching).unwrap(),
                vec![]
            );
            for (at, partner) in matching.partner.iter().enumerate() {
                if let Some(partner) = partner {
                    assert!(first[at].contains(partner) && second[*partner as usize].contains(&(at as u32)));
                }
            }
        }
        // The rural hospitals theorem (Roth 1986): the same ones are matched.
        for (a, b) in by_first.partner.iter().zip(&by_second.partner) {
            assert_eq!(a.is_some(), b.is_some());
        }
        let rank = |at: usize, partner: Option<u32>| partner.map(|p| first[at].iter().position(|x| *x == p));
        for at in 0..m {
            assert!(rank(at, by_first.partner[at]) <= rank(at, by_second.partner[at]));
        }
    }
    assert!(stable_matching(&[vec![0, 0]], &[vec![0]], &[1], Proposals::FromFirst).is_err());
    assert!(stable_matching(&[vec![1]], &[vec![0]], &[1], Proposals::FromFirst).is_err());
}

#[test]
fn adjusted_winner_is_equitable_and_free_of_envy() {
    // Brams and Taylor 1996: the Trumps' divorce: five items, 100 points each.
    let donald = [10, 40, 10, 38, 2];
    let ivana = [38, 20, 30, 10, 2];
    let result = adjusted_winner(&donald, &ivana).unwrap();
    let worth = |points: &[u64], first: bool| -> f64 {
        let part = |(n, d): (u64, u64)| {
            if first {
                n as f64 / d as f64
            } else {
                1.0 - n as f64 / d as f64
            }
        };
        points
            .iter()
            .zip(&result.first)
            .map(|(p, part_of)| *p as f64 * part(*part_of))
            .sum()
    };
    assert!((worth(&donald, true) - worth(&ivana, false)).abs() < 1e-9 && worth(&donald, true) > 70.0);
    let mut rng = Rng::new(11);
    for _ in 0..500 {
        let items = 1 + rng.index(7);
        let mut spread = || {
            let mut points = vec![0_u64; items];
            (0..100).for_each(|_| points[rng.index(items)] += 1);
            points
        };
        let (a, b) = (spread(), spread());
        let result = adjusted_winner(&a, &b).unwrap();
        let parts: Vec<f64> = result.first.iter().map(|(n, d)| *n as f64 / *d as f64).collect();
        let mine: f64 = a.iter().zip(&parts).map(|(p, part)| *p as f64 * part).sum();
        let theirs: f64 = b
            .iter()
            .zip(&parts)
            .map(|(p, part)| *p as f64 * (1.0 - part))
            .sum();
        assert!((mine - theirs).abs() < 1e-9 && mine >= 50.0 - 1e-9, "{a:?} {b:?}");
        assert!(parts.iter().filter(|part| **part > 0.0 && **part < 1.0).count() <= 1);
    }
    assert!(adjusted_winner(&[1], &[2]).is_err() && adjusted_winner(&[0], &[0]).is_err());
}

#[test]
fn turns_leave_at_most_one_item_to_envy() {
    let mut rng = Rng::new(12);
    for _ in 0..300 {
        let (players, items) = (1 + rng.index(5), rng.index(12));
        let values: Vec<Vec<Money>> = (0..players)
            .map(|_| (0..items).map(|_| units(rng.below(30) as i64)).collect())
            .collect();
        let bundles = round_robin(&values).unwrap();
        assert_eq!(bundles.iter().map(Vec::len).sum::<usize>(), items);
        assert_eq!(envy_free_up_to_one(&values, &bundles).unwrap(), vec![]);
    }
    let values = vec![vec![units(5), units(5)], vec![units(1), units(9)]];
    assert_eq!(
        envy_free_up_to_one(&values, &[vec![], vec![0, 1]]).unwrap(),
        vec![(0, 1)]
    );
}

#[test]
fn everyone_gets_a_fair_piece_of_cake() {
    let mut rng = Rng::new(13);
    for _ in 0..300 {
        let (players, segments) = (1 + rng.index(6), 1 + rng.index(10));
        let values: Vec<Vec<f64>> = (0..players)
            .map(|_| {
                let mut list: Vec<f64> = (0..segments).map(|_| rng.below(4) as f64).collect();
                list[0] += 1.0;
                list
            })
            .collect();
        let cake = Cake::new(&values).unwrap();
        let pieces = moving_knife(&cake);
        assert_eq!((pieces[0].from, pieces[players - 1].to), (0.0, 1.0));
        assert!(pieces.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert!(
            pieces
                .iter()
                .all(|piece| piece.share >= 1.0 / players as f64 - 1e-9),
            "{values:?} {pieces:?}"
        );
        if players == 2 {
            let halves = divide_and_choose(&cake).unwrap();
            for (at, piece) in halves.iter().enumerate() {
                let other = halves[1 - at];
                let theirs = cake.worth(piece.player as usize, other.from, other.to).unwrap();
                assert!(piece.share >= theirs - 1e-9);
            }
        }
    }
    assert!(Cake::new(&[vec![0.0]]).is_err() && Cake::new(&[]).is_err());
}
