//! Linear programmes that have the origin as a feasible point: max c·x, A·x ≤ b, x ≥ 0, b ≥ 0.
//!
//! The condensed tableau of Tucker and the simplex method of Dantzig (1951), with Bland's rule (1977) while the
//! objective stands still, so that it never cycles. Dense, for some hundred rows and columns.

use crate::tableau::Tableau;
use crate::{Error, Limits, Result};

/// An optimum.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// c·x.
    pub value: f64,
    /// The variables.
    pub x: Vec<f64>,
    /// The price of each row: how much the value would grow with its right-hand side.
    pub duals: Vec<f64>,
}

/// Solves a programme; `rows` are coefficients and right-hand sides. O(rows · columns) a step, which is a pivot.
///
/// # Errors
/// [`Error::Invalid`] for rows of another length, numbers that are not finite, a right-hand side below 0, or an
/// unbounded programme; [`Error::Stopped`].
pub fn maximise(rows: &[(Vec<f64>, f64)], c: &[f64], limits: &Limits<'_>) -> Result<Optimum> {
    let fits = |(row, b): &(Vec<f64>, f64)| {
        row.len() == c.len() && row.iter().all(|a| a.is_finite()) && b.is_finite() && *b >= 0.0
    };
    if !rows.iter().all(fits) || c.iter().any(|c| !c.is_finite()) {
        return Err(Error::Invalid("programme"));
    }
    let mut tableau = Tableau::new(rows, c);
    tableau.maximise(limits)?;
    Ok(Optimum {
        value: tableau.value(),
        x: tableau.primal(),
        duals: tableau.duals(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(rows: &[(Vec<f64>, f64)], c: &[f64]) -> Optimum {
        maximise(rows, c, &Limits::none()).unwrap()
    }

    #[test]
    fn the_textbook_example() {
        // Hillier and Lieberman, Wyndor Glass: 36 at (2, 6), shadow prices 0, 3/2, 1.
        let rows = [
            (vec![1.0, 0.0], 4.0),
            (vec![0.0, 2.0], 12.0),
            (vec![3.0, 2.0], 18.0),
        ];
        let best = solve(&rows, &[3.0, 5.0]);
        assert!((best.value - 36.0).abs() < 1e-9);
        assert_eq!(best.x, vec![2.0, 6.0]);
        assert!((best.duals[1] - 1.5).abs() < 1e-9 && (best.duals[2] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn beales_example_does_not_cycle() {
        // Beale 1955: Dantzig's rule alone goes round for ever.
        let rows = [
            (vec![0.25, -60.0, -1.0 / 25.0, 9.0], 0.0),
            (vec![0.5, -90.0, -1.0 / 50.0, 3.0], 0.0),
            (vec![0.0, 0.0, 1.0, 0.0], 1.0),
        ];
        let best = solve(&rows, &[0.75, -150.0, 0.02, -6.0]);
        assert!((best.value - 0.05).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_bound_says_so() {
        let rows = [(vec![-1.0, 1.0], 1.0)];
        assert!(matches!(
            maximise(&rows, &[1.0, 1.0], &Limits::none()),
            Err(Error::Invalid(_))
        ));
        assert_eq!(
            maximise(&[(vec![1.0], 1.0)], &[1.0], &Limits::steps(0)),
            Err(Error::Stopped)
        );
        assert!(maximise(&[(vec![f64::NAN], 1.0)], &[1.0], &Limits::none()).is_err());
    }
}
