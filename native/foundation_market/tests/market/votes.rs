use foundation_market::vote::{
    Ballot, Choice, PushSum, TieBreak, Verdict, approval, borda, choose, decide, instant_runoff, majority,
    plurality, sample_size, schulze, unanimity,
};
use foundation_market::{Error, Rng};

/// `"ACBED"` is the ranking of options by their letters.
fn ballot(weight: u64, ranking: &str) -> Ballot {
    Ballot {
        ranking: ranking.bytes().map(|letter| u32::from(letter - b'A')).collect(),
        weight,
    }
}

/// Memphis, Nashville, Chattanooga, Knoxville: the capital of Tennessee, the standing example of Wikipedia's articles.
fn tennessee() -> Vec<Ballot> {
    vec![
        ballot(42, "ABCD"),
        ballot(26, "BCDA"),
        ballot(15, "CDBA"),
        ballot(17, "DCBA"),
    ]
}

/// Burlington's election of its mayor, 2009: Montroll, Kiss, Wright, from the published ballots.
fn burlington() -> Vec<Ballot> {
    let table = [
        (1_332, "ABC"),
        (767, "ACB"),
        (455, "A"),
        (2_043, "BAC"),
        (371, "BCA"),
        (568, "B"),
        (1_513, "CAB"),
        (495, "CBA"),
        (1_289, "C"),
    ];
    table
        .iter()
        .map(|(weight, ranking)| ballot(*weight, ranking))
        .collect()
}

#[test]
fn schulze_of_the_published_election() {
    // Schulze 2011 and Wikipedia: 45 voters, E > A > C > B > D.
    let table = [
        (5, "ACBED"),
        (5, "ADECB"),
        (8, "BEDAC"),
        (3, "CABED"),
        (7, "CAEBD"),
        (2, "CBADE"),
        (7, "DCEBA"),
        (8, "EBADC"),
    ];
    let ballots: Vec<Ballot> = table
        .iter()
        .map(|(weight, ranking)| ballot(*weight, ranking))
        .collect();
    let result = schulze(5, &ballots, TieBreak::None).unwrap();
    assert_eq!(result.ranking, vec![vec![4], vec![0], vec![2], vec![1], vec![3]]);
    assert_eq!((result.winner, result.condorcet), (Some(4), None));
    assert_eq!(result.preferences[0], vec![0, 20, 26, 30, 22]);
    assert_eq!(result.strengths[0], vec![0, 28, 28, 30, 24]);
    assert_eq!(result.strengths[4], vec![25, 28, 28, 31, 0]);
}

#[test]
fn tennessee_by_every_rule() {
    let ballots = tennessee();
    let firsts: Vec<Choice> = ballots
        .iter()
        .map(|ballot| Choice {
            option: ballot.ranking[0],
            weight: ballot.weight,
        })
        .collect();
    assert_eq!(plurality(4, &firsts, TieBreak::None).unwrap().winner, Some(0));
    assert_eq!(majority(4, &firsts, 100).unwrap().winner, None);
    let points = borda(4, &ballots, TieBreak::None).unwrap();
    assert_eq!(points.winner, Some(1));
    let scores: Vec<u64> = points
        .scores
        .iter()
        .map(|score| score / points.denominator)
        .collect();
    assert_eq!(scores, vec![126, 194, 173, 107]);
    let run_off = instant_runoff(4, &ballots, TieBreak::None).unwrap();
    assert_eq!(run_off.winner, Some(3));
    let out: Vec<Option<u32>> = run_off.rounds.iter().map(|round| round.eliminated).collect();
    assert_eq!(out, vec![Some(2), Some(1), None]);
    assert_eq!(schulze(4, &ballots, TieBreak::None).unwrap().condorcet, Some(1));
}

#[test]
fn burlington_elected_kiss_over_the_condorcet_winner() {
    let ballots = burlington();
    let run_off = instant_runoff(3, &ballots, TieBreak::None).unwrap();
    assert_eq!(run_off.winner, Some(1));
    assert_eq!(run_off.rounds[0].counts, vec![2_554, 2_982, 3_297]);
    let pairs = schulze(3, &ballots, TieBreak::None).unwrap();
    assert_eq!((pairs.winner, pairs.condorcet), (Some(0), Some(0)));
    assert_eq!((pairs.preferences[0][1], pairs.preferences[1][0]), (4_067, 3_477));
    assert_eq!((pairs.preferences[0][2], pairs.preferences[2][0]), (4_597, 3_668));
}

#[test]
fn ties_are_stated() {
    let choices = [Choice { option: 2, weight: 3 }, Choice { option: 1, weight: 3 }];
    let open = plurality(4, &choices, TieBreak::None).unwrap();
    assert_eq!((open.winner, open.winners), (None, vec![1, 2]));
    assert_eq!(plurality(4, &choices, TieBreak::Lowest).unwrap().winner, Some(1));
    let by_seed: Vec<u32> = (0..100)
        .map(|seed| {
            plurality(4, &choices, TieBreak::Seed(seed))
                .unwrap()
                .winner
                .unwrap()
        })
        .collect();
    assert!(by_seed.contains(&1) && by_seed.contains(&2));
    assert_eq!(plurality(4, &[], TieBreak::Lowest).unwrap().winner, None);
    let level = [ballot(1, "AB"), ballot(1, "BA")];
    assert_eq!(
        instant_runoff(2, &level, TieBreak::None).unwrap().winners,
        vec![0, 1]
    );
    assert_eq!(schulze(2, &level, TieBreak::None).unwrap().winners, vec![0, 1]);
    // C and B have as few; C had less in no earlier round: the highest number goes.
    let ballots = [ballot(5, "A"), ballot(3, "BA"), ballot(3, "CB")];
    assert_eq!(
        instant_runoff(3, &ballots, TieBreak::None).unwrap().rounds[0].eliminated,
        Some(2)
    );
}

