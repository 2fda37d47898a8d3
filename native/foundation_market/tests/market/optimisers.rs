use foundation_market::optimise::{Dimension, Optimiser, Strategy};
use foundation_market::{Error, Rng, State};

/// The regret of a bandit on arms with these means, against always the best one.
fn regret(strategy: Strategy, means: &[f64], rounds: u32, seed: u64) -> f64 {
    let mut bandit = Optimiser::bandit(strategy, means.len() as u32, seed).unwrap();
    let mut world = Rng::new(seed ^ 0xABCD);
    let best = means.iter().copied().fold(0.0, f64::max);
    let mut lost = 0.0;
    for _ in 0..rounds {
        let pull = bandit.ask().unwrap();
        let mean = means[pull.values[0] as usize];
        lost += best - mean;
        bandit
            .tell(pull.id, f64::from(u8::from(world.unit() < mean)))
            .unwrap();
    }
    lost
}

#[test]
fn bandits_keep_their_bounds() {
    let means = [0.9, 0.8, 0.7, 0.5];
    let rounds = 10_000;
    let mean_regret = |strategy| {
        (0..10)
            .map(|seed| regret(strategy, &means, rounds, seed))
            .sum::<f64>()
            / 10.0
    };
    let log = f64::from(rounds).ln();
    // Auer, Cesa-Bianchi, Fischer 2002, theorem 1.
    let gaps: Vec<f64> = means[1..].iter().map(|mean| 0.9 - mean).collect();
    let bound: f64 = gaps.iter().map(|gap| 8.0 * log / gap + (1.0 + 3.29) * gap).sum();
    let ucb = mean_regret(Strategy::Ucb1);
    assert!(ucb < bound, "UCB1: {ucb} of {bound}");
    let thompson = mean_regret(Strategy::Thompson);
    assert!(thompson < ucb, "Thompson: {thompson}, UCB1: {ucb}");
    // Auer, Cesa-Bianchi, Freund, Schapire 2002, corollary 3.2: 2.63 √(g K ln K), g the best arm's total.
    let (k, g) = (4.0_f64, 0.9 * f64::from(rounds));
    let gamma = (k * k.ln() / (1.718 * g)).sqrt().min(1.0);
    let exp3 = mean_regret(Strategy::Exp3 { gamma });
    assert!(exp3 < 2.63 * (g * k * k.ln()).sqrt(), "EXP3: {exp3}");
}

