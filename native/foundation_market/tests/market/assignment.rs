use foundation_market::assignment::{Assignment, Costs, Task, Worker, auction, costs, hungarian};
use foundation_market::{Error, Limits, Money, Rng};

fn random(rng: &mut Rng, rows: usize, cols: usize, range: u64, barred: f64) -> Vec<Option<Money>> {
    (0..rows * cols)
        .map(|_| {
            (rng.unit() >= barred).then(|| Money::from_micros(rng.below(range) as i64 - range as i64 / 3))
        })
        .collect()
}

/// The most rows that can be assigned, and the least cost of so many.
fn brute(cells: &[Option<Money>], rows: usize, cols: usize, row: usize, taken: u32) -> (usize, i64) {
    if row == rows {
        return (0, 0);
    }
    let mut best = brute(cells, rows, cols, row + 1, taken);
    for col in (0..cols).filter(|col| taken & 1 << col == 0) {
        if let Some(cost) = cells[row * cols + col] {
            let (count, rest) = brute(cells, rows, cols, row + 1, taken | 1 << col);
            let here = (count + 1, rest + cost.micros());
            if here.0 > best.0 || (here.0 == best.0 && here.1 < best.1) {
                best = here;
            }
        }
    }
    best
}

fn count(assignment: &Assignment) -> usize {
    let mut columns: Vec<u32> = assignment.columns.iter().flatten().copied().collect();
    let all = columns.len();
    columns.sort_unstable();
    columns.dedup();
    assert_eq!(all, columns.len(), "a column is given twice");
    all
}

#[test]
fn both_methods_find_what_brute_force_finds() {
    let mut rng = Rng::new(2);
    for round in 0..600 {
        let (rows, cols) = (1 + rng.index(6), 1 + rng.index(6));
        let barred = [0.0, 0.3, 0.7][round % 3];
        let range = [3, 1_000][round % 2];
        let cells = random(&mut rng, rows, cols, range, barred);
        let expected = brute(&cells, rows, cols, 0, 0);
        let matrix = Costs::new(rows, cols, cells.clone()).unwrap();
        let exact = hungarian(&matrix, &Limits::none()).unwrap();
        assert_eq!(
            (count(&exact), exact.cost.micros()),
            expected,
            "{rows} x {cols}: {cells:?}"
        );
        let bidding = auction(&matrix, &Limits::none()).unwrap();
        assert_eq!(bidding.gap, Money::ZERO);
        assert_eq!(
            (count(&bidding.assignment), bidding.assignment.cost.micros()),
            expected,
            "{cells:?}"
        );
    }
}

#[test]
fn both_methods_agree_on_larger_matrices() {
    let mut rng = Rng::new(3);
    for (rows, cols) in [(80, 80), (60, 90), (90, 60), (1, 100)] {
        for range in [10, 1_000_000] {
            let matrix = Costs::new(rows, cols, random(&mut rng, rows, cols, range, 0.1)).unwrap();
            let exact = hungarian(&matrix, &Limits::none()).unwrap();
            let bidding = auction(&matrix, &Limits::none()).unwrap();
            assert_eq!(
                (count(&exact), exact.cost),
                (count(&bidding.assignment), bidding.assignment.cost)
            );
        }
    }
}

#[test]
fn a_stopped_auction_says_how_far_it_may_be_off() {
    let mut rng = Rng::new(4);
    let matrix = Costs::new(100, 100, random(&mut rng, 100, 100, 1_000_000, 0.0)).unwrap();
    let best = hungarian(&matrix, &Limits::none()).unwrap().cost;
    let mut partial = 0;
    for steps in 1..200 {
        match auction(&matrix, &Limits::steps(steps)) {
            Ok(found) => {
                assert!(found.assignment.cost.minus(best).unwrap() <= found.gap);
                partial += usize::from(found.gap > Money::ZERO);
            }
            Err(error) => assert_eq!(error, Error::Stopped),
        }
    }
    assert!(partial > 0);
    assert_eq!(hungarian(&matrix, &Limits::steps(0)), Err(Error::Stopped));
}

#[test]
fn capabilities_bar_and_slots_repeat() {
    let worker = |can, rate, slots| Worker {
        can,
        rate: Money::from_micros(rate),
        slots,
    };
    let task = |needs, work| Task { needs, work };
    let tasks = [task(0b01, 10), task(0b10, 10), task(0b11, 10), task(0b100, 1)];
    let workers = [worker(0b01, 1, 1), worker(0b11, 5, 2)];
    let (matrix, owners) = costs(&tasks, &workers).unwrap();
    assert_eq!(owners, vec![0, 1, 1]);
    let best = hungarian(&matrix, &Limits::none()).unwrap();
    let who: Vec<Option<u32>> = best
        .columns
        .iter()
        .map(|col| col.map(|col| owners[col as usize]))
        .collect();
    assert_eq!(who, vec![Some(0), Some(1), Some(1), None]);
    assert_eq!(best.cost.micros(), 10 + 50 + 50);
}

#[test]
fn edges() {
    let none = Limits::none();
    assert_eq!(
        hungarian(&Costs::new(0, 0, vec![]).unwrap(), &none).unwrap().cost,
        Money::ZERO
    );
    assert_eq!(
        auction(&Costs::new(0, 3, vec![]).unwrap(), &none)
            .unwrap()
            .assignment
            .columns,
        vec![]
    );
    assert_eq!(
        hungarian(&Costs::new(2, 0, vec![]).unwrap(), &none)
            .unwrap()
            .columns,
        vec![None, None]
    );
    assert!(Costs::new(2, 2, vec![None; 3]).is_err());
    assert!(Costs::new(usize::MAX, 2, vec![]).is_err());
    let wide = vec![
        Some(Money::from_micros(i64::MIN)),
        Some(Money::MAX),
        None,
        Some(Money::ZERO),
    ];
    assert_eq!(
        hungarian(&Costs::new(2, 2, wide).unwrap(), &none),
        Err(Error::Overflow)
    );
}