#[test]
fn thresholds_count_who_is_silent() {
    let vote = |weight| [Choice { option: 0, weight }, Choice { option: 1, weight: 1 }];
    assert_eq!(majority(2, &vote(5), 10).unwrap().winner, None);
    assert_eq!(majority(2, &vote(6), 10).unwrap().winner, Some(0));
    assert_eq!(majority(2, &vote(6), 6), Err(Error::Invalid("electorate")));
    let all = [Choice { option: 1, weight: 4 }];
    assert_eq!(unanimity(2, &all, 4).unwrap().winner, Some(1));
    assert_eq!(unanimity(2, &all, 5).unwrap().winner, None);
    assert_eq!(unanimity(2, &[], 0).unwrap().winner, None);
}

#[test]
fn approval_counts_and_borda_shares_what_is_left_out() {
    let ballots = [ballot(2, "AB"), ballot(1, "B"), ballot(1, "CA")];
    let counted = approval(3, &ballots, TieBreak::None).unwrap();
    assert_eq!(
        (counted.scores.clone(), counted.winners),
        (vec![3, 3, 1], vec![0, 1])
    );
    // Of "B", A and C share the one point left.
    let points = borda(3, &[ballot(1, "B")], TieBreak::None).unwrap();
    assert_eq!((points.scores, points.denominator), (vec![1, 4, 1], 2));
    let empty = borda(3, &[ballot(1, "")], TieBreak::None).unwrap();
    assert_eq!(empty.scores, vec![2, 2, 2]);
}

#[test]
fn bad_ballots_are_refused() {
    assert_eq!(
        approval(2, &[ballot(1, "C")], TieBreak::None),
        Err(Error::Invalid("ranking"))
    );
    assert_eq!(
        approval(2, &[ballot(1, "AA")], TieBreak::None),
        Err(Error::Invalid("ranking"))
    );
    assert_eq!(schulze(0, &[], TieBreak::None), Err(Error::Invalid("options")));
    assert_eq!(
        schulze(5_000, &[], TieBreak::None),
        Err(Error::TooLarge("options"))
    );
    let heavy = [ballot(u64::MAX, "A"), ballot(u64::MAX, "B")];
    assert_eq!(borda(2, &heavy, TieBreak::None), Err(Error::Invalid("weight")));
}

#[test]
fn gossip_comes_near_the_average() {
    let mut rng = Rng::new(1);
    let n = 1_000;
    let values: Vec<f64> = (0..n).map(|_| 100.0 * rng.unit()).collect();
    let mean = values.iter().sum::<f64>() / n as f64;
    let mut states: Vec<PushSum> = values
        .iter()
        .map(|value| PushSum::new(*value, 1.0).unwrap())
        .collect();
    for _ in 0..50 {
        let shares: Vec<(usize, PushSum)> = states
            .iter_mut()
            .map(|state| (rng.index(n), state.split()))
            .collect();
        for (to, share) in shares {
            states[to].receive(share).unwrap();
        }
    }
    assert!(
        states
            .iter()
            .all(|state| (state.estimate().unwrap() - mean).abs() < 1e-3 * mean)
    );
    assert!(PushSum::new(f64::NAN, 1.0).is_err());
    assert!(
        states[0]
            .receive(PushSum {
                sum: f64::INFINITY,
                weight: 0.0
            })
            .is_err()
    );
}

#[test]
fn samples_are_as_sure_as_they_say() {
    // Hoeffding's bound for large populations: ln(2/δ) / (2ε²).
    assert_eq!(sample_size(u64::MAX / 2, 0.05, 0.05).unwrap(), 738);
    assert!(sample_size(10_000, 0.05, 0.05).unwrap() < 738);
    assert_eq!(sample_size(10, 0.01, 0.01).unwrap(), 10);
    let (population, asked, delta) = (10_000, 400, 0.05);
    let mut wrong = 0;
    for seed in 0..1_000 {
        let yes = choose(population, asked, seed)
            .iter()
            .filter(|&&at| at < 5_200)
            .count() as u64;
        let estimate = decide(yes, asked, population, 0.5, delta).unwrap();
        wrong += usize::from(!(estimate.low..=estimate.high).contains(&0.52));
        assert_ne!((estimate.verdict, yes < 190), (Verdict::Passes, true));
    }
    assert!(wrong <= 50, "{wrong} of 1,000 intervals miss");
    assert_eq!(decide(10, 10, 10, 0.5, 0.01).unwrap().verdict, Verdict::Passes);
    assert_eq!(decide(5, 10, 10, 0.5, 0.01).unwrap().verdict, Verdict::Fails);
    assert_eq!(decide(0, 0, 10, 0.5, 0.01).unwrap().verdict, Verdict::Open);
    assert_eq!(choose(5, 9, 1), vec![0, 1, 2, 3, 4]);
    assert_eq!(decide(2, 1, 10, 0.5, 0.1), Err(Error::Invalid("asked")));
}
