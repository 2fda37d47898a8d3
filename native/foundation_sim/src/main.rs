//! `foundation-sim`: runs scenarios and writes their table.

use std::process::ExitCode;
use std::time::Instant;

use foundation_sim::report::{self, Report};
use foundation_sim::scenarios::{ALL, Scenario, Setup};

const USAGE: &str = "usage:
  foundation-sim list
  foundation-sim run SCENARIO [--nodes N] [--seed S] [--seeds COUNT]
  foundation-sim all [--seed S] [--small | --nodes N] [--only SCENARIO,SCENARIO] [--table PATH]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[String]) -> Result<bool, String> {
    match args.first().map(String::as_str) {
        Some("list") => {
            for scenario in ALL {
                println!("{:<10} {}", scenario.name, scenario.about);
            }
            Ok(true)
        }
        Some("run") => {
            let name = args.get(1).ok_or("which scenario?")?;
            let scenario = Scenario::named(name).ok_or_else(|| format!("there is no scenario {name}"))?;
            one(scenario, &args[2..])
        }
        Some("all") => all(&args[1..]),
        _ => Err("nothing to do".to_owned()),
    }
}

fn one(scenario: &Scenario, args: &[String]) -> Result<bool, String> {
    let nodes = number(args, "--nodes")?.map_or(scenario.sizes[0], |nodes| nodes as usize);
    let seed = number(args, "--seed")?.unwrap_or(1);
    let mut passed = true;
    for seed in seed..seed + number(args, "--seeds")?.unwrap_or(1) {
        passed &= show(&scenario.run(Setup { nodes, seed }));
    }
    Ok(passed)
}

fn all(args: &[String]) -> Result<bool, String> {
    let seed = number(args, "--seed")?.unwrap_or(1);
    let small = args.iter().any(|arg| arg == "--small");
    let started = Instant::now();
    let size = number(args, "--nodes")?.map(|nodes| nodes as usize);
    let only = value(args, "--only")?.map(|names| names.split(',').collect::<Vec<_>>());
    let table = value(args, "--table")?;
    let part = small || size.is_some() || only.is_some();
    if let Some(path) = table.filter(|path| part && std::path::Path::new(path).exists()) {
        return Err(format!(
            "{path} is there, and would hold a part of the scenarios only"
        ));
    }
    let mut reports = Vec::new();
    let mut passed = true;
    for scenario in ALL {
        if only.as_ref().is_some_and(|names| !names.contains(&scenario.name)) {
            continue;
        }
        let sizes = if small { &[scenario.small] } else { scenario.sizes };
        for &nodes in sizes
            .iter()
            .filter(|nodes| size.is_none_or(|size| size == **nodes))
        {
            let report = scenario.run(Setup { nodes, seed });
            passed &= show(&report);
            reports.push(report);
        }
    }
    println!(
        "{} runs in {:.0} s",
        reports.len(),
        started.elapsed().as_secs_f64()
    );
    if let Some(path) = table {
        std::fs::write(path, report::table(&reports)).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(passed)
}

fn show(report: &Report) -> bool {
    println!("{}", report.text());
    report.violations.is_empty()
}

fn value<'a>(args: &'a [String], name: &str) -> Result<Option<&'a str>, String> {
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(None);
    };
    args.get(at + 1)
        .map(|value| Some(value.as_str()))
        .ok_or_else(|| format!("{name} needs a value"))
}

fn number(args: &[String], name: &str) -> Result<Option<u64>, String> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| format!("{name} needs a number, not {text}"))
    };
    value(args, name)?.map(parse).transpose()
}