#[test]
fn a_bandit_takes_many_askers_at_once() {
    let mut bandit = Optimiser::bandit(Strategy::Ucb1, 5, 1).unwrap();
    let pulls: Vec<_> = (0..5).map(|_| bandit.ask().unwrap()).collect();
    let mut arms: Vec<f64> = pulls.iter().map(|pull| pull.values[0]).collect();
    arms.sort_by(f64::total_cmp);
    assert_eq!(arms, vec![0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(bandit.tell(pulls[0].id, 1.5), Err(Error::Invalid("score")));
    bandit.tell(pulls[0].id, 1.0).unwrap();
    assert_eq!(bandit.tell(pulls[0].id, 1.0), Err(Error::NotFound));
    bandit.abandon(pulls[1].id).unwrap();
    assert_eq!(bandit.best(), Some((vec![0.0], 1.0)));
    assert_eq!(bandit.arms().unwrap()[0].pulls, 1);
}

#[test]
fn halving_keeps_the_better_part() {
    let mut race = Optimiser::halving(27, 3, 10, 1).unwrap();
    let mut spent = Vec::new();
    while !race.done() {
        let trial = race.ask().unwrap();
        spent.push(trial.budget);
        let quality = -(trial.values[0] - 17.0).abs();
        race.tell(trial.id, quality).unwrap();
    }
    assert_eq!(race.best(), Some((vec![17.0], 0.0)));
    let count = |budget| spent.iter().filter(|other| **other == budget).count();
    assert_eq!([count(10), count(30), count(90), count(270)], [27, 9, 3, 1]);
    assert!(race.ask().is_none());
}

#[test]
fn halving_waits_for_its_rung_and_lets_go_of_the_lost() {
    let mut race = Optimiser::halving(4, 2, 1, 1).unwrap();
    let trials: Vec<_> = (0..4).map(|_| race.ask().unwrap()).collect();
    assert!(race.ask().is_none());
    for trial in &trials[..3] {
        race.tell(trial.id, trial.values[0]).unwrap();
    }
    assert!(race.ask().is_none());
    race.abandon(trials[3].id).unwrap();
    assert_eq!(race.ask().unwrap().values, vec![2.0]);
}

fn real(low: f64, high: f64) -> Dimension {
    Dimension::Real {
        low,
        high,
        log: false,
    }
}

fn run(mut search: Optimiser, rounds: usize, score: impl Fn(&[f64]) -> f64) -> f64 {
    for _ in 0..rounds {
        let trial = search.ask().unwrap();
        search.tell(trial.id, score(&trial.values)).unwrap();
    }
    search.best().unwrap().1
}

/// Branin's function, negated: its maximum is -0.397887 (Dixon and Szegö 1978).
fn branin(x: &[f64]) -> f64 {
    use std::f64::consts::PI;
    let (a, b) = (x[0], x[1]);
    let bend = b - 5.1 / (4.0 * PI * PI) * a * a + 5.0 / PI * a - 6.0;
    -(bend * bend + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * a.cos() + 10.0)
}

#[test]
fn parzen_search_does_better_than_chance() {
    let space = || vec![real(-5.0, 10.0), real(0.0, 15.0)];
    let (mut guided, mut random) = (0.0, 0.0);
    for seed in 0..20 {
        guided += run(Optimiser::tpe(space(), seed).unwrap(), 100, branin);
        let mut rng = Rng::new(1_000 + seed);
        let chance = (0..100).map(|_| branin(&[-5.0 + 15.0 * rng.unit(), 15.0 * rng.unit()]));
        random += chance.fold(f64::NEG_INFINITY, f64::max);
    }
    let (guided, random) = (-guided / 20.0 - 0.397887, -random / 20.0 - 0.397887);
    assert!(
        guided < 0.7 * random,
        "regret {guided} guided, {random} by chance"
    );
}

#[test]
fn parzen_search_finds_choices_integers_and_scales() {
    let space = vec![
        Dimension::Choice(5),
        Dimension::Integer { low: -10, high: 10 },
        Dimension::Real {
            low: 1e-6,
            high: 1.0,
            log: true,
        },
    ];
    let score = |x: &[f64]| {
        let choice = if x[0] == 3.0 { 0.0 } else { -3.0 };
        choice - (x[1] - 4.0).abs() - (x[2].log10() + 3.0).abs()
    };
    let total: f64 = (0..10)
        .map(|seed| run(Optimiser::tpe(space.clone(), seed).unwrap(), 150, score))
        .sum();
    assert!(total / 10.0 > -1.0, "mean score {}", total / 10.0);
}

#[test]
fn cma_es_climbs_bent_and_stretched_hills() {
    // Rosenbrock 1960, in 5 dimensions; an ellipsoid with axes of 1 to 1,000.
    let rosenbrock = |x: &[f64]| {
        -x.windows(2)
            .map(|w| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2))
            .sum::<f64>()
    };
    for seed in 0..3 {
        let search = Optimiser::cma_es(vec![real(-2.0, 2.0); 5], seed).unwrap();
        let best = run(search, 8_000, rosenbrock);
        assert!(
            best > -1e-6 || (best < -3.5 && best > -4.0),
            "Rosenbrock, seed {seed}: {best}"
        );
        let ellipsoid = |x: &[f64]| {
            -(0..8)
                .map(|i| 10_f64.powf(6.0 * i as f64 / 7.0) * (x[i] - 0.3).powi(2))
                .sum::<f64>()
        };
        let search = Optimiser::cma_es(vec![real(-1.0, 1.0); 8], seed).unwrap();
        assert!(run(search, 8_000, ellipsoid) > -1e-6);
    }
}

#[test]
fn a_stored_search_goes_on_as_if_nothing_had_happened() {
    let space = || vec![real(-5.0, 10.0), Dimension::Integer { low: 0, high: 15 }];
    let searches = [
        Optimiser::bandit(Strategy::Thompson, 3, 5).unwrap(),
        Optimiser::bandit(Strategy::Exp3 { gamma: 0.1 }, 3, 5).unwrap(),
        Optimiser::halving(50, 2, 1, 5).unwrap(),
        Optimiser::tpe(space(), 5).unwrap(),
        Optimiser::cma_es(space(), 5).unwrap(),
    ];
    let score = |values: &[f64]| 0.5 + 0.01 * values[0].sin();
    for mut search in searches {
        for _ in 0..17 {
            let trial = search.ask().unwrap();
            search.tell(trial.id, score(&trial.values)).unwrap();
        }
        let open = search.ask().unwrap();
        let mut again = Optimiser::from_bytes(&search.to_bytes()).unwrap();
        again.tell(open.id, 0.25).unwrap();
        search.tell(open.id, 0.25).unwrap();
        for _ in 0..20 {
            let trial = search.ask().unwrap();
            assert_eq!(again.ask().unwrap(), trial);
            again.tell(trial.id, score(&trial.values)).unwrap();
            search.tell(trial.id, score(&trial.values)).unwrap();
        }
        assert_eq!(again.told(), 38);
    }
}

#[test]
fn broken_states_and_bad_spaces_are_refused() {
    let state = Optimiser::tpe(vec![real(0.0, 1.0)], 1).unwrap().to_bytes();
    assert!(Optimiser::from_bytes(&state).is_ok());
    assert_eq!(Optimiser::from_bytes(&[]).err(), Some(Error::Malformed));
    let mut rng = Rng::new(1);
    for _ in 0..5_000 {
        let mut broken = state.clone();
        let at = rng.index(broken.len());
        broken[at] = rng.bits() as u8;
        if let Ok(mut search) = Optimiser::from_bytes(&broken) {
            let trial = search.ask().unwrap();
            search.tell(trial.id, 0.5).unwrap();
        }
    }
    for space in [
        vec![],
        vec![real(1.0, 1.0)],
        vec![real(f64::NAN, 1.0)],
        vec![Dimension::Choice(1)],
    ] {
        assert!(Optimiser::tpe(space, 1).is_err());
    }
    assert!(Optimiser::cma_es(vec![Dimension::Choice(3)], 1).is_err());
    assert!(Optimiser::bandit(Strategy::Ucb1, 0, 1).is_err());
    assert!(Optimiser::bandit(Strategy::Exp3 { gamma: 0.0 }, 2, 1).is_err());
}
